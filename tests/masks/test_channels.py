"""Channels of the kernels that Keras' layers really have."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_sparse import AccumulatedRDA, StaticSparse
from keras_sparse.masks.channels import channel_axes


@pytest.mark.parametrize(
    ("path", "shape", "axes"),
    [
        ("kernel", (5, 7), (0,)),
        ("kernel", (3, 3, 5, 7), (0, 1, 2)),
        ("depthwise_kernel", (3, 3, 5, 1), (0, 1)),
        ("separable_conv2d/pointwise_kernel", (1, 1, 5, 7), (0, 1, 2)),
        ("net/block1_depthwise/kernel", (3, 3, 5, 2), (0, 1)),
        ("depthwise_block/conv2d/kernel", (3, 3, 5, 2), (0, 1, 2)),
        ("conv2d_transpose_3/kernel", (3, 3, 7, 5), (0, 1, 3)),
        ("transpose/kernel", (5, 7), (0,)),
        ("query/kernel", (5, 7), (0,)),
        ("attention/attention_output/kernel", (2, 4, 7), (0, 1)),
    ],
)
def test_axes_of_the_inputs_of_a_channel(path, shape, axes):
    assert channel_axes(path, shape) == axes


LAYERS = {
    "Conv1D": lambda: layers.Conv1D(4, 3),
    "DepthwiseConv1D": lambda: layers.DepthwiseConv1D(3, name="any"),
    "DepthwiseConv2D": lambda: layers.DepthwiseConv2D(3, depth_multiplier=2),
    "SeparableConv2D": lambda: layers.SeparableConv2D(4, 3),
    "Conv1DTranspose": lambda: layers.Conv1DTranspose(4, 3),
    "Conv2DTranspose": lambda: layers.Conv2DTranspose(4, 3),
    "Conv3DTranspose": lambda: layers.Conv3DTranspose(4, 3),
    "MultiHeadAttention": lambda: layers.MultiHeadAttention(2, 4),
    "GroupQueryAttention": lambda: layers.GroupQueryAttention(4, 4, 2),
}


def kernels_of(name, inputs=8):
    keras.utils.clear_session()
    layer = LAYERS[name]()
    rank = 3 if "3D" in name else 2 if "2D" in name else 1
    shape = (1, *[5] * rank, inputs)
    layer.build(*[shape] * (2 if "Attention" in name else 1))
    return [weight for weight in layer.trainable_weights if "kernel" in weight.name]


# How many channels the kernels have.
CHANNELS = {
    "Conv1D": [4],
    "DepthwiseConv1D": [8],
    "DepthwiseConv2D": [16],
    "SeparableConv2D": [8, 4],
    "Conv1DTranspose": [4],
    "Conv2DTranspose": [4],
    "Conv3DTranspose": [4],
    # Query, key, value and output.
    "MultiHeadAttention": [8, 8, 8, 8],
    "GroupQueryAttention": [16, 8, 8, 8],
}


@pytest.mark.parametrize("name", LAYERS)
def test_an_output_channel_is_a_group(name):
    kernels = kernels_of(name)
    last = keras.Variable(np.ones((2, 2)), name="last_kernel")
    optimizer = AccumulatedRDA(0.1, groups="channel")
    optimizer.build([*kernels, last])
    groups = [
        np.prod([n for axis, n in enumerate(v.shape) if axis not in record.axes])
        for v, record in optimizer._variables_and_records()[:-1]
    ]
    assert groups == CHANNELS[name]


def test_a_filter_that_is_left_alone_is_no_depthwise_convolution():
    """Surgery may leave one filter of a convolution; its shape before counts."""
    kernels = [keras.Variable(np.ones((3, 3, 5, n)), name="kernel") for n in (7, 1)]
    last = keras.Variable(np.ones((2, 2)), name="last_kernel")
    large, small = (AccumulatedRDA(0.1, groups="channel") for _ in range(2))
    large.build([kernels[0], last])
    small.choose_like(large, [kernels[1], last], [kernels[0].path, last.path])
    small.build([kernels[1], last])
    assert small._records[0].axes == (0, 1, 2)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 1, 8, 1)])
def test_a_state_of_other_groups_is_read(shape):
    """Earlier versions took a depthwise kernel for one channel."""
    variables = [
        keras.Variable(np.ones((3, 3, 8, 1)), name="kernel"),
        keras.Variable(np.ones((2, 2)), name="last_kernel"),
    ]
    optimizer = AccumulatedRDA(0.1, groups="channel")
    optimizer.build(variables)
    store = {str(i): np.ones(v.shape) for i, v in enumerate(optimizer.variables)}
    (index,) = [i for i, v in enumerate(optimizer.variables) if v.name.endswith("_removed_squares")]
    store[str(index)] = np.ones(shape)
    optimizer.load_own_variables(store)
    count, squares = map(ops.convert_to_numpy, optimizer._records[0].removed)
    is_same = shape == squares.shape
    assert (squares == is_same).all()
    assert count == is_same
    assert (ops.convert_to_numpy(optimizer._records[0].slot) == 1).all()


def test_two_of_four_inputs():
    rng = np.random.default_rng(0)
    for name, axis in (("Conv1D", 1), ("Conv2DTranspose", 3), ("MultiHeadAttention", 0)):
        kernel = kernels_of(name)[0]
        kernel.assign(rng.normal(size=kernel.shape))
        optimizer = StaticSparse(distribution="2:4")
        optimizer.build([kernel])
        (mask,) = map(ops.convert_to_numpy, optimizer.masks.values())
        groups = np.moveaxis(mask, axis, -1).reshape(-1, 4)
        np.testing.assert_array_equal(groups.sum(1), 2)


def test_a_depthwise_kernel_has_no_inputs_to_choose_from():
    with pytest.raises(ValueError, match=r"depthwise convolution an output has one: 'any/kernel'"):
        StaticSparse(distribution="2:4").build(kernels_of("DepthwiseConv1D"))
