"""Rules of LSTM, GRU and simple recurrent layers with one or two directions."""

from typing import ClassVar

import keras
import numpy as np

from keras_sparse.surgery.constants import Constants
from keras_sparse.surgery.rules.activations import activate, mixes_channels
from keras_sparse.surgery.rules.base import Rule, plain_config, register_rule
from keras_sparse.surgery.units import weights_by_name


class Cell:
    """The weights of one recurrent layer or cell, and what each of its units reads.

    A unit is dead if its candidate is always zero. Its state then starts at zero and stays zero for
    all values of the gates. The candidate may read other dead units, so `dead` finds the largest
    set of units that read only units of the set.

    Args:
        unit: the `Unit` with the weights.
        layer: the recurrent layer or cell: `unit.operation`, or a layer or cell inside it.
        prefix: prefix of the names of the layer's weights in the unit.
    """

    # `(number of gates, index of the candidate)`.
    gates_of: ClassVar = {
        keras.layers.LSTM: (4, 2),
        keras.layers.LSTMCell: (4, 2),
        keras.layers.GRU: (3, 2),
        keras.layers.GRUCell: (3, 2),
        keras.layers.SimpleRNN: (1, 0),
        keras.layers.SimpleRNNCell: (1, 0),
    }

    def __init__(self, unit, layer, prefix=""):
        self.layer = layer
        self.units = self.units_of(layer)
        self.gates, self.candidate = self.gates_of[type(layer)]
        self.names = {name: prefix + name for name in ("kernel", "recurrent_kernel", "bias")}
        self.kernel = unit.array(self.names["kernel"])
        self.recurrent = unit.array(self.names["recurrent_kernel"])
        self.bias = unit.array(self.names["bias"])

    @classmethod
    def knows(cls, layer):
        """Whether this class supports the layer."""
        return type(layer) in cls.gates_of

    def units_of(self, layer):
        """Number of units of the layer."""
        return layer.units

    def foldable(self, constants):
        """Which constant inputs can be folded into a bias."""
        return ~np.isnan(constants)

    def columns(self, units):
        """Columns of the kernels that belong to a list of units."""
        return np.concatenate([gate * self.units + units for gate in range(self.gates)])

    def dead(self, constants):
        """Which units always have the state zero, given the input's constants."""
        own = self.candidate * self.units + np.arange(self.units)
        activation = self.layer.activation
        if mixes_channels(activation) or activate(activation, np.zeros(1), "float32")[0] != 0:
            return np.zeros(self.units, bool)
        known = ~np.isnan(constants)
        reads = (self.kernel[:, own] != 0) & (~known | (constants != 0))[:, None]
        dead = ~reads.any(0)
        if self.bias is not None:
            dead &= (self.bias.reshape(-1, self.gates * self.units)[:, own] == 0).all(0)
        while True:
            alive = (self.recurrent[~dead][:, own] != 0).any(0)
            if not (dead & alive).any():
                return dead
            dead &= ~alive

    def read_inputs(self, keep):
        """Which inputs the kept units read."""
        return (self.kernel[:, self.columns(np.flatnonzero(keep))] != 0).any(1)

    def read_units(self, keep, dead):
        """The kept units and all units that these read, directly or through others."""
        while True:
            columns = self.columns(np.flatnonzero(keep))
            more = keep | ((self.recurrent[:, columns] != 0).any(1) & ~dead)
            if (more == keep).all():
                return keep
            keep = more

    def correction(self, constants, dropped, units):
        """The sum of removed constant inputs, to add to the bias of the kept units' gates."""
        values = np.where(dropped, np.nan_to_num(constants), 0.0)
        return values @ self.kernel[:, self.columns(units)].astype(np.float64)

    def slices(self, inputs, units):
        columns = self.columns(units)
        bias = (None, columns) if self.bias is not None and self.bias.ndim == 2 else (columns,)
        if self.bias is None and getattr(self.layer, "reset_after", False):
            bias = (None, columns)
        return {
            self.names["kernel"]: (inputs, columns),
            self.names["recurrent_kernel"]: (units, columns),
            self.names["bias"]: bias,
        }

    def fold(self, weights, correction):
        if correction.any():
            bias = weights[self.names["bias"]].astype(np.float64)
            bias.reshape(-1, len(correction))[0] += correction
            weights[self.names["bias"]] = bias


def prefixes(layer, cells):
    """For each cell of a layer, the prefix of the names of its weights."""
    names = {id(weight): name for name, weight in weights_by_name(layer).items()}
    kernels = [getattr(cell, "kernel", None) for cell in cells]
    return [names.get(id(kernel), "").removesuffix("kernel") for kernel in kernels]


