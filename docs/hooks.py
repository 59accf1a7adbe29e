"""A hook of MkDocs: BUILD.md, which lies beside README.md, becomes a page of the site."""

import pathlib

from mkdocs.structure.files import File

_BUILD = pathlib.Path(__file__).parent.parent / "BUILD.md"


def on_files(files, config):
    """Add BUILD.md, with links that lead from it to other pages."""
    text = _BUILD.read_text(encoding="utf-8").replace("](docs/", "](")
    files.append(File.generated(config, "build.md", content=text))


def on_page_markdown(markdown, **_):
    """Let links to BUILD.md lead to its page."""
    return markdown.replace("](../BUILD.md", "](build.md")
