"""Predicts the RAM of an int8 model on a microcontroller, at any widths of its groups."""

import numpy as np

from keras_sparse.compression.memory import value_places
from keras_sparse.compression.operators import Operators

# The runtime aligns tensors to this many bytes.
_ALIGNMENT = 16
# Persistent bytes in the arena: for the model, for each operator, for each operator with a kernel,
# and for each output channel of a kernel, which has its own scale. Fitted to measurements.
_MODEL, _OPERATOR, _KERNEL, _CHANNEL = 640, 165, 95, 8
# Bytes that the runtime's memory planner needs for each tensor while it plans.
_PLANNING = 90


class Micro:
    """Size of the arena of a model in int8 with LiteRT for Microcontrollers.

    The arena holds activations: the tensors between the operators into which TensorFlow's converter
    turns the layers, in its order. A tensor is needed from the operator that computes it to the
    last operator that reads it. The runtime's memory planner places the largest tensor first, and
    each at the lowest address that is free for as long as it is needed. The arena also holds
    persistent data for operators and channels, with sizes measured on a 64-bit host.

    Args:
        graph: a `surgery.graph.Graph`.
        groups: list of the `surgery.ChannelGroup`s of its model.

    Attributes:
        kernels: int, number of operators with a kernel.
        others: int, number of the other operators.

    Reference:
        David et al., TensorFlow Lite Micro, arXiv 2010.08678, section 4.4: memory planning.
    """

    def __init__(self, graph, groups):
        operators = Operators(graph)
        self._layers = [step.layer for step in operators.steps]
        self._groups = groups
        fixed, by_width = _sizes(graph, operators.tensors, groups)
        # Bytes of a tensor: a fixed number for channels in no group, plus bytes for each channel
        # of a group.
        self._fixed, self._by_width = fixed, by_width
        self._alive = _alive(operators)
        self._beside = [np.flatnonzero(row) for row in self._alive.T @ self._alive > 0]
        self._names = operators.names
        # Output channels of kernels: the size of the written tensor, divided by its positions.
        written = [
            (step.writes[0], step.kernels / operators.positions(step))
            for step in operators.with_kernels
        ]
        self._channels = sum((by_width[i] * share for i, share in written), np.zeros(len(groups)))
        self._other_channels = sum(fixed[i] * share for i, share in written)
        self.kernels = sum(step.kernels for step in operators.steps)
        self.others = sum(step.others for step in operators.steps)
        self._least = _PLANNING * (len(fixed) + 2 * self.kernels)
        self._stay = _MODEL + _OPERATOR * (self.kernels + self.others) + _KERNEL * self.kernels

    def arena(self, widths):
        """Bytes of the smallest arena."""
        return self._tail(widths) + max(self._head(widths), self._least)

    def relief(self, widths, group, width, limit):
        """Decrease of the bytes above a limit, summed over all operators, for another width."""
        live, other = (self._live(w) for w in (widths, _with(widths, group, width)))
        gap = self._head(widths) - live.max()
        room = limit - self._tail(widths) - gap
        saved = np.maximum(live - room, 0).sum() - np.maximum(other - room, 0).sum()
        return float(saved + _CHANNEL * self._channels[group] * (widths[group] - width))

    def largest(self, widths):
        """`(layer, bytes)` of the operator that needs the most bytes of activations."""
        live = self._live(widths)
        return self._layers[int(live.argmax())], float(live.max())

    def peak(self, widths):
        """The tensors in memory at the operator that needs the most bytes.

        Returns:
            `(layer, tensors)`: the layer of the operator, and a list of `(layer that computed the
            tensor, bytes, names of the groups of its channels)`, largest first.
        """
        step = int(self._live(widths).argmax())
        sizes = self._bytes(widths)
        found = [
            (
                self._names[i],
                int(sizes[i]),
                [g.name for g, own in zip(self._groups, self._by_width[i], strict=True) if own],
            )
            for i in np.flatnonzero(self._alive[step])
        ]
        return self._layers[step], sorted(found, key=lambda tensor: -tensor[1])

    def _bytes(self, widths):
        sizes = self._fixed + self._by_width @ np.asarray(widths, float)
        return np.ceil(sizes / _ALIGNMENT - 1e-9) * _ALIGNMENT

    def _live(self, widths):
        return self._alive @ self._bytes(widths)

    def _tail(self, widths):
        return float(self._stay + _CHANNEL * self.channels(widths))

    def channels(self, widths):
        """Total number of output channels of all kernels."""
        return self._other_channels + self._channels @ np.asarray(widths, float)

    def _head(self, widths):
        """Bytes of activations as the runtime's planner places them."""
        sizes = self._bytes(widths)
        starts = {}
        # The planner places the last of equally large tensors first.
        for i in sorted(range(len(sizes)), key=lambda i: (-sizes[i], -i)):
            start = 0.0
            for below, end in sorted(starts[j] for j in self._beside[i] if j in starts):
                if below - start >= sizes[i]:
                    break
                start = max(start, end)
            starts[i] = start, start + sizes[i]
        return max(end for _, end in starts.values())


def _with(widths, group, width):
    other = np.array(widths)
    other[group] = width
    return other


def _sizes(graph, tensors, groups):
    """Elements of each tensor for channels in no group, and for each channel of each group."""
    values, places = value_places(graph)
    sizes = np.array([np.prod([n or 1 for n in value.shape[1:]]) for value in values], float)
    by_width = np.zeros((len(values), len(groups)))
    for i, group in enumerate(groups):
        for call, output, share in group.activations:
            row = places[call, output]
            by_width[row, i] += sizes[row] * share / group.size
    number = {id(value): i for i, value in enumerate(values)}
    rows = [number[id(value)] for value in tensors]
    fixed = sizes - by_width @ np.array([group.size for group in groups], float)
    return fixed[rows], by_width[rows]


def _alive(operators):
    """Array (operators, tensors): 1 for tensors that are needed while an operator runs."""
    count, last = len(operators.tensors), len(operators.steps) - 1
    first, until = np.zeros(count, int), np.zeros(count, int)
    for i, step in enumerate(operators.steps):
        first[step.writes] = until[step.writes] = i
        until[step.reads] = i
    until[operators.outputs] = last
    steps = np.arange(last + 1)[:, None]
    return ((first <= steps) & (steps <= until)).astype(float)