class Recurrent(Rule):
    """The base of rules for recurrent layers with one or more cells.

    An output is a list of concatenated blocks. A block is a list of cells with units that are
    merged one by one.
    """

    # The class that describes the weights, and the argument for the number of units.
    cell, size = Cell, "units"

    def refuses(self, call):
        """Refuses states from other layers or earlier calls, which may not be zero."""
        if call.operation.stateful:
            return "keeps its state from call to call"
        if len(call.args) > 1 or call.kwargs.get("initial_state") is not None:
            return "is called with an initial state"
        if call.kwargs.get("training") is True:
            return "is called with training=True"
        cells = [layer for _, layer in self.directions(call.operation)]
        return None if all(map(self.cell.knows, cells)) else "has a cell without a rule"

    def directions(self, layer):
        """List of `(prefix of the weights' names, recurrent layer)`."""
        return [("", layer)]

    def cells(self, unit):
        """A `Cell` for each direction."""
        if "cells" not in unit.notes:
            unit.notes["cells"] = [
                self.cell(unit, layer, prefix) for prefix, layer in self.directions(unit.operation)
            ]
        return unit.notes["cells"]

    def blocks(self, unit):
        """For each output, a list of blocks."""
        return [[[0]]] * len(unit.calls[0].outputs)

    def merged(self, layer, dead):
        """Which units are zero after the cells of a block are merged."""
        return np.all(dead, axis=0)

    def forward(self, call):
        constants = self._constants(call.inputs[0])
        dead = [cell.dead(constants) for cell in self.cells(call.unit)]
        rows = [
            np.concatenate([self.merged(call.operation, [dead[i] for i in block]) for block in row])
            for row in self.blocks(call.unit)
        ]
        return [(-1, Constants.of(np.where(row, 0.0, np.nan))) for row in rows]

    def _constants(self, port):
        return port.constants.uniform if port.axis == -1 else np.full(port.shape[-1], np.nan)

    def needs(self, unit):
        """Needs units that later layers or needed units read, and the inputs that they read."""
        if not unit.alive:
            return
        source = unit.inputs[0].on(-1)
        constants = source.constants.uniform
        cells = self.cells(unit)
        kept = self._kept(unit)
        for i, cell in enumerate(cells):
            kept[i] = cell.read_units(kept[i], cell.dead(constants))
        self._need(unit, kept, f"{unit.name}: its own state")
        read = np.any([cell.read_inputs(k) for cell, k in zip(cells, kept, strict=True)], axis=0)
        source.need(read & ~cells[0].foldable(constants), f"{unit.name} reads it")

    def resolve(self, unit):
        """Keeps the same number of units in both directions, at least one."""
        kept = self._kept(unit)
        width = max(1, *(int(keep.sum()) for keep in kept))
        for keep in kept:
            keep[np.flatnonzero(~keep)[: width - keep.sum()]] = True
        self._need(unit, kept, f"{unit.name}: both directions keep the same number of units")

    def _need(self, unit, kept, reason):
        for row, port in zip(self.blocks(unit), unit.outputs, strict=True):
            needed = [np.any([kept[i] for i in block], axis=0) for block in row]
            port.need(np.concatenate(needed), reason)

    def _kept(self, unit):
        """For each cell, the units that any output needs."""
        kept = [np.zeros(cell.units, bool) for cell in self.cells(unit)]
        for row, port in zip(self.blocks(unit), unit.outputs, strict=True):
            for block, part in zip(row, np.split(port.keep, len(row)), strict=True):
                for i in block:
                    kept[i] = kept[i] | part
        return kept

    def removed_together(self, call):
        """Couples the units of all blocks one by one: `resolve` keeps equally many in each cell."""
        parts = [
            (value, part)
            for row, value in zip(self.blocks(call.unit), call.outputs, strict=True)
            for part in np.split(np.arange(len(value.keep)), len(row))
        ]
        return [(*parts[0], *part) for part in parts[1:]]

    def corrections(self, unit):
        source = unit.inputs[0].on(-1)
        return [
            cell.correction(source.constants.uniform, ~source.keep, np.flatnonzero(keep))
            for cell, keep in zip(self.cells(unit), self._kept(unit), strict=True)
        ]

    def config(self, unit):
        """The config with fewer units, and with a bias if a constant is folded into it."""
        return self.compact(plain_config(unit), self._kept(unit)[0], self.corrections(unit)[0])

    def compact(self, config, keep, correction):
        return {
            **config,
            self.size: int(keep.sum()),
            "use_bias": config["use_bias"] or bool(correction.any()),
        }

    def compact_part(self, part, keep, correction):
        """Changes the serialized cell or direction of a layer, in place."""
        part.pop("build_config", None)
        part["config"] = self.compact(part["config"], keep, correction)

    def slices(self, unit):
        inputs = unit.inputs[0].on(-1).kept
        slices = {}
        for cell, keep in zip(self.cells(unit), self._kept(unit), strict=True):
            slices |= cell.slices(inputs, np.flatnonzero(keep))
        return slices

    def fold(self, unit, weights):
        for cell, correction in zip(self.cells(unit), self.corrections(unit), strict=True):
            cell.fold(weights, correction)

    def macs(self, call):
        steps = call.inputs[0].shape[1] or 1
        weights = [w for w in call.operation.weights if len(w.shape) == 2 and "bias" not in w.path]
        return steps * int(sum(np.prod(w.shape) for w in weights))


@register_rule(keras.layers.LSTM, keras.layers.GRU, keras.layers.SimpleRNN)
class RecurrentRule(Recurrent):
    """A recurrent layer with one direction."""


@register_rule(keras.layers.Bidirectional)
class BidirectionalRule(Recurrent):
    """Two directions: concatenated, merged, or as separate outputs."""

    def directions(self, layer):
        inner = layer.forward_layer, layer.backward_layer
        return list(zip(prefixes(layer, [one.cell for one in inner]), inner, strict=True))

    def blocks(self, unit):
        """The blocks for the merge mode; then those of the states, forward first."""
        layer = unit.operation
        states = (len(unit.calls[0].outputs) - (2 if layer.merge_mode is None else 1)) // 2
        first = {"concat": [[[0], [1]]], None: [[[0]], [[1]]]}.get(layer.merge_mode, [[[0, 1]]])
        return first + [[[0]]] * states + [[[1]]] * states

    def merged(self, layer, dead):
        """A product is zero if one direction is; other merges are zero if both are."""
        return np.any(dead, axis=0) if layer.merge_mode == "mul" else super().merged(layer, dead)

    def config(self, unit):
        config = plain_config(unit)
        parts = zip(
            ("layer", "backward_layer"), self._kept(unit), self.corrections(unit), strict=True
        )
        for key, keep, correction in parts:
            self.compact_part(config[key], keep, correction)
        return config
