"""What the documents show works."""

import pathlib
import re

import keras
import numpy as np
from keras import layers

from keras_sparse import surgery

ROOT = pathlib.Path(__file__).parent.parent


def test_a_layer_of_your_own():
    text = (ROOT / "docs" / "surgery.md").read_text()
    (code,) = re.findall(r"<!-- tested -->\n```python\n(.*?)```", text, flags=re.S)
    names = {}
    exec(code, names)
    hidden = layers.Dense(6, name="hidden")
    model = keras.Sequential([keras.Input((4,)), hidden, names["Scale"](), layers.Dense(3)])
    kernel = keras.ops.convert_to_numpy(hidden.kernel).copy()
    kernel[:, :2] = 0
    hidden.set_weights([kernel, np.arange(6.0)])
    smaller, report = surgery.remove_dead_channels(model)
    assert report.channels["hidden"] == (6, 4)
    x = np.random.default_rng(0).normal(size=(8, 4))
    np.testing.assert_allclose(
        smaller.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-5
    )


def test_readme_marks_the_two_commands_that_ci_runs():
    text = (ROOT / "README.md").read_text()
    for name in ("run", "test"):
        (command,) = re.findall(rf"<!-- command: {name} -->\n```sh\n([^\n]+)\n```", text)
        assert command.startswith("python3.11 -m venv")
