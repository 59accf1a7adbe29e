"""Differences between the outputs of a TFLite file and of its Keras model."""

import numpy as np

from export.errors import ExportError

# A column of the last axis is lost if its error exceeds this share of its own range, and this
# multiple of the error of the best column.
_LOST, _WORSE = 0.5, 4.0


def compare(path, wanted, got, labels, tolerance, drawn, advice=None):
    """Compute the figures of a `Verification` from outputs by name; or raise an ExportError.

    Args:
        path: the file, for the messages.
        wanted, got: outputs of the model and of the file, dicts from names to arrays `(n, ...)`.
        labels: integer classes `(n,)`, or None.
        tolerance: a `Tolerance`.
        drawn: True if the samples are random: then only integer outputs must agree, not
            predictions.
        advice: function that returns advice for a file that differs, used in messages.
    """
    if _shapes(wanted) != _shapes(got):
        raise ExportError(f"{path} has the outputs {_shapes(got)}, the model {_shapes(wanted)}.")
    for name, value in wanted.items():
        if not np.isfinite(value).all():
            raise ExportError(f"The Keras model itself gives NaN or infinity in output {name!r}.")
        if not np.isfinite(got[name]).all():
            raise ExportError(f"{path} gives NaN or infinity in output {name!r}; Keras does not.")
    pairs = {name: (value, got[name]) for name, value in wanted.items()}
    figures = _figures(pairs, labels)
    faults = [
        *_error_faults(pairs, figures, tolerance, drawn),
        *_prediction_faults(pairs, figures, tolerance, drawn),
        *_accuracy_faults(figures, labels, tolerance),
    ]
    if faults:
        parts = [f"{path} {faults[0]}.", _predictions_text(figures), advice() if advice else ""]
        raise ExportError(" ".join(filter(None, parts)))
    return {"drawn": drawn, **figures}


def _predictions_text(figures):
    texts = []
    if figures["agreement"] is not None:
        texts.append(f"same predictions for {figures['agreement']:.2%} of them")
    if figures["accuracy"] is not None:
        texts.append(
            f"accuracy {figures['accuracy']:.4f}, of Keras {figures['keras_accuracy']:.4f}"
        )
    return f"On these samples: {', '.join(texts)}." if texts else ""


def _shapes(outputs):
    return {name: outputs[name].shape[1:] for name in sorted(outputs)}


def _figures(pairs, labels):
    floats = {name: pair for name, pair in pairs.items() if not _is_integer(pair[0])}
    before, after = _accuracies(pairs, labels)
    errors = {name: _relative_error(*pair) for name, pair in pairs.items()}
    return {
        "max_abs_error": max((_error(*pair) for pair in floats.values()), default=0.0),
        "max_relative_error": max((errors[name] for name in floats), default=0.0),
        "output_errors": errors,
        "agreement": min(_agreements(pairs).values(), default=None),
        "accuracy": after,
        "keras_accuracy": before,
    }


def _is_integer(value):
    return value.dtype.kind in "biu"


def _error(value, other):
    return float(np.abs(value - other).max())


def _relative_error(value, other):
    """The error of floats relative to the output's scale; the share of integers that differ."""
    if _is_integer(value):
        return float(np.mean(value != other))
    scale = float(np.abs(value).max())
    return _error(value, other) / (scale or 1.0)


def _error_faults(pairs, figures, tolerance, drawn):
    for name, (value, other) in pairs.items():
        if _is_integer(value):
            continue
        relative = figures["output_errors"][name]
        if not relative <= tolerance.error:
            yield (
                f"differs from the Keras model by {_error(value, other):.3g} in output {name!r}, "
                f"{relative:.3g} of the output's scale; the tolerance is {tolerance.error:.3g}"
            )
        lost = _lost_column(value, other, tolerance, drawn)
        if lost is not None:
            axis, column = lost
            where = "the last axis" if axis == value.ndim - 1 else f"axis {axis}"
            whole = np.abs(value).max()
            own, left = value.take(column, axis), other.take(column, axis)
            yield (
                f"has lost column {column} of {where} of output {name!r}: it differs from "
                f"the Keras model by {_error(own, left):.3g}, where the column goes from "
                f"{own.min():.3g} to {own.max():.3g} and the whole output up to {whole:.3g}. One "
                "scale serves a whole output: give columns of other sizes a separate output, "
                "or rescale them"
            )


