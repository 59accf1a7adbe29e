"""Rules of `keras.layers.RNN` with one or several of Keras' cells."""

import keras
import numpy as np

from keras_sparse.surgery.constants import Constants
from keras_sparse.surgery.rules.base import plain_config, register_rule
from keras_sparse.surgery.rules.recurrent import Recurrent, prefixes


@register_rule(keras.layers.RNN)
class WrappedCellRule(Recurrent):
    """A recurrent layer with one direction and one of Keras' cells."""

    def for_unit(self, unit):
        """A stack of cells has a rule of its own."""
        stacked = isinstance(unit.operation.cell, keras.layers.StackedRNNCells)
        return StackedCellsRule() if stacked else self

    def directions(self, layer):
        return [("", layer.cell)]

    def config(self, unit):
        config = plain_config(unit)
        self.compact_part(config["cell"], self._kept(unit)[0], self.corrections(unit)[0])
        return config


class StackedCellsRule(Recurrent):
    """Stacked cells: each reads the output of the previous one; the last computes the output."""

    def refuses(self, call):
        if len(call.outputs) > 1:
            return "returns the states of its cells"
        cells = call.operation.cell.cells
        if len({id(cell) for cell in cells}) < len(cells):
            return "has one cell in two places"
        return super().refuses(call)

    def directions(self, layer):
        """List of `(prefix of the names of its weights, cell)`."""
        cells = layer.cell.cells
        return list(zip(prefixes(layer, cells), cells, strict=True))

    def _dead(self, unit, constants):
        """For each cell, which units always have the state zero."""
        dead = []
        for cell in self.cells(unit):
            dead.append(cell.dead(constants))
            constants = np.where(dead[-1], 0.0, np.nan)
        return dead

    def forward(self, call):
        dead = self._dead(call.unit, self._constants(call.inputs[0]))[-1]
        return [(-1, Constants.of(np.where(dead, 0.0, np.nan)))]

    def _kept(self, unit, closed=False):
        """For each cell, which units the output needs through the later cells; at least one.

        Args:
            unit: the `Unit`.
            closed: whether the units that the last cell's kept units read are added. `needs` adds
                them to what is kept.
        """
        cells = self.cells(unit)
        dead = self._dead(unit, unit.inputs[0].on(-1).constants.uniform)
        keep, kept = unit.outputs[0].keep.copy(), []
        for cell, zero in zip(reversed(cells), reversed(dead), strict=True):
            keep = keep & ~zero if kept else keep
            keep = cell.read_units(keep, zero) if kept or closed else keep
            keep[0] |= not keep.any()
            kept.insert(0, keep)
            keep = cell.read_inputs(keep)
        return kept

    def needs(self, unit):
        if not unit.alive:
            return
        kept, first = self._kept(unit, closed=True), self.cells(unit)[0]
        unit.outputs[0].need(kept[-1], f"{unit.name}: its own state")
        source = unit.inputs[0].on(-1)
        read = first.read_inputs(kept[0]) & np.isnan(source.constants.uniform)
        source.need(read, f"{unit.name} reads it")

    def resolve(self, unit):
        unit.outputs[0].need(self._kept(unit)[-1], f"{unit.name} keeps one unit at least")

    def corrections(self, unit):
        """Bias corrections of the cells. Only the first reads constants other than zero."""
        source, kept = unit.inputs[0].on(-1), self._kept(unit)
        first = self.cells(unit)[0].correction(
            source.constants.uniform, ~source.keep, np.flatnonzero(kept[0])
        )
        return [first, *(np.zeros(1) for _ in kept[1:])]

    def config(self, unit):
        config = plain_config(unit)
        parts = config["cell"]["config"]["cells"]
        for part, keep, correction in zip(
            parts, self._kept(unit), self.corrections(unit), strict=True
        ):
            self.compact_part(part, keep, correction)
        config["cell"].pop("build_config", None)
        return config

    def slices(self, unit):
        """Slices each cell; its inputs are the kept units of the previous cell."""
        inputs, slices = unit.inputs[0].on(-1).kept, {}
        for cell, keep in zip(self.cells(unit), self._kept(unit), strict=True):
            slices |= cell.slices(inputs, np.flatnonzero(keep))
            inputs = np.flatnonzero(keep)
        return slices
