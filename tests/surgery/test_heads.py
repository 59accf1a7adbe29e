"""Attention written by hand: channels that are constant in a head, or in all heads."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.surgery.test_opening import kill

HEADS, WIDTH = 2, 4


def projections(x, use_bias=True):
    """Queries, keys and values `(batch, positions, heads, width)`."""
    return [
        layers.EinsumDense(
            "btm,mnh->btnh", (None, HEADS, WIDTH), bias_axes="nh" if use_bias else None, name=name
        )(x)
        for name in ("query", "key", "value")
    ]


def by_einsum(q, k, v, mask):
    scores = ops.einsum("btnh,bsnh->bnts", q, k) * 0.5 + ops.arange(5.0)
    return ops.einsum("bnts,bsnh->btnh", layers.Softmax()(scores, mask[:, None]), v)


def by_matmul(q, k, v, mask):
    q, v = (ops.transpose(tensor, (0, 2, 1, 3)) for tensor in (q, v))
    scores = ops.matmul(q, ops.transpose(k, (0, 2, 3, 1))) / 2.0
    scores = ops.where(ops.cast(mask, "bool")[:, None], scores, -1e9)
    return ops.transpose(ops.matmul(ops.softmax(scores), v), (0, 2, 1, 3))


def by_one_operation(q, k, v, mask):
    return ops.dot_product_attention(q, k, v, mask=ops.cast(mask, "bool")[:, None])


def model_of(attend, project, harness):
    x, mask = keras.Input((5, 6)), keras.Input((5, 5), dtype="int32")
    mixed = attend(*project(x), mask)
    out = layers.EinsumDense("btnh,nhd->btd", (None, 3), bias_axes="d", name="out")(mixed)
    model = keras.Model([x, mask], out)
    harness.randomise(model)
    return model


@pytest.mark.parametrize(
    ("attend", "rows"), [(by_einsum, 4), (by_matmul, 3), (by_one_operation, 3)]
)
def test_constants_that_differ_from_head_to_head(attend, rows, harness):
    model = model_of(attend, projections, harness)
    for name in ("query", "key", "value"):
        kill(model.get_layer(name), 1)
    compact, report = harness.cut(model)
    assert report.channels["query"] == report.channels["key"] == (4, 3)
    # `Softmax` with a mask returns zeros where all is masked, and no bias can tell.
    assert report.channels["value"] == (4, rows)
    assert compact.get_layer("out").kernel.shape == (HEADS, rows, 3)


def test_a_query_that_is_constant_is_still_multiplied(harness):
    model = model_of(by_einsum, projections, harness)
    kill(model.get_layer("query"), 1)
    assert harness.cut(model)[1].channels["query"] == (4, 4)


@pytest.mark.parametrize("use", ["output", "sum"])
def test_scores_that_are_not_only_for_a_softmax(use, harness):
    x = keras.Input((5, 6))
    q, k, v = projections(x)
    scores = ops.einsum("btnh,bsnh->bnts", q, k)
    mixed = ops.einsum("bnts,bsnh->btnh", ops.softmax(scores), v)
    more = {"output": scores, "sum": ops.sum(scores, axis=-1)}[use]
    model = keras.Model(x, [layers.Dense(3)(ops.reshape(mixed, (-1, 5, 8))), more])
    harness.randomise(model)
    for name in ("query", "key"):
        kill(model.get_layer(name), 1)
    assert harness.cut(model)[1].channels["query"] == (4, 4)


def test_keys_and_values_of_two_widths(harness):
    model = model_of(by_one_operation, projections, harness)
    kill(model.get_layer("value"), 2)
    compact, report = harness.cut(model)
    assert report.channels["value"] == (4, 2)
    kinds = {type(operation).__name__ for operation in compact.operations}
    assert "DotProductAttention" not in kinds
    assert "Softmax" in kinds


def test_attention_that_is_causal_by_itself_has_one_width(harness):
    def causal(q, k, v, mask):
        return ops.dot_product_attention(q, k, v, is_causal=True)

    model = model_of(causal, projections, harness)
    for name, count in (("query", 2), ("key", 2), ("value", 1)):
        kill(model.get_layer(name), count)
    _, report = harness.cut(model)
    assert report.channels["key"] == report.channels["value"] == (4, 3)


def model_of_dense_layers(harness):
    """The same from dense layers, whose outputs are parted into heads and put together again."""
    x, mask = keras.Input((5, 6)), keras.Input((5, 5), dtype="int32")
    parts = [
        ops.reshape(layers.Dense(HEADS * WIDTH, name=name)(x), (-1, 5, HEADS, WIDTH))
        for name in ("query", "key", "value")
    ]
    mixed = ops.reshape(by_matmul(*parts, mask), (-1, 5, HEADS * WIDTH))
    model = keras.Model([x, mask], layers.Dense(3)(mixed))
    harness.randomise(model)
    return model


def test_heads_that_lose_different_channels_stay(harness):
    """Nothing is put in again: that takes longer than the channels did."""
    model = model_of_dense_layers(harness)
    for name in ("query", "key", "value"):
        kill(model.get_layer(name), 2)  # of the first head
    compact, report = harness.cut(model)
    assert report.channels["query"] == report.channels["value"] == (8, 8)
    assert len(compact.operations) == len(model.operations)


def test_heads_that_lose_the_same_channels_are_narrower(harness):
    model = model_of_dense_layers(harness)
    for name in ("query", "key", "value"):
        layer = model.get_layer(name)
        value = ops.convert_to_numpy(layer.kernel).copy()
        value[:, [1, 5]] = 0.0
        layer.kernel.assign(value)
    compact, report = harness.cut(model)
    assert report.channels["query"] == report.channels["value"] == (8, 6)
    assert not any(type(operation).__name__ == "Take" for operation in compact.operations)


def test_queries_in_groups(harness):
    x, mask = keras.Input((5, 6)), keras.Input((5, 5), dtype="int32")
    q, k, v = projections(x, use_bias=False)
    q = ops.reshape(layers.EinsumDense("btm,mnh->btnh", (None, 4, WIDTH))(x), (-1, 5, 2, 2, WIDTH))
    scores = layers.Softmax()(ops.einsum("btkgh,bskh->bkgts", q, k), mask[:, None, None])
    mixed = ops.reshape(ops.einsum("bkgts,bskh->btkgh", scores, v), (-1, 5, 4, WIDTH))
    nothing = ops.all(ops.equal(mask, 0), axis=-1, keepdims=True)[..., None]
    mixed = ops.where(nothing, ops.zeros_like(mixed), mixed)
    out = layers.EinsumDense("btnh,nhd->btd", (None, 3))(mixed)
    model = keras.Model([x, mask], out)
    harness.randomise(model)
    kill(model.get_layer("value"), 1)
    assert harness.cut(model)[1].channels["value"] == (4, 3)
    masked = [np.ones((2, 5, 6)), np.zeros((2, 5, 5))]
    assert not np.any(ops.convert_to_numpy(model(masked)))
