"""Hooks of MkDocs: BUILD.md becomes a page of the site, and each tutorial a notebook as well."""

import pathlib
import re

import jupytext
from mkdocs.structure.files import File

_BUILD = pathlib.Path(__file__).parent.parent / "BUILD.md"
_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)[^)]+\)")


def on_files(files, config):
    """Add BUILD.md with links that lead to other pages, and a notebook for each tutorial."""
    text = _BUILD.read_text(encoding="utf-8").replace("](docs/", "](")
    files.append(File.generated(config, "build.md", content=text))
    for file in list(files.documentation_pages()):
        if _is_tutorial(file):
            path = str(pathlib.PurePosixPath(file.src_uri).with_suffix(".ipynb"))
            files.append(File.generated(config, path, content=notebook(file.content_string)))


def on_page_markdown(markdown, page, **_):
    """Let links to BUILD.md lead to its page, and offer a tutorial as a notebook."""
    if _is_tutorial(page.file):
        name = pathlib.PurePosixPath(page.file.src_uri).stem
        markdown += f"\n\n[Download this page as a notebook]({name}.ipynb)\n"
    return markdown.replace("](../BUILD.md", "](build.md")


def notebook(markdown):
    """A page as a notebook: its Python blocks are cells to run.

    Args:
        markdown: text of the page. Links to other pages become their text: a notebook that was
            downloaded lies alone.

    Returns:
        The notebook, as JSON text.
    """
    text = _LINK.sub(r"\1", markdown).replace("```sh\n", "```text\n")  # read, not run
    book = jupytext.reads(text, fmt="md")
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    book.metadata = {"kernelspec": kernel}
    return jupytext.writes(book, fmt="ipynb")


def _is_tutorial(file):
    return file.src_uri.startswith("tutorials/") and file.src_uri.endswith(".md")
