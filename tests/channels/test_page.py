"""What docs/channels.md shows works."""

import pathlib
import re

import pytest

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "channels.md"


@pytest.mark.slow
@pytest.mark.tensorflow  # once is enough
def test_page(tmp_path, monkeypatch, capsys):
    """The page's code, in order, with fewer epochs: it writes its pictures and TensorBoard's."""
    blocks = re.findall(
        r"<!-- (?:tested|continued) -->\n```python\n(.*?)```", PAGE.read_text(), flags=re.S
    )
    code = re.sub(r"epochs=[26]0", "epochs=2", "\n".join(blocks))
    assert code.count("epochs=2,") == 2
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    pictures = {path.stem for path in tmp_path.glob("*.png") if path.stat().st_size > 5000}
    assert pictures == {"dead", "overlap", "scores", "selectivity", "specialization"}
    assert list((tmp_path / "logs" / "channels").glob("events*"))
    printed = capsys.readouterr().out
    assert "Gap(dead=" in printed
    assert "estimated, sparse convolution" in printed
