"""Predicts the costs of a model at any widths of its groups, without building it."""

import functools
from collections.abc import Mapping

import numpy as np

from keras_sparse.compression.memory import Memory
from keras_sparse.compression.micro import Micro
from keras_sparse.compression.predicted_macs import PredictedMacs, resized
from keras_sparse.surgery.graph import Graph
from keras_sparse.surgery.units import weights_by_name

# Bytes of a TFLite file for each element of a kernel; for each output channel of a kernel (its
# bias; in int8 also scales and zero points of kernel and bias); for each operator with a kernel,
# and for each other one (names and shapes). The last two are fitted: benchmarks/file_sizes.py.
_INT8 = (1, 28, 960, 200)
_FILES = {"float32_bytes": (4, 4, 830, 200), "int8_bytes": _INT8, "flash": _INT8}


def check_latency(latency, model=None):
    """Raises a `ValueError` if `latency` is not a dict of tables, or a table is of another model.

    Args:
        latency: the argument `latency` of `compress`.
        model: the `keras.Model` that the tables must be of; None if it was cut since.
    """
    if latency is not None and not isinstance(latency, Mapping):
        raise ValueError(
            "`latency` must be a dict such as {'latency': table}, with an `export.LatencyTable`. "
            f"Received: latency of type {type(latency).__name__}"
        )
    for table in (latency or {}).values():
        if model is not None and hasattr(table, "check"):
            table.check(model)


