import numpy as np
import pytest

from export import ExportError, Tolerance
from export.compare import compare

TOLERANCE = Tolerance(error=0.3, agreement=0.8, accuracy=0.05)
LAX = Tolerance(error=1.0, agreement=0.0, accuracy=1.0)
RNG = np.random.default_rng(0)


def compared(wanted, got, labels=None, tolerance=TOLERANCE, drawn=False, advice=None):
    wanted, got = (each if isinstance(each, dict) else {"output_0": each} for each in (wanted, got))
    return compare("model.tflite", wanted, got, labels, tolerance, drawn, advice)


def boxes_and_score(shape=(50,)):
    """Boxes up to 2000 and a score up to 1, and what is left of them in steps of 8."""
    wanted = np.concatenate([RNG.uniform(0, 2000, (*shape, 4)), RNG.random((*shape, 1))], -1)
    return wanted, 8 * np.round(wanted / 8)


@pytest.mark.parametrize("drawn", [False, True])
@pytest.mark.parametrize("shape", [(50,), (2, 30), (2, 5, 6)])
def test_a_dead_column_is_found(shape, drawn):
    wanted, got = boxes_and_score(shape)
    with pytest.raises(ExportError, match="lost column 4 of the last axis of output 'detections'"):
        compared(
            {"a": wanted[..., :4], "detections": wanted},
            {"a": got[..., :4], "detections": got},
            drawn=drawn,
        )
    assert compared(wanted[..., :4], got[..., :4])["max_relative_error"] < 0.003


def test_dead_columns_of_other_kinds():
    wanted, got = boxes_and_score()
    for column in (
        wanted[:, 4] - 0.5,
        -wanted[:, 4],
        300 + wanted[:, 4],  # its values are near, what varies in it is gone
    ):
        both = np.c_[wanted[:, :4], column], np.c_[got[:, :4], 8 * np.round(column / 8)]
        with pytest.raises(ExportError, match="lost column 4"):
            compared(*both)


def test_a_column_that_is_constant_is_lost_even_if_no_other_is_better():
    few = RNG.random(50) - 0.5
    for wanted in (np.c_[1000 + RNG.random(50), few], np.c_[np.full(50, 1000), few]):
        got = 8 * np.round(wanted / 8)
        with pytest.raises(ExportError, match="lost column"):
            compared(wanted, got)
        compared(wanted, got, drawn=True)


def test_boxes_and_scores_in_the_first_axis():
    wanted, got = boxes_and_score((50, 30))
    first = wanted.transpose(0, 2, 1), got.transpose(0, 2, 1)
    with pytest.raises(ExportError, match="lost column 4 of axis 1 of output"):
        compared(*first)
    # Rows of a picture are no columns.
    compared(*(each.reshape(50, 5, 5, 6) for each in first))


def test_columns_that_are_not_lost():
    wanted, got = boxes_and_score()
    # One that never varies, one that is only coarse, all that are as bad as each other.
    compared(np.c_[wanted[:, :4], np.full(50, 0.3)], np.c_[got[:, :4], np.zeros(50)])
    coarse = 40 * wanted[:, 4]
    compared(np.c_[wanted[:, :4], coarse], np.c_[got[:, :4], 8 * np.round(coarse / 8)])
    noise = 0.1 * RNG.normal(size=(50, 10)) + RNG.normal(size=10)
    compared(noise, noise + 0.1 * RNG.normal(size=(50, 10)), tolerance=LAX)
    # Probabilities share a scale: a class that never comes may vanish.
    logits = RNG.normal(size=(50, 10)) - 9 * (np.arange(10) == 3)
    softmax = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    compared(softmax, np.round(256 * softmax) / 256)
    # A feature that is hardly ever on.
    features = np.maximum(RNG.normal(size=(50, 10)), 0.05)
    features[:, 3] = 0.001 * (np.arange(50) % 4 == 0)
    compared(features, np.round(64 * features) / 64)
    # What was requested not to be judged.
    compared(*boxes_and_score(), tolerance=Tolerance(error=10.0, agreement=0.0, accuracy=1.0))


@pytest.mark.parametrize("number", [-0.1, np.nan, True, "a", None])
@pytest.mark.parametrize("field", ["error", "agreement", "accuracy"])
def test_a_tolerance_is_checked(field, number):
    with pytest.raises(ValueError, match=f"`{field}` must be a number of 0 or more. Received"):
        Tolerance(**{"error": 0.1, "agreement": 0.9, "accuracy": 0.1, field: number})


def test_the_error_of_every_output():
    wanted = {"a": np.array([[1.0, 2.0]]), "b": np.array([[10.0, -20.0]])}
    got = {"a": np.array([[1.0, 2.2]]), "b": np.array([[11.0, -20.0]])}
    figures = compared(wanted, got)
    assert figures["output_errors"] == pytest.approx({"a": 0.1, "b": 0.05})
    assert (figures["max_abs_error"], figures["max_relative_error"]) == (1.0, pytest.approx(0.1))
    with pytest.raises(ExportError, match=r"by 0\.9 in output 'a', 0\.45 of the output's scale"):
        compared(wanted, {**got, "a": np.array([[1.9, 2.0]])})


def test_integers_are_compared_by_the_share_that_is_equal():
    wanted = np.arange(100) % 10
    got = np.where(np.arange(100) < 15, 9 - wanted, wanted)
    figures = compared({"class": wanted}, {"class": got}, labels=wanted, tolerance=LAX)
    assert figures["output_errors"] == {"class": 0.15}
    assert (figures["agreement"], figures["accuracy"]) == (0.85, 0.85)
    assert (figures["max_abs_error"], figures["max_relative_error"]) == (0.0, 0.0)
    compared(wanted, got)
    strict = Tolerance(error=1e-4, agreement=0.995, accuracy=0.01)
    for drawn in (False, True):
        with pytest.raises(ExportError, match=r"has the same integers .* for 85\.00% of 100 elem"):
            compared(wanted, got, tolerance=strict, drawn=drawn)
    with pytest.raises(ExportError, match="accuracy of 0"):
        compared(wanted, got, labels=wanted)
    masks = RNG.random((5, 4)) > 0.5
    assert compared(masks, masks)["agreement"] == 1.0


def test_a_refusal_tells_the_predictions_and_the_way_out():
    wanted = np.eye(10)[np.arange(40) % 10]
    got = wanted + 0.4
    got[0] = got[0, ::-1]
    with pytest.raises(
        ExportError,
        match=r"differs .*scale; the tolerance is 0\.3\. On these samples: same predictions for "
        r"97\.50% of them, accuracy 0\.9750, of Keras 1\.0000\. Train more\.",
    ):
        compared(wanted, got, labels=np.arange(40) % 10, advice=lambda: "Train more.")
