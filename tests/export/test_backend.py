"""What `export` says under another backend than TensorFlow."""

import keras
import pytest

import export

pytestmark = pytest.mark.jax


def test_another_backend_is_refused(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match=r"needs the TensorFlow backend.*KERAS_BACKEND=tensorflow"):
        export.convert(model, tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())