class CostModel:
    """Parameters, multiply-accumulates and other costs, as functions of the groups' widths.

    The size of each axis of a weight follows from the kept channels of its groups, so the number of
    parameters is exact. So is that of multiply-accumulates, see `PredictedMacs`. All channels of a
    group are taken to cost the same. They cost their mean if layers read different parts of them.

    Args:
        model: a built `keras.Model`.
        groups: list of `surgery.ChannelGroup` of this model.
        latency: None, or `{cost name: object}`, such as an `export.LatencyTable`. The object's
            method `layer_seconds(layer, shapes)` returns the time of a layer in seconds if its
            weights have the shapes `{weight name: shape}`. Its optional method `total` returns the
            time of the measured model, and `check` raises a `ValueError` for another model.
        timed: bool, whether `model` is the measured model; False if it was cut from that.

    Attributes:
        names: the costs that are reported for every model.
        micro_names: further costs that can be requested: those of LiteRT for Microcontrollers in
            int8.
        file_names: those of `names` that are bytes of a TFLite file.
    """

    micro_names = ("arena", "flash")
    file_names = ("float32_bytes", "int8_bytes")

    def __init__(self, model, groups, latency=None, timed=True):
        self.groups = list(groups)
        self._index = {group: i for i, group in enumerate(self.groups)}
        check_latency(latency)
        self._latency = dict(latency or {})
        self._timed = timed
        graph = Graph(model)
        self._layers = _layers(graph)
        self._macs = PredictedMacs(graph, self.groups)
        self._memory = Memory(graph, self.groups)
        self._graph = graph
        self._beyond = dict.fromkeys((*self.micro_names, *self.file_names), 0.0)
        self._axes = {}
        for group in self.groups:
            for part in group.slices:
                each = np.bincount(part.channels[part.channels >= 0], minlength=group.size)
                self._axes.setdefault((part.layer, part.weight), []).append(
                    (part.axis, self._index[group], each.mean())
                )
        self._touched = [
            sorted(
                {part.layer for part in group.slices}
                | {layer for layer, own in self._macs.groups_of.items() if i in own}
            )
            for i, group in enumerate(self.groups)
        ]
        self.names = ("parameters", "macs", *self.file_names, "memory", *self._latency)

    def names_with(self, target):
        """`names`, and those of `micro_names` that a target limits."""
        limited = target if isinstance(target, dict) else {}
        return [*self.names, *(name for name in self.micro_names if name in limited)]

    def full(self):
        """The widths of the full model, an int array with one entry for each group."""
        return np.array([group.size for group in self.groups])

    @functools.cached_property
    def _micro(self):
        return Micro(self._graph, self.groups)

    def calibrate(self, measured):
        """Shifts the predictions, so that those of the full model equal measured costs.

        Args:
            measured: `{cost: number}`, of `micro_names` and `file_names`.
        """
        for name, found in measured.items():
            self._beyond[name] += found - self.total(name, self.full())

    def total(self, name, widths):
        """The cost of the whole model at these widths."""
        if name == "memory":
            return self._memory.peak(widths)
        if name == "arena":
            return self._micro.arena(widths) + self._beyond[name]
        if name in _FILES:
            kernels = sum(self._layer(name, layer, widths) for layer in self._layers)
            return kernels + self._beside_kernels(name, widths) + self._beyond[name]
        table = self._latency.get(name)
        if self._timed and hasattr(table, "total") and np.array_equal(widths, self.full()):
            return table.total()
        return sum(self._layer(name, layer, widths) for layer in self._layers)

    def change(self, name, widths, group, width):
        """The cost that is saved if one group gets another width."""
        index = self._index[group] if not isinstance(group, (int, np.integer)) else group
        other = widths.copy()
        other[index] = width
        if name in ("memory", "arena"):
            return self.total(name, widths) - self.total(name, other)
        saved = sum(
            self._layer(name, layer, widths) - self._layer(name, layer, other)
            for layer in self._touched[index]
        )
        if name in _FILES:
            saved += self._beside_kernels(name, widths) - self._beside_kernels(name, other)
        return saved

    def _beside_kernels(self, name, widths):
        _, channel, kernel, other = _FILES[name]
        operators = kernel * self._micro.kernels + other * self._micro.others
        return channel * self._micro.channels(widths) + operators

    def relief(self, name, widths, group, width, saved, limit):
        """How much nearer to a limit the model comes if one group gets another width.

        Args:
            name, widths, width: see `change`.
            group: int, the group's index.
            saved: the result of `change`.
            limit: the limit; the cost exceeds it.

        Returns:
            `saved`. For memory and the arena, instead, the decrease of the excess above the limit,
            summed over all steps of the model: a peak that several groups share falls only when
            they all get narrower.
        """
        if name == "memory":
            return self._memory.relief(widths, group, width, limit)
        if name == "arena":
            return self._micro.relief(widths, group, width, limit - self._beyond[name])
        return saved

    def neighbours(self, names):
        """For each group, the indices of groups with savings that depend on its width.

        These are the group itself and those that share a layer with it; all groups, if a cost is a
        peak over the whole model.
        """
        if "memory" in names or "arena" in names:
            return [list(range(len(self.groups)))] * len(self.groups)
        layers = [set(touched) for touched in self._touched]
        return [[j for j, own in enumerate(layers) if own & other] for other in layers]

    def heaviest(self, name, widths):
        """`(layer, cost)` of the layer with the highest cost."""
        if name == "memory":
            return self._memory.largest(widths)
        if name == "arena":
            return self._micro.largest(widths)
        costs = {layer: self._layer(name, layer, widths) for layer in self._layers}
        layer = max(costs, key=costs.get)
        return layer, costs[layer]

    def peak(self, widths):
        """The contents of the arena at its peak; see `Micro.peak`."""
        return self._micro.peak(widths)

    def shapes(self, layer, widths):
        """`{weight name: shape}` of a layer at these widths."""
        return {
            weight: resized(shape, self._axes.get((layer, weight), ()), self.groups, widths)
            for weight, shape in self._layers[layer].items()
        }

    def _layer(self, name, layer, widths):
        shapes = self.shapes(layer, widths)
        if name in self._latency:
            return self._latency[name].layer_seconds(layer, shapes)
        if name == "macs":
            return self._macs.count(layer, widths, shapes)
        sizes = {weight: float(np.prod(shape)) for weight, shape in shapes.items()}
        if name == "parameters":
            return sum(sizes.values())
        element = _FILES[name][0] if name in _FILES else 1
        return element * sum(sizes[key] for key in _kernels(self._layers[layer]))


def _layers(graph):
    """`{layer: {weight name: shape}}`, each weight once."""
    return {
        unit.name: {
            name: tuple(weight.shape) for name, weight in weights_by_name(unit.operation).items()
        }
        for unit in graph.units
    }


def _kernels(shapes):
    return {
        name
        for name, shape in shapes.items()
        if len(shape) > 1 and not name.endswith(("bias", "seed_generator_state"))
    }
