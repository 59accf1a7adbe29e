"""What the documents show works."""

import pathlib
import re

import keras
import numpy as np
import pytest
from keras import layers
from sklearn.datasets import load_digits

from keras_sparse import surgery

ROOT = pathlib.Path(__file__).parent.parent


def test_a_layer_of_your_own():
    text = (ROOT / "docs" / "surgery.md").read_text()
    first, second = re.findall(r"<!-- tested -->\n```python\n(.*?)```", text, flags=re.S)
    names = {}
    exec(first, names)
    exec(second, {})
    hidden = layers.Dense(6, name="hidden")
    model = keras.Sequential([keras.Input((4,)), hidden, names["Scale"](), layers.Dense(3)])
    kernel = keras.ops.convert_to_numpy(hidden.kernel).copy()
    kernel[:, :2] = 0
    hidden.set_weights([kernel, np.arange(6.0)])
    compact, report = surgery.remove_dead_channels(model)
    assert report.channels["hidden"] == (6, 4)
    x = np.random.default_rng(0).normal(size=(8, 4))
    np.testing.assert_allclose(
        compact.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-5
    )


def digits_as_cifar10():
    """Digits in the size of CIFAR-10's images, which would have to be downloaded."""
    digits = load_digits()
    images = np.kron(15 * digits.images[:500], np.ones((1, 4, 4)))[..., None].repeat(3, -1)
    images, labels = images.astype("uint8"), digits.target[:500, None]
    return (images[:400], labels[:400]), (images[400:], labels[400:])


TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[] if path.stem == "rule" else pytest.mark.slow, id=path.stem)
        for path in TUTORIALS
    ],
)
def test_tutorial(path, tmp_path, monkeypatch):
    """Its code runs from top to bottom, with shorter trainings and fewer images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(keras.datasets.cifar10, "load_data", digits_as_cifar10)
    blocks = re.findall(r"^```python\n(.*?)^```", path.read_text(), flags=re.M | re.S)
    code = re.sub(r"epochs=\d+", "epochs=2", "\n".join(blocks))
    # Not every processor can reach half of a latency.
    code = code.replace('latency": 0.5', 'latency": 0.9')
    exec(compile(code, path, "exec"), {"__name__": path.stem})


def test_readme_marks_the_two_commands_that_ci_runs():
    text = (ROOT / "README.md").read_text()
    for name in ("run", "test"):
        (command,) = re.findall(rf"<!-- command: {name} -->\n```sh\n([^\n]+)\n```", text)
        assert command.startswith("python3.11 -m venv")


def test_the_reference_shows_functions_and_no_modules_of_the_same_name():
    text = "".join(path.read_text() for path in (ROOT / "docs" / "reference").glob("*.md"))
    names = set(re.findall(r"^::: (\S+)", text, flags=re.M)) - {"keras_sparse.models"}
    assert "export.convert.litert.convert" in names
    paths = {name: ROOT / name.replace(".", "/") for name in names}
    modules = [n for n, p in paths.items() if p.is_dir() or p.with_suffix(".py").is_file()]
    assert not modules
