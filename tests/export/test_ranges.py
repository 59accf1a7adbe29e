"""Numbers that no int8 range has: the message names the tensor."""

import keras
import numpy as np
import pytest
from keras import layers

import export

pytestmark = pytest.mark.tensorflow


def test_a_mask_that_is_added_at_the_least_float(tmp_path):
    scores, kept = keras.Input((6,), name="scores"), keras.Input((6,), name="kept")
    masked = layers.Add()([scores, layers.Rescaling(1e37, -1e37, name="least")(kept)])
    model = keras.Model([scores, kept], layers.Dense(2)(layers.Softmax()(masked)))
    rng = np.random.default_rng(0)
    samples = [rng.normal(size=(16, 6)), rng.random((16, 6)) > 0.3]
    with pytest.raises(export.ExportError, match=r"'least' goes from -1e\+37 to .*add -100"):
        export.convert(model, tmp_path / "m.tflite", quantize="int8", representative=samples)


def test_weights_that_are_nan(tmp_path):
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2, name="broken")])
    model.layers[0].kernel.assign(np.full((2, 2), np.nan))
    samples = np.ones((4, 2), "float32")
    with pytest.raises(export.ExportError, match="Keras model itself gives NaN in 'broken'"):
        export.convert(model, tmp_path / "m.tflite", quantize="int8", representative=samples)
