"""Constants that differ by position, where positions are left out, moved or taken together."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_sparse import surgery
from tests.surgery.test_carriers import DEAD, depthwise, gelu, model_of
from tests.surgery.test_hard_cases import put

pytestmark = pytest.mark.usefixtures("float64")


def average():
    return layers.GlobalAveragePooling1D()


def image(*stack, size=3):
    """Behind a depthwise convolution of images of 4 x 5 pixels."""
    x = [layers.Reshape((4, 5, 14)), layers.DepthwiseConv2D(size, padding="same"), gelu()]
    return [*x, *stack]


def sum_of(one, other):
    """Both functions of the same tensor, added; behind a curve, so that sums stay no sums."""

    def call(x):
        return gelu()(layers.Add()([one(x), other(x)]))

    return call


def strided():
    """A sample of the positions, of which the constants' channels read only constants."""
    return layers.Conv1D(14, 1, strides=4, name="strided")


STACKS = {
    "strides, average": (lambda: [depthwise(), gelu(), strided(), average(), layers.Dense(3)], 8),
    "strides, maximum": (
        lambda: [depthwise(), strided(), layers.GlobalMaxPooling1D(), layers.Dense(3)],
        8,
    ),
    "into the batch": (
        lambda: [
            *(depthwise(), gelu(), lambda x: ops.reshape(x, (-1, 4, 14))),
            *(average(), layers.Dense(3)),
        ],
        8,
    ),
    "step by step, average": (
        lambda: image(layers.TimeDistributed(average()), layers.Dense(3)),
        20,
    ),
    "step by step, maximum": (
        lambda: image(layers.TimeDistributed(layers.GlobalMaxPooling1D()), layers.Dense(3)),
        20,
    ),
    "steps of what is padded, maximum": (
        lambda: [
            *(layers.Reshape((4, 5, 14)), layers.ZeroPadding2D((2, 1))),
            *(layers.TimeDistributed(layers.MaxPooling1D(3, 1)), layers.Conv2D(3, 1)),
        ],
        20,
    ),
    "steps of what is padded, depthwise": (
        lambda: [
            *(layers.Reshape((4, 5, 14)), layers.ZeroPadding2D((2, 1))),
            *(layers.TimeDistributed(layers.DepthwiseConv1D(3)), gelu(), layers.Conv2D(3, 1)),
        ],
        20,
    ),
    "flipped": (
        lambda: image(
            sum_of(lambda x: ops.flip(x, 1), lambda x: ops.flip(x, 2)),
            layers.Conv2D(3, 1),
            size=2,
        ),
        20,
    ),
    "repeated": (
        lambda: [
            *(depthwise(kernel_size=2), gelu()),
            sum_of(lambda x: ops.repeat(x, 2, 1), lambda x: ops.tile(x, (1, 2, 1))),
            layers.Conv1D(3, 1),
        ],
        4,
    ),
    "flipped and not": (
        lambda: [
            *(depthwise(kernel_size=2), gelu()),
            sum_of(lambda x: ops.flip(x, 1), layers.Reshape((4, 14))),
            layers.Conv1D(3, 1),
        ],
        4,
    ),
}


@pytest.mark.parametrize("name", STACKS)
def test_positions_that_are_left_out_or_moved(name, harness):
    stack, length = STACKS[name]
    model = model_of(harness, *stack(), length=length)
    if "strides" in name:
        alive = np.setdiff1d(range(14), DEAD)
        put(model.get_layer("strided").kernel, (0, *np.ix_(alive, DEAD)))
    harness.cut(model)


def test_the_average_of_what_a_mask_leaves(harness):
    inputs, mask = keras.Input((7, 2)), keras.Input((7,), dtype="bool")
    x = gelu()(depthwise()(layers.Conv1D(14, 1, name="a")(inputs)))
    model = keras.Model([inputs, mask], layers.Dense(3)(average()(x, mask=mask)))
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., DEAD))
    harness.cut(model)


def test_steps_that_are_together_again(harness):
    """A step has some of the positions, all steps have all of them."""
    step = layers.TimeDistributed(layers.Activation("tanh"))
    stack = image(step, layers.GlobalAveragePooling2D(), layers.Dense(3))
    _, report = harness.cut(model_of(harness, *stack, length=20))
    assert report.channels["a"] == (14, 6)


def test_groups_see_what_is_padded(harness):
    """A group may be removed whose maxima behind a border are constant."""
    pad = [lambda x: ops.pad(x, ((0, 0), (1, 1), (0, 0)), constant_values=1.5)]
    model = model_of(harness, *pad, layers.MaxPooling1D(2, 1), layers.Conv1D(3, 1))
    _, report = harness.cut(model)
    assert report.channels["a"][1] < 14
    assert surgery.channel_groups(model)[0].fixed is None


@pytest.mark.jax  # which alone pads by these
@pytest.mark.parametrize("mode", ["maximum", "mean", "median", "minimum"])
def test_a_border_that_is_computed(mode, harness):
    stack = [depthwise(), gelu(), lambda x: ops.pad(x, ((0, 0), (1, 1), (0, 0)), mode)]
    harness.cut(model_of(harness, *stack, layers.Conv1D(3, 1)))
