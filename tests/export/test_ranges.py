"""Masks of the least float end the converter of int8; the message names the tensor."""

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
