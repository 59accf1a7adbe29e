"""Which layers' channels are tied together, and the picture of it."""

from unittest import mock

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_sparse import surgery
from keras_sparse.surgery import drawing


def groups(inputs, outputs):
    """`{layers: (joined by, channels before)}` of a model, without its last layer."""
    _, report = surgery.remove_dead_channels(keras.Model(inputs, outputs), verify=False)
    return {
        tuple(sorted(group.layers)): (group.joined_by, group.channels[0]) for group in report.groups
    }


def image(filters=6, name="a"):
    x = keras.Input((6, 6, 3))
    return x, layers.Conv2D(filters, 1, name=name)(x)


def test_residual_sums_tie_and_normalisations_only_pass_on():
    x, a = image()
    b = layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same", name="b")(a))
    y = layers.ReLU()(layers.Add(name="sum")([a, b]))
    c = layers.Conv2D(6, 1, name="c")(y)
    y = layers.Conv2D(2, 1, name="d")(layers.Add(name="sum_2")([y, c]))
    assert groups(x, y) == {("a", "b", "c"): (("sum", "sum_2"), 6), ("d",): ((), 2)}


def test_concatenation_ties_nothing_by_itself():
    x, a = image()
    b = layers.Conv2D(4, 1, name="b")(x)
    joined = layers.Concatenate(name="joined")([a, b])
    y = layers.Conv2D(10, 1, name="c")(x)
    y = layers.Add(name="sum")([joined, y])
    found = groups(x, layers.Conv2D(2, 1, name="d")(y))
    # The ten filters of c: six go with a, four with b.
    assert found == {("a", "c"): (("sum",), 6), ("b", "c"): (("sum",), 4), ("d",): ((), 2)}


def test_concatenation_along_another_axis_ties():
    x, a = image()
    b = layers.Conv2D(6, 1, name="b")(x)
    y = layers.Concatenate(axis=1, name="joined")([a, b])
    found = groups(x, layers.Conv2D(2, 1, name="d")(y))
    assert found == {("a", "b"): (("joined",), 6), ("d",): ((), 2)}


def test_depthwise_convolutions_and_gates():
    x, a = image()
    y = layers.DepthwiseConv2D(3, depth_multiplier=2, name="dw")(a)
    gate = layers.Dense(3, name="squeeze")(layers.GlobalAveragePooling2D(keepdims=True)(y))
    gate = layers.Dense(12, name="excite")(gate)
    y = layers.Flatten()(layers.Multiply(name="gated")([y, gate]))
    found = groups(x, layers.Dense(2, name="d")(y))
    assert found == {
        ("a", "dw", "excite"): (("gated",), 6),
        ("squeeze",): ((), 3),
        ("d",): ((), 2),
    }


def test_shared_layers_and_slices_tie():
    x, a = image()
    b = layers.Conv2D(6, 1, name="b")(x)
    shared = layers.Conv2D(4, 1, name="shared")
    y = layers.Concatenate()([shared(a)[..., :2], shared(b)[..., 2:]])
    found = groups(x, layers.Conv2D(2, 1, name="d")(y))
    assert found == {("a", "b"): (("shared",), 6), ("shared",): ((), 4), ("d",): ((), 2)}


def test_group_normalisation_ties_the_channels_of_a_group():
    x, a = image()
    y = layers.GroupNormalization(3, name="norm")(ops.transpose(a, (0, 2, 1, 3)))
    found = groups(x, layers.Conv2D(2, 1, name="d")(y))
    assert found == {("a",): (("norm",), 3), ("d",): ((), 2)}


@pytest.mark.parametrize("dead", [[], [0, 3]])
def test_channels_before_and_after(dead, harness):
    x, a = image()
    b = layers.Conv2D(6, 1, name="b")(x)
    model = keras.Model(x, layers.Conv2D(2, 1, name="d")(a + b))
    harness.randomise(model)
    for name in "ab":
        kernel = np.array(model.get_layer(name).kernel)
        kernel[..., dead] = 0
        model.get_layer(name).kernel.assign(kernel)
    _, report = surgery.remove_dead_channels(model)
    assert [group.channels for group in report.groups] == [(6, 6 - len(dead)), (2, 2)]
    assert report.to_dict()["groups"][0]["layers"] == ["a", "b"]


def test_picture_has_a_row_for_each_layer_and_a_line_for_each_group(tmp_path):
    x, a = image()
    b = layers.Conv2D(6, 1, name="b")(x)
    y = layers.Conv2D(5, 1, name="c")(layers.Add(name="sum")([a, b]))
    model = keras.Model(x, y)
    _, report = surgery.remove_dead_channels(model)
    figure = report.plot_groups(tmp_path / "groups.png")
    assert (tmp_path / "groups.png").read_bytes().startswith(b"\x89PNG")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "sum", "c"]
    dots = [line.get_ydata().tolist() for line in axes.lines]
    assert dots == [[0, 1], [2], [3], []]


def test_lanes_that_overlap_lie_beside_each_other():
    assert drawing._lanes([(0, 1), (1, 5), (2, 3), (6, 7), (2, 2)]) == [1, 0, 1, 0, 2]


@pytest.mark.parametrize("count", [1, 3, 12])
def test_the_legend_of_channels_covers_no_bar(count):
    layers = [mock.Mock(channels=(16, 12)) for _ in range(count)]
    for number, layer in enumerate(layers):
        layer.name = f"layer_{number}"
    figure = drawing.draw_channels(layers)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert axes.get_legend().get_window_extent().y0 >= axes.get_window_extent().y1
