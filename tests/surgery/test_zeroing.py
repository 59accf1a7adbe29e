"""The lossy step: small channels become exactly zero."""

import json

import keras
import numpy as np
import pytest
from keras import layers

from keras_sparse import surgery

KINDS = {
    "dense": (lambda: layers.Dense(6), (4,)),
    "conv": (lambda: layers.Conv2D(6, 3), (5, 5, 2)),
    "transposed": (lambda: layers.Conv2DTranspose(6, 3), (5, 5, 2)),
    "depthwise": (lambda: layers.DepthwiseConv2D(3, depth_multiplier=3), (5, 5, 2)),
    "separable": (lambda: layers.SeparableConv1D(6, 3), (5, 2)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_small_norms_become_zero(kind):
    make, shape = KINDS[kind]
    model = keras.Sequential([keras.Input(shape), make()])
    layer = model.layers[0]
    weight = layer.pointwise_kernel if kind == "separable" else layer.kernel
    value = weight.numpy()
    small = {
        "transposed": (..., slice(0, 2), slice(None)),
        "depthwise": (..., 0, slice(0, 2)),
    }.get(kind, (..., slice(0, 2)))
    value[small] = 1e-20
    weight.assign(value.copy())  # JAX may keep the very array
    zeroed, report = surgery.zero_channels(model, 1e-8)
    assert report.zeroed[layer.name].tolist() == [0, 1]
    assert report.channels == {layer.name: (6, 4)}
    assert 0 < report.largest < 1e-18
    assert report.max_error < 1e-7
    new = zeroed.get_layer(layer.name)
    new = (new.pointwise_kernel if kind == "separable" else new.kernel).numpy()
    assert (new[small] == 0).all()
    value[small] = 0
    np.testing.assert_array_equal(new, value)
    assert (weight.numpy()[small] != 0).all()
    json.dumps(report.to_dict())


def test_batch_norm_criterion_then_surgery(harness):
    x = keras.Input((4,))
    y = layers.BatchNormalization(name="bn")(layers.Dense(6, name="a")(x))
    model = keras.Model(x, layers.Dense(2)(layers.ReLU()(y)))
    harness.randomise(model)
    model.get_layer("bn").gamma.assign([1e-9, 0.5, -1e-9, 0.7, 0.1, -0.2])
    zeroed, report = surgery.zero_channels(model, 1e-6, criterion="batch_norm")
    assert report.channels == {"bn": (6, 4)}
    assert zeroed.get_layer("bn").gamma.numpy()[0] == 0
    _, cut = harness.cut(zeroed)
    assert cut.channels["a"] == (6, 4)


def test_threshold_zero_changes_nothing(harness):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(6), layers.Dense(2)])
    harness.randomise(model)
    zeroed, report = surgery.zero_channels(model, 0)
    assert report.largest == report.max_error == 0
    for a, b in zip(model.weights, zeroed.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize("threshold", [-1, "1e-3", None, float("nan")])
def test_bad_threshold(threshold):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    with pytest.raises(ValueError, match="threshold"):
        surgery.zero_channels(model, threshold)


def test_bad_criterion():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    with pytest.raises(ValueError, match="criterion"):
        surgery.zero_channels(model, 0.1, criterion="size")
