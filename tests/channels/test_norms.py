import keras
import numpy as np
import pytest
from keras import layers

from keras_sparse.channels import channel_norms, layers_with_channels

LAYERS = [
    (layers.Dense(4), (3,)),
    (layers.Conv1D(4, 3), (9, 3)),
    (layers.Conv2D(4, 3), (9, 9, 3)),
    (layers.Conv2D(4, 3, groups=2), (9, 9, 2)),
    (layers.Conv3D(4, 2), (4, 4, 4, 3)),
    (layers.Conv2DTranspose(4, 3), (9, 9, 3)),
    (layers.DepthwiseConv2D(3, depth_multiplier=2), (9, 9, 2)),
    (layers.SeparableConv2D(4, 3), (9, 9, 3)),
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda x: getattr(x, "name", ""))
def test_a_channel_is_dead_when_its_output_does_not_depend_on_the_input(layer, shape):
    """The norm is zero for just the channel whose weights are set to zero, found by running."""
    model = keras.Sequential([keras.Input(shape), layer])
    rng = np.random.default_rng(0)
    kernel = layer.pointwise_kernel if isinstance(layer, layers.SeparableConv2D) else layer.kernel
    values = rng.normal(0, 1, kernel.shape)
    if isinstance(layer, layers.Conv2DTranspose):
        values[..., 2, :] = 0
    elif isinstance(layer, layers.DepthwiseConv2D):
        values[..., 1, 0] = 0
    else:
        values[..., 2] = 0
    kernel.assign(values)
    x = rng.normal(0, 1, (5, *shape)).astype("float32")
    outputs = keras.ops.convert_to_numpy(model(x))
    flat = outputs.reshape(-1, outputs.shape[-1])
    np.testing.assert_array_equal(channel_norms(layer) == 0, np.ptp(flat, axis=0) == 0)


def test_norms_by_hand():
    layer = layers.Dense(2)
    layer.build((None, 2))
    layer.kernel.assign([[3.0, 0.0], [4.0, 1e-23]])
    np.testing.assert_allclose(channel_norms(layer), [5.0, 1e-23], rtol=1e-6)


def test_finds_layers_in_nested_models():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="inner")])
    model = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="outer"), inner])
    assert [layer.name for layer in layers_with_channels(model)] == ["outer", "inner"]


@pytest.mark.parametrize(
    ("layer", "message"),
    [(layers.Dense(3), "no weights yet"), (layers.BatchNormalization(), "dense layer or a conv")],
)
def test_other_layers_are_refused(layer, message):
    if "dense layer" in message:
        layer.build((None, 3))
    with pytest.raises(ValueError, match=message):
        channel_norms(layer)
