"""The site of the documents builds, and loads nothing from elsewhere."""

import html.parser
import json
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent


class Loads(html.parser.HTMLParser):
    """What a browser fetches when it opens a page."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "link" and attrs.get("rel") != "canonical":
            self.found.append(attrs.get("href", ""))
        if "src" in attrs:
            self.found.append(attrs["src"])


@pytest.mark.slow
def test_builds_without_a_broken_link_and_loads_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("material")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        loaded = Loads(page.read_text()).found
        assert loaded
        assert not [url for url in loaded if url.startswith(("http", "//"))], page
    for path in (ROOT / "docs" / "tutorials").glob("*.md"):
        cells = json.loads((tmp_path / "tutorials" / f"{path.stem}.ipynb").read_text())["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        blocks = re.findall(r"^```python\n(.*?)\n```", path.read_text(), flags=re.M | re.S)
        assert code == blocks  # those that test_docs.py runs
        assert len(cells) > len(code)
