"""Models with layers of their own, which `--import` names."""

import importlib
import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from export.child import environment
from export.custom_objects import register_objects
from export.quantize.losses import from_settings, to_settings
from tests.in_process import run_program

pytestmark = pytest.mark.tensorflow
LAYERS = """
import keras


class Scale(keras.layers.Layer):
    def call(self, x):
        return 2.0 * x
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module in the current folder; the saved model there has its layer."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    name = "layers_of_my_own"
    (tmp_path / f"{name}.py").write_text(LAYERS)
    register_objects(name)
    dense = keras.layers.Dense(2)
    model = keras.Sequential([keras.Input((4,)), dense, sys.modules[name].Scale()])
    model.compile(loss="mse")
    model.save("model.keras")
    np.savez("d.npz", x=np.ones((4, 4)), y=np.ones((4, 2)))
    del keras.saving.get_custom_objects()["Scale"]
    monkeypatch.delitem(sys.modules, name)
    yield name
    keras.saving.get_custom_objects().pop("Scale", None)


@pytest.mark.parametrize(
    "program",
    [
        ["convert", "model.keras", "model.tflite"],
        ["quantize", "model.keras", "model.tflite", "--data=d.npz"],
        ["latency", "model.keras"],
    ],
)
def test_a_layer_that_is_not_known(program, module):
    told = run_program(f"export.{program[0]}", *program[1:])
    assert told.startswith(
        f"export.{program[0]}: model.keras cannot be loaded: Keras has no class 'Scale'. "
    )
    assert told.endswith("give --import=MODULE")
    told = run_program(f"export.{program[0]}", *program[1:], "--import=absent_module")
    assert "--import=absent_module cannot be imported: No module named" in told


def test_a_layer_whose_module_is_named(module, capsys):
    flag = f"--import={module}"
    assert run_program("export.convert", "model.keras", "model.tflite", flag) is None
    assert "compared with Keras" in capsys.readouterr().out
    assert run_program("export.latency", "model.keras", flag) is None
    assert "dense" in capsys.readouterr().out


def test_a_layer_of_ones_own_cannot_be_trained_for_int8(module):
    arguments = ("model.keras", "model.tflite", "--data=d.npz", f"--import={module}")
    told = run_program("export.quantize", *arguments)
    assert "is a Scale of layers_of_my_own, which tf_keras does not have" in told


LOSSES = """
import keras


def squared(y, x):
    return keras.ops.mean((x - y) ** 2, axis=-1)


@keras.saving.register_keras_serializable("mine")
class Squared(keras.losses.Loss):
    def call(self, y, x):
        return squared(y, x)


def inner():
    return lambda y, x: squared(y, x)
"""


@pytest.fixture
def losses(tmp_path, monkeypatch):
    """A module in the current folder with losses."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "losses_of_my_own.py").write_text(LOSSES)
    yield importlib.import_module("losses_of_my_own")
    del sys.modules["losses_of_my_own"]


@pytest.mark.parametrize("name", ["squared", "Squared"])
def test_a_loss_of_ones_own_reaches_another_process(name, losses, tmp_path):
    loss = getattr(losses, name)
    settings = to_settings(loss if name == "squared" else loss(name="mine"))
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    code = (
        "import json, sys, keras, numpy as np\n"
        "from export.quantize.losses import from_settings\n"
        "loss = from_settings(json.load(open(sys.argv[1])))\n"
        "print(float(keras.ops.mean(loss(np.zeros((4, 2)), np.full((4, 2), 3.0)))))\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, "settings.json"],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) == 9.0


def test_one_loss_for_all_outputs():
    loss = keras.losses.MeanSquaredError()
    for found in ({"out": loss}, [loss], loss, "mean_squared_error"):
        made = from_settings(to_settings(found))
        assert np.mean(made(np.zeros((2, 1)), np.full((2, 1), 3.0))) == 9.0
    with pytest.raises(ValueError, match=r"`loss` must be one loss, which .*Received: 2 losses"):
        to_settings({"a": loss, "b": "mse"})


def test_a_loss_that_another_process_cannot_import(losses):
    with pytest.raises(ValueError, match=r"`loss` must be .*Received: inner.<locals>.<lambda> of"):
        to_settings(losses.inner())


@pytest.mark.slow
def test_training_for_int8_with_a_loss_of_ones_own(losses, tmp_path, capsys):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.compile(loss=losses.squared)
    model.save("model.keras")
    np.savez("d.npz", x=np.ones((8, 4)), y=np.ones((8, 2)))
    arguments = ("model.keras", "model.tflite", "--data=d.npz", "--import=losses_of_my_own")
    assert run_program("export.quantize", *arguments) is None
    assert (tmp_path / "model.tflite").exists()


def test_nothing_is_imported_without_a_name():
    known = dict(keras.saving.get_custom_objects())
    register_objects(None)
    assert known == keras.saving.get_custom_objects()
    with pytest.raises(ValueError, match="cannot be imported"):
        register_objects("export.absent")
