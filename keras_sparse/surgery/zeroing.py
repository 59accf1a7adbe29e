"""Sets small channels to zero, so that surgery can remove them."""

import dataclasses
from typing import Any, Literal

import keras
import numpy as np

from keras_sparse._types import Verify
from keras_sparse.channels import channel_norms, channel_weight, layers_with_channels
from keras_sparse.channels.names import by_name
from keras_sparse.surgery.removal import copied_whole
from keras_sparse.surgery.verify import check_verify, compare
from keras_sparse.validation import check_number
from keras_sparse.variables import layers_of_type

_CRITERIA = ("norm", "batch_norm")


@dataclasses.dataclass(frozen=True)
class ZeroedReport:
    """The report on what `zero_channels` did.

    Args:
        threshold, criterion: as given.
        zeroed: `{layer name: indices of the channels that were set to zero}`, for every layer that
            was examined.
        channels: `{layer name: (channels, remaining channels)}`.
        largest: size of the largest channel that was set to zero, 0.0 if there was none.
        max_error: change of the outputs, relative to their scale; None if it was not measured.
    """

    threshold: float
    criterion: str
    zeroed: dict[str, np.ndarray]
    channels: dict[str, tuple[int, int]]
    largest: float
    max_error: float | None

    def to_dict(self) -> dict[str, Any]:
        """The report as a JSON-serializable dict."""
        zeroed = {name: indices.tolist() for name, indices in self.zeroed.items()}
        return {**dataclasses.asdict(self), "zeroed": zeroed}


def zero_channels(
    model: keras.Model,
    threshold: float,
    criterion: Literal["norm", "batch_norm"] = "norm",
    verify: Verify = True,
) -> tuple[keras.Model, ZeroedReport]:
    """Sets channels that are nearly zero to exactly zero, so that surgery can remove them.

    Adam with L2 leaves weights of 1e-20 in dead channels, not zeros. This function changes the
    outputs slightly. `remove_dead_channels` then does not change them further.

    Args:
        model: a built `keras.Model`; it is not changed.
        threshold: float, not negative. Channels of at most this size become zero.
        criterion: the size of a channel. `"norm"`: 2-norm of its incoming weights, which become
            zero; its bias stays. `"batch_norm"`: the magnitude of its batch normalisation's
            `gamma`, which becomes zero; `beta` stays.
        verify: the inputs on which the change of the outputs is measured; as in
            `remove_dead_channels`.

    Returns:
        `(zeroed, report)`: a new model with the same shapes, with nested models inlined, and a
        `ZeroedReport`.

    Raises:
        ValueError: the threshold is negative or not a number; the criterion is unknown;
            `remove_dead_channels` would refuse the model; a layer with small channels cannot be
            copied; or there are no inputs on which the outputs can be compared.

    Example:

    >>> zeroed, report = zero_channels(model, 1e-6)
    >>> compact, _ = remove_dead_channels(zeroed)
    """
    check_number("threshold", threshold, "[0, inf)")
    if criterion not in _CRITERIA:
        raise ValueError(f"`criterion` must be one of {_CRITERIA}. Received: {criterion!r}")
    check_verify(verify)
    graph, rebuild = copied_whole(model)
    zeroed = rebuild.model
    layers = {
        "norm": layers_with_channels,
        "batch_norm": _batch_normalizations,
    }[criterion](zeroed)
    found, channels, largest = {}, {}, 0.0
    for name, layer in by_name(layers).items():
        sizes = channel_norms(layer) if criterion == "norm" else _scales(layer)
        small = sizes <= threshold
        found[name] = np.flatnonzero(small)
        channels[name] = (len(sizes), int((~small).sum()))
        largest = max(largest, float(sizes[small].max(initial=0.0)))
        if small.any():
            _set_to_zero(layer, small, rebuild)
    error = None if verify is False else compare(graph.model, zeroed, verify)[0]
    return zeroed, ZeroedReport(float(threshold), criterion, found, channels, largest, error)


def _batch_normalizations(model):
    kind = keras.layers.BatchNormalization
    return [layer for layer in layers_of_type(model, kind) if layer.scale]


def _scales(layer):
    return np.abs(keras.ops.convert_to_numpy(layer.gamma).astype(np.float64))


def _set_to_zero(layer, small, rebuild):
    """Sets the incoming weights, or the `gamma`, of small channels to zero."""
    norm = isinstance(layer, keras.layers.BatchNormalization)
    variable, axes = (layer.gamma, (-1,)) if norm else channel_weight(layer)
    rebuild.check_own(variable)
    value = keras.ops.convert_to_numpy(variable)
    shape = [1] * value.ndim
    for axis in axes:
        shape[axis] = value.shape[axis]
    variable.assign(np.where(small.reshape(shape), 0.0, value))