def _lost_column(value, other, tolerance, drawn):
    """The worst column that lost its variation, as `(axis, column)`, or None.

    Numbers from 0 to 1 are taken as probabilities with a common scale. So a class that never occurs
    may become constant, and so may a feature that is zero for more than half of the samples.
    """
    if value.ndim < 2 or (value.min() >= 0 and value.max() <= 1):
        return None
    for axis in _column_axes(value):
        column = _lost_along(axis, value, other, tolerance, drawn)
        if column is not None:
            return axis, column
    return None


def _column_axes(value):
    """The axes of an output whose entries have different meanings."""
    last = value.ndim - 1
    # In some detectors boxes and scores are on the first axis, and many places on later axes.
    first = value.ndim > 2 and value.shape[1] < min(value.shape[2:])
    return [1, last] if first else [last]


def _lost_along(axis, value, other, tolerance, drawn):
    columns = (np.moveaxis(each, axis, -1) for each in (value, other))
    value, other = (each.reshape(-1, each.shape[-1]) for each in columns)
    ranges = np.ptp(value, axis=0)
    varies = (ranges > 1e-6 * np.abs(value).max()) & (np.mean(value == 0, axis=0) <= 0.5)
    if not varies.any():
        return None
    errors = np.abs(value - other).max(axis=0)
    shares = np.where(varies, errors / np.where(varies, ranges, 1), 0)
    # If a network hardly varies on the samples, all columns are equally bad.
    worse = shares > _WORSE * shares[varies].min()
    if not drawn:
        worse |= np.ptp(other, axis=0) == 0
    shares = np.where(worse, shares, 0)
    worst = int(shares.argmax())
    return worst if shares[worst] >= max(_LOST, tolerance.error) else None


def _agreements(pairs):
    """Shares of equal predictions by output: equal largest entries, or equal integers."""
    return {
        name: float(
            np.mean(value == other)
            if _is_integer(value)
            else np.mean(value.argmax(-1) == other.argmax(-1))
        )
        for name, (value, other) in pairs.items()
        if _is_integer(value) or (value.ndim == 2 and value.shape[1] > 1)
    }


def _prediction_faults(pairs, figures, tolerance, drawn):
    for name, agreement in _agreements(pairs).items():
        value = pairs[name][0]
        integer = _is_integer(value)
        if drawn and not integer:
            continue
        count = value.size if integer else len(value)
        allowed = max(1, int((1 - tolerance.agreement) * count))
        if round((1 - agreement) * count) > allowed:
            what = "has the same integers as" if integer else "predicts the same as"
            unit = "elements" if integer else "samples"
            yield (
                f"{what} the Keras model for {agreement:.2%} of {count} {unit} in output {name!r}; "
                f"at least {tolerance.agreement:.2%} are required"
            )


def check_outputs(outputs, labels):
    """Raises a ValueError unless labels are classes of a model's outputs.

    Args:
        outputs: a list of `(shape without the batch, whether it holds integers)`.
        labels: int array.
    """
    (shape, integer), *more = outputs
    classes = shape[0] if len(shape) == 1 else 0
    known = (integer and not shape) or classes is None or classes > labels.max()
    if more or not known:
        raise ValueError(
            "`labels` need a model with one output, of one value per class or of the class. "
            f"Received: outputs of shape {[own for own, _ in outputs]}, labels up to {labels.max()}"
        )


def _accuracies(pairs, labels):
    """Accuracy of the model and of the file; (None, None) without labels."""
    if labels is None:
        return None, None
    check_outputs([(value.shape[1:], _is_integer(value)) for value, _ in pairs.values()], labels)
    [first] = pairs.values()
    integer = first[0].ndim == 1
    return tuple(
        float(np.mean((value if integer else value.argmax(-1)) == labels)) for value in first
    )


def _accuracy_faults(figures, labels, tolerance):
    if labels is None:
        return
    before, after = figures["keras_accuracy"], figures["accuracy"]
    if round((before - after) * len(labels)) > max(1, int(tolerance.accuracy * len(labels))):
        yield (
            f"has an accuracy of {after:.4f}, the Keras model {before:.4f}; the tolerance is "
            f"{tolerance.accuracy}"
        )
