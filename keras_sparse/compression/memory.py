"""Predicts the peak memory of a model's activations at any widths of its groups."""

import numpy as np

_FLOAT32 = 4


class Memory:
    """Bytes of the tensors that are needed at the same time while a model runs, at batch size 1.

    Layers run one after the other, in the order of the model. A tensor is needed from the layer
    that computes it to the last layer that reads it. Inputs are needed from the start, outputs to
    the end. No layer overwrites its input. All tensors are float32; an unknown size counts as 1.

    Args:
        graph: a `surgery.graph.Graph`.
        groups: list of the `surgery.ChannelGroup`s of its model.
    """

    def __init__(self, graph, groups):
        self._layers = [call.unit.name for call in graph.calls]
        values, places = value_places(graph)
        alive = _alive(graph, values)
        fixed = np.array([_bytes(value) for value in values], float)
        by_width = np.zeros((len(values), len(groups)))
        for i, group in enumerate(groups):
            for call, output, share in group.activations:
                row = places[call, output]
                by_width[row, i] += fixed[row] * share / group.size
        # Bytes of a tensor: a fixed number for channels in no group, plus bytes for each channel
        # of a group.
        fixed -= by_width @ np.array([group.size for group in groups], float)
        self._fixed = alive @ fixed
        self._by_width = alive @ by_width

    def peak(self, widths):
        """The largest sum of bytes that are needed at once."""
        return float(self._live(widths).max())

    def relief(self, widths, group, width, limit):
        """Decrease of the bytes above a limit, summed over all calls, for another width."""
        live = self._live(widths)
        other = live + self._by_width[:, group] * (width - widths[group])
        return float(np.maximum(live - limit, 0).sum() - np.maximum(other - limit, 0).sum())

    def largest(self, widths):
        """`(layer, bytes)` of the layer that runs at the peak."""
        live = self._live(widths)
        return self._layers[int(live.argmax())], float(live.max())

    def _live(self, widths):
        """Bytes that are needed while each call runs."""
        return self._fixed + self._by_width @ np.asarray(widths, float)


def value_places(graph):
    """All tensors, and `{(call, output): index of the tensor}`; inputs come first."""
    values = list(graph.inputs)
    places = {}
    for i, call in enumerate(graph.calls):
        for j, value in enumerate(call.outputs):
            places[i, j] = len(values)
            values.append(value)
    return values, places


def _alive(graph, values):
    """Bool array (calls, tensors): which tensors are needed while a call runs."""
    numbers = {id(value): number for number, value in enumerate(values)}
    last = len(graph.calls) - 1
    first = np.zeros(len(values), int)
    until = np.zeros(len(values), int)
    for i, call in enumerate(graph.calls):
        for value in call.outputs:
            first[numbers[id(value)]] = until[numbers[id(value)]] = i
        for value in call.inputs:
            until[numbers[id(value)]] = i
    for value in graph.outputs:
        until[numbers[id(value)]] = last
    steps = np.arange(len(graph.calls))[:, None]
    return ((first <= steps) & (steps <= until)).astype(float)


def _bytes(value):
    return _FLOAT32 * np.prod([size or 1 for size in value.shape[1:]])
