"""Rules of convolutions with and without groups."""

import keras
import numpy as np

from keras_sparse.surgery.rules.base import plain_config, register_rule
from keras_sparse.surgery.rules.depthwise import DepthwiseRule
from keras_sparse.surgery.rules.linear import Convolution


@register_rule(keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
class ConvRule(Convolution):
    """A convolution; `for_unit` returns another rule for convolutions with groups."""

    def for_unit(self, unit):
        layer = unit.operation
        if layer.groups == 1:
            return self
        alone = layer.built and layer.kernel.shape[-2] == 1
        return DepthwiseConvRule() if alone else GroupedRule()


class DepthwiseConvRule(DepthwiseRule):
    """A convolution with as many groups as inputs, which is a depthwise convolution."""

    def kernel(self, unit):
        kernel = unit.array("kernel")
        return kernel.reshape(-1, unit.operation.groups, kernel.shape[-1] // unit.operation.groups)

    def config(self, unit):
        source = unit.inputs[0].on(self.axis(unit.operation))
        kept = {"groups": len(source.kept), "filters": len(unit.outputs[0].kept)}
        return {**plain_config(unit), **kept}

    def slices(self, unit):
        outputs = unit.outputs[0].kept
        window = (None,) * (unit.array("kernel").ndim - 1)
        return {"kernel": (*window, outputs), "bias": (outputs,)}


class GroupedRule(Convolution):
    """A convolution with groups: each group of outputs reads its own group of inputs.

    All kept groups have the same width, so some dead channels are kept.
    """

    def _within(self, unit, inputs, outputs):
        """The row of each input in the kernel, and which outputs are in its group."""
        kernel = unit.array("kernel")
        size = kernel.shape[-2]
        width = kernel.shape[-1] // unit.operation.groups
        return inputs % size, (inputs // size)[:, None] == outputs // width

    def part(self, unit, inputs, outputs):
        rows, own = self._within(unit, inputs, outputs)
        kernel = self.rows(unit.array("kernel"))
        return np.where(own, kernel[:, rows[:, None], outputs], 0.0).astype(np.float64)

    def find_reads(self, unit):
        read = (self.rows(unit.array("kernel")) != 0).any(0)
        inputs = np.arange(len(read) * unit.operation.groups)
        rows, own = self._within(unit, inputs, np.arange(read.shape[1]))
        return read[rows] & own

    def sets(self, unit, source):
        """For each input, the number of its group."""
        return np.arange(source.size) // (source.size // unit.operation.groups)

    def removed_together(self, call):
        """Couples channels at the same place in all groups."""
        values = [call.outputs[0]]
        if call.inputs[0].axis == self.input_axis(call.operation):
            values.append(call.inputs[0])
        pairs = []
        for value in values:
            every = np.arange(len(value.keep))
            width = len(every) // call.operation.groups
            pairs.append((value, every, value, every % width))
        return pairs

    def resolve(self, unit):
        """Keeps carriers, then equally many inputs and outputs in every kept group."""
        super().resolve(unit)
        ports = (self.source(unit), unit.outputs[0])
        groups = unit.operation.groups
        left = np.any([port.keep.reshape(groups, -1).any(1) for port in ports], axis=0)
        for port in ports:
            keep = port.keep.reshape(groups, -1).copy()
            missing = np.maximum(keep.sum(1).max(), 1) - keep.sum(1)
            for g in np.flatnonzero(left):
                keep[g, np.flatnonzero(~keep[g])[: missing[g]]] = True
            port.need(keep.reshape(-1), f"{unit.name}: its groups are equally wide")

    def config(self, unit):
        kept = unit.outputs[0].keep.reshape(unit.operation.groups, -1)
        return {**super().config(unit), "groups": int(kept.any(1).sum())}

    def slices(self, unit):
        """Each kept output keeps the kernel rows of the kept inputs of its group."""
        outputs = unit.outputs[0].kept
        rows = self._rows_of_outputs(unit)
        return {
            "kernel": lambda kernel: kernel[..., rows, outputs[None, :]],
            "bias": (outputs,),
        }

    def _rows_of_outputs(self, unit):
        """`(kept inputs of a group, kept outputs)`: indices of rows in the kernel."""
        source, target = self.source(unit), unit.outputs[0]
        groups = unit.operation.groups
        kept = source.keep.reshape(groups, -1)
        rows = {g: np.flatnonzero(kept[g]) for g in np.flatnonzero(kept.any(1))}
        width = target.size // groups
        return np.stack([rows[o // width] for o in target.kept], axis=1)

    def merge(self, unit, weights, sums):
        """Adds to the kernel rows of the carriers, for the outputs of their group."""
        source, outputs = self.source(unit), unit.outputs[0].kept
        size = source.size // unit.operation.groups
        group = sums.carriers[0] // size
        own = outputs // (unit.outputs[0].size // unit.operation.groups) == group
        taps = self.part(unit, sums.carried, outputs[own])
        kept = np.flatnonzero(source.keep[group * size : (group + 1) * size])
        rows = np.searchsorted(kept, sums.carriers - group * size)
        weights["kernel"] = weights["kernel"].astype(np.float64)
        extra = np.einsum("jk,tko->tjo", sums.factors, taps)
        self.rows(weights["kernel"])[:, rows[:, None], np.flatnonzero(own)] += extra
