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


def attention():
    x = keras.Input((9, 16))
    y = layers.LayerNormalization()(layers.Dense(16)(x))
    y = layers.MultiHeadAttention(2, 8)(y, y)
    y = layers.Dense(24, "gelu")(layers.LayerNormalization()(y))
    return keras.Model(x, layers.Dense(4)(layers.GlobalAveragePooling1D()(y)))


def separable():
    x = keras.Input((8, 8, 3))
    y = layers.GroupNormalization(4)(layers.SeparableConv2D(16, 3)(x))
    y = layers.SeparableConv2D(24, 3, activation="relu")(layers.UpSampling2D()(y))
    return keras.Model(x, layers.Dense(4)(layers.GlobalAveragePooling2D()(y)))


@pytest.mark.parametrize("make_model", [attention, separable])
def test_a_layer_that_becomes_several_operators_counts_for_them(make_model):
    model = make_model()
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.uniform(0.1, 0.2, weight.shape))
    costs = CostModel(model, [])
    for name, size in FileSizes().costs(model).items():
        assert costs.total(name, costs.full()) == pytest.approx(size, rel=0.1)
