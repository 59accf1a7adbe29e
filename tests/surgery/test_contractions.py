"""`keras.ops.einsum` and `Dot`: which channels of a sum of products may go."""

import keras
import numpy as np
import pytest
from keras import layers, ops

pytestmark = pytest.mark.usefixtures("float64")


def pair(harness, make, dead=(2, 2), bias=0.0, first=None):
    """A model of two tensors `(5, 4)`; some channels of each are zero, or a constant."""
    x = keras.Input((5, 3))
    a, b = (layers.Dense(4, name=name) for name in "ab")
    left = first(a(x)) if first else a(x)
    model = keras.Model(x, layers.Dense(2, name="out")(make(left, b(x))))
    harness.randomise(model)
    for layer, count in zip((a, b), dead, strict=True):
        kernel, vector = layer.get_weights()
        kernel[:, :count], vector[:count] = 0, bias
        layer.set_weights([kernel, vector])
    return harness.cut(model)[1]


CASES = {
    # Summed over the channels: what is zero in either adds nothing.
    "scores": (lambda a, b: ops.einsum("bqd,bkd->bqk", a, b), (1, 2), (2, 2)),
    "dot of the last axes": (lambda a, b: layers.Dot(axes=2)([a, b]), (1, 2), (2, 2)),
    "ellipsis": (lambda a, b: ops.einsum("...qd,...kd->...qk", a, b), (1, 2), (2, 2)),
    # A norm has what is zero in the other operand only.
    "normalized": (lambda a, b: layers.Dot(axes=2, normalize=True)([a, b]), (1, 2), (3, 3)),
    "normalized along positions": (
        lambda a, b: layers.Dot(axes=1, normalize=True)([a, b]),
        (0, 2),
        (4, 2),
    ),
    # Those of one are those of the result.
    "values": (
        lambda a, b: ops.einsum("bqk,bkd->bqd", ops.einsum("bqd,bkd->bqk", a, a * 2.0), b),
        (0, 2),
        (4, 2),
    ),
    "dot of the positions": (lambda a, b: layers.Dot(axes=(1, 1))([a, b]), (0, 2), (4, 2)),
    # Channel by channel.
    "products": (lambda a, b: ops.einsum("bpd,bpd->bpd", a, b), (1, 2), (2, 2)),
    "reduced products": (lambda a, b: ops.einsum("bpd,bqd->bpd", a, b), (1, 2), (2, 2)),
}


@pytest.mark.parametrize("name", CASES)
def test_zeros_add_nothing(name, harness):
    make, dead, left = CASES[name]
    report = pair(harness, make, dead)
    assert report.channels["a"] == (4, left[0])
    assert report.channels["b"] == (4, left[1])


def test_a_matrix_loses_rows_and_columns(harness):
    matrix = harness.rng.standard_normal((4, 6))
    matrix[:, 1] = 0

    def multiply(a, b):
        return ops.einsum("...i,ij->...j", a, matrix) + ops.einsum("bpi,ij->bpj", b, matrix)

    report = pair(harness, multiply, dead=(1, 2), bias=0.7)
    assert report.channels["a"] == (4, 3)
    assert report.channels["b"] == (4, 2)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (
            lambda a, b: ops.einsum("bpi,i->bpi", a, np.arange(4.0)) + b,
            "multiplies other than two different tensors",
        ),
        (
            lambda a, b: ops.einsum("...d,...d->...d", ops.mean(a, 1, keepdims=True), b),
            "multiplies axes for which it has no rule",
        ),
    ],
)
def test_other_products_are_left_whole(make, reason, harness):
    report = pair(harness, make, dead=(2, 2))
    assert report.channels["a"] == (4, 4)
    assert reason in " ".join(report.reasons["a"])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("product", ["einsum", "matmul"])
def test_constants_pass_scores_that_sum_to_one(product, masked, harness):
    def mix(a, b):
        scores = layers.Dropout(0.1)(ops.softmax(a[..., :1] + ops.transpose(a[..., :1], (0, 2, 1))))
        scores = scores * np.tri(5) if masked else scores
        return ops.einsum("bqk,bkd->bqd", scores, b) if product == "einsum" else scores @ b

    report = pair(harness, mix, dead=(0, 2), bias=0.7)
    assert report.channels["b"] == (4, 4 if masked else 2)
