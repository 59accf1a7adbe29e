"""The sizes of a model's TFLite files, measured and predicted."""

import keras
import numpy as np
import pytest
from keras import layers

from export import FileSizes, convert
from keras_sparse.compression import CostModel


def test_sizes_are_those_of_the_files_and_near_the_prediction(tmp_path):
    keras.utils.set_random_seed(0)
    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(32, 3, use_bias=False)(x)
    y = layers.ReLU()(layers.BatchNormalization(beta_initializer="random_normal")(y))
    y = layers.Conv2D(64, 3, bias_initializer="random_normal")(y)
    model = keras.Model(x, layers.Dense(10)(layers.GlobalAveragePooling2D()(y)))
    samples = np.random.default_rng(1).uniform(size=(4, 8, 8, 3)).astype("float32")
    arguments = {"quantize": "int8", "representative": samples, "samples": samples}
    file = convert(model, tmp_path / "m.tflite", **arguments)
    sizes = FileSizes().costs(model)
    assert sizes["int8_bytes"] == file.bytes
    costs = CostModel(model, [])
    for name, size in sizes.items():
        assert size == pytest.approx(costs.total(name, costs.full()), rel=0.05)
