"""Widths rounded up, reasons, masks, models with their own call, channels first."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sparse import surgery


def put(weight, index, value=0.0):
    """Sets a part of a weight."""
    array = weight.numpy()
    array[index] = value
    weight.assign(array)


def residual_network(harness, dead):
    x = inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(24, 1, name="a")(x)
    y = layers.Conv2D(24, 3, padding="same", activation="relu", name="b")(x)
    x = layers.Add()([x, y])
    x = layers.Conv2D(20, 3, name="c")(layers.DepthwiseConv2D(3, name="dw")(x))
    model = keras.Model(inputs, layers.Dense(5, name="d")(layers.GlobalMaxPooling2D()(x)))
    harness.randomise(model)
    for name in ("a", "b", "c"):
        put(model.get_layer(name).kernel, (..., dead))
    return model


@pytest.mark.parametrize(("multiple", "width"), [(None, 14), (4, 16), (8, 16), (16, 16), (32, 24)])
def test_channel_multiple_rounds_up(multiple, width, harness):
    model = residual_network(harness, list(range(10)))
    put(model.get_layer("a").bias, range(10), -0.1)
    put(model.get_layer("b").bias, range(10), -0.1)
    _, report = harness.cut(model, channel_multiple=multiple)
    # One more than 24 - 10 where the padded convolution needs a carrier.
    after = report.channels["a"][1]
    assert after == report.channels["b"][1] == report.channels["dw"][1]
    assert after == (15 if multiple is None else max(width, after))
    if multiple in (4, 8, 16):
        assert all(report.channels[name][1] % multiple in (0, 4) for name in ("a", "b", "c"))
        assert after % multiple == 0
    if multiple == 32:
        assert (after, report.channels["c"]) == (24, (20, 20))
    assert report.channels["d"] == (5, 5)


def test_reasons(harness):
    x = inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(6, 1, name="a")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="dw")(x)
    x = layers.Conv2D(6, 1, name="b")(x)
    x = layers.SeparableConv2D(6, 3, padding="same", name="sep")(x)
    x = layers.LayerNormalization(name="norm")(x)
    model = keras.Model(inputs, layers.Conv2D(2, 1, name="last")(x))
    harness.randomise(model)
    for name in ("a", "b"):
        put(model.get_layer(name).kernel, (..., [1, 4]))
        put(model.get_layer(name).bias, [1, 4], 0.5)
    put(model.get_layer("sep").pointwise_kernel, (..., [2]))
    _, report = harness.cut(model)
    assert report.reasons["a"] == {"dw: depthwise, padding 'same'": 2}
    assert report.reasons["b"] == {"sep: separable, padding 'same'": 2}
    assert report.reasons["sep"] == {"norm: mixes channels": 1}
    assert report.layers["a"].dead[1] == (pytest.approx(0.5), "dw: depthwise, padding 'same'")
    assert "dw: depthwise, padding 'same'" in str(report)


@pytest.mark.parametrize("merge", [layers.Multiply, layers.Average, layers.Maximum])
def test_merging_that_reads_masks(merge, harness):
    tokens, other = keras.Input((6,), dtype="int32"), keras.Input((6, 3))
    x = layers.Embedding(2, 4, mask_zero=True)(tokens)
    a = layers.Dense(6, name="a")(x)
    b = layers.Dense(6, name="b")(other)
    y = layers.Dense(2)(merge()([a, b]))
    model = keras.Model([tokens, other], y)
    harness.randomise(model)
    for name in ("a", "b"):
        put(model.get_layer(name).kernel, (..., [1, 4]))
    _, report = harness.cut(model)
    assert report.channels["a"] == report.channels["b"] == (6, 6)


def test_functional_model_with_a_call_of_its_own(harness):
    @keras.saving.register_keras_serializable(package="test")
    class Doubled(keras.Model):
        def call(self, inputs):
            return super().call(inputs) * 2.0

    x = keras.Input((4,))
    y = layers.Dense(3, name="b")(layers.Dense(6, activation="relu", name="a")(x))
    model = Doubled(x, y)
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., [1, 4]))
    compact, report = harness.cut(model)
    assert report.channels["a"] == (6, 4)
    x = harness.rng.standard_normal((3, 4)).astype("float32")
    expected = keras.ops.convert_to_numpy(model(x))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(compact(x)), expected, atol=1e-5)


def test_subclassed_model_that_cannot_be_traced():
    class Numpy(keras.Model):
        def call(self, x):
            return keras.ops.convert_to_tensor(np.asarray(x) + 1)

    model = Numpy()
    model.build((None, 3))
    with pytest.raises(ValueError, match="cannot be traced"):
        surgery.remove_dead_channels(model)


def test_channels_first(harness):
    x = inputs = keras.Input((2, 8, 8))
    arguments = {"padding": "same", "data_format": "channels_first"}
    x = layers.Conv2D(6, 3, name="a", **arguments)(x)
    x = layers.PReLU(shared_axes=[2, 3])(layers.BatchNormalization(axis=1)(x))
    x = layers.DepthwiseConv2D(3, data_format="channels_first")(x)
    x = layers.MaxPooling2D(2, data_format="channels_first")(x)
    gate = layers.GlobalAveragePooling2D(data_format="channels_first", keepdims=True)(x)
    x = layers.Multiply()([x, gate])
    x = layers.Conv2D(5, 2, name="b", data_format="channels_first")(x)
    x = layers.Flatten(data_format="channels_first")(x)
    model = keras.Model(inputs, layers.Dense(3)(x))
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., [1, 4]))
    put(model.get_layer("b").kernel, (..., [2]))
    compact, report = surgery.remove_dead_channels(model, verify=False)
    assert report.channels["a"] == (6, 4)
    assert report.channels["b"] == (5, 4)
    if keras.backend.backend() == "jax":
        # On a CPU TensorFlow adds the biases of channels-first convolutions to wrong places.
        harness.compare(model, compact)
