"""Layers that multiply by a kernel: every output channel reads every input channel."""

import keras
import numpy as np

from keras_sparse.surgery.constants import Constants
from keras_sparse.surgery.rules.activations import activate, mixes_channels
from keras_sparse.surgery.rules.base import (
    Rule,
    channel_axis,
    plain_config,
    positions,
    register_rule,
)

# A carrier's constant must not be much smaller than the largest one it stands for: it is computed
# in the layer's precision, and its error is scaled with the ratio.
_SMALLEST_CARRIER = 0.05


class Linear(Rule):
    """`output = activation(taps of kernel times input + bias)`.

    With `c[k]` the constant of input channel `k`, which is dropped, and `W[t, k, o]` the kernel at
    tap `t`:

    * where every position sees every tap, `bias[o] += c[k] * sum_t W[t, k, o]`;
    * where the border is padded, the constant's response is a map, but all the constant channels
      of a tensor have the same map up to a factor. One of them, the carrier `j`, is kept, and
      `W[t, j, o] += c[k] / c[j] * W[t, k, o]`.

    Subclasses say where the channels are and what the kernel is.
    """

    units_key = "units"

    def input_axis(self, layer):
        """Channel axis of the input, counted from the end."""
        return -1

    def output_axis(self, layer):
        """Channel axis of the output, counted from the end."""
        return -1

    def kernel(self, unit):
        """The kernel as `(taps, inputs, outputs)`."""
        kernel = unit.array("kernel")
        return kernel.reshape(1, *kernel.shape)

    def bordered(self, layer):
        """Whether some positions do not see every tap."""
        return False

    def classes(self, layer):
        """`(classes, taps)` of zeros and ones: which taps a position may see; None if too many."""
        return np.ones((1, 1))

    def tap_count(self, layer):
        """Number of taps of the kernel."""
        return 1

    def mergeable(self, layer):
        """Whether carriers can stand for other channels: one kernel for all of the channel."""
        return True

    def why_stuck(self, layer):
        """Why a constant may be neither folded nor carried."""
        return "its constant depends on the position"

    # Constants.

    def forward(self, call):
        source, target = call.inputs[0], call.outputs[0]
        unit, layer = call.unit, call.operation
        reads = self.reads(unit)
        axis = self.output_axis(layer)
        if source.axis == self.input_axis(layer):
            constants = self._usable(source.constants, layer)
        else:
            constants = Constants.unknown(len(reads))
        dead = ~reads[~constants.known].any(0)
        activation = getattr(layer, "activation", None)
        if not dead.any() or mixes_channels(activation):
            return [(axis, Constants.unknown(reads.shape[1]))]
        rows, profile = self._response(unit, constants, dead, call)
        if rows is None:
            return [(axis, Constants.unknown(reads.shape[1]))]
        bias = unit.array("bias")
        values = np.full((len(rows), len(dead)), np.nan)
        values[:, dead] = rows if bias is None else rows + np.float64(bias[dead])
        result = Constants.of(values, profile)
        return [(axis, result.map(lambda v: activate(activation, v, target.dtype)))]

    def _usable(self, constants, layer):
        """The constants that stay constant under this layer's taps."""
        if constants.profile is not None and self.tap_count(layer) > 1:
            return constants.flattened()
        return constants

    def _response(self, unit, constants, dead, call):
        """Rows `(classes, dead outputs)` of what the constant inputs add, and their profile."""
        values = np.nan_to_num(constants.values)
        reads = self.reads(unit)[:, dead].any(1)
        active = np.flatnonzero(reads & (values != 0).any(0))
        if not len(active):
            return np.zeros((1, int(dead.sum()))), None
        classes = self.classes(call.operation)
        if classes is None:
            return None, None
        taps = self.taps(unit, classes, active, np.flatnonzero(dead))
        rows = np.einsum("pk,qko->pqo", values[:, active], taps).reshape(-1, int(dead.sum()))
        return rows, (constants.profile if len(classes) == 1 else call)

    def taps(self, unit, classes, inputs, outputs):
        """`(classes, inputs, outputs)`: the kernel summed over the taps of each class."""
        return np.einsum("pt,tko->pko", classes, self.part(unit, inputs, outputs))

    def part(self, unit, inputs, outputs):
        """`(taps, inputs, outputs)`: the kernel between some inputs and some outputs."""
        return self.kernel(unit)[:, inputs][:, :, outputs].astype(np.float64)

    def reads(self, unit):
        """`(inputs, outputs)`: whether the output's kernel has anything but zeros at the input."""
        if "reads" not in unit.notes:
            unit.notes["reads"] = self.find_reads(unit)
        return unit.notes["reads"]

    def find_reads(self, unit):
        return (self.kernel(unit) != 0).any(0)

    # Needs.

    def source(self, unit):
        """The input port, seen on the axis that the kernel reads."""
        return unit.inputs[0].on(self.input_axis(unit.operation))

    def needs(self, unit):
        """What the kernels of the needed outputs read, less what can be folded."""
        target = unit.outputs[0]
        if not target.keep.any():
            return
        activation = getattr(unit.operation, "activation", None)
        if mixes_channels(activation):
            target.need_all(f"{unit.name}: its activation mixes channels")
        source = self.source(unit)
        read = self._read(unit, target)
        known = source.constants.known
        source.need(read & ~known, f"{unit.name} reads it")
        stuck = read & known & ~self._foldable(unit, source) & (self._families(unit, source) < 0)
        source.need(stuck, f"{unit.name}: {self.why_stuck(unit.operation)}")

    def _read(self, unit, target):
        """Which inputs the needed outputs read; only outputs that are new are looked at."""
        reads = self.reads(unit)
        seen, read = unit.notes.setdefault(
            "read", (np.zeros(reads.shape[1], bool), np.zeros(reads.shape[0], bool))
        )
        new = target.keep & ~seen
        if new.any():
            read |= reads[:, new].any(1)
            seen |= new
        return read

    def _foldable(self, unit, source):
        """Which inputs' constants add the same to every position of the output."""
        uniform = source.constants.uniform
        return (uniform == 0) | (~np.isnan(uniform) & (not self.bordered(unit.operation)))

    def _families(self, unit, source):
        """For each input that a carrier can stand for the number of its family, -1 for others.

        Members of a family are multiples of one another at every class of positions.
        """
        families = np.full(source.size, -1)
        if not self.mergeable(unit.operation):
            return families
        constants = source.constants
        values = np.nan_to_num(constants.values)
        members = np.flatnonzero(constants.known & ~self._foldable(unit, source))
        if len(members):
            columns = values[:, members]
            largest = columns[np.abs(columns).argmax(0), np.arange(len(members))]
            families[members] = np.unique(columns / largest, axis=1, return_inverse=True)[
                1
            ].reshape(-1)
        return families

    def resolve(self, unit):
        """Keeps a carrier for each family of constants of which a member is to be dropped."""
        source, target = self.source(unit), unit.outputs[0]
        read = self._read(unit, target)
        families = self._families(unit, source)
        for family in np.unique(families[read & (families >= 0) & ~source.keep]):
            if self._carrier(source, families == family) is None:
                one = np.zeros(source.size, bool)
                one[np.argmax(_size(source) * (families == family))] = True
                source.need(one, f"{unit.name}: carries the constants under its padded border")

    def _carrier(self, source, family):
        """Index of the kept member of a family that stands for the dropped ones, None if none."""
        size = _size(source) * family
        candidate = np.argmax(size * source.keep)
        enough = source.keep[candidate] and size[candidate] >= _SMALLEST_CARRIER * size.max()
        return int(candidate) if enough else None

    # Rebuilding.

    def config(self, unit):
        """Fewer outputs, and a bias if a constant has to go somewhere."""
        config = plain_config(unit)
        config[self.units_key] = len(unit.outputs[0].kept)
        if np.any(self._correction(unit)):
            config["use_bias"] = True
        return config

    def slices(self, unit):
        """The kernel's inputs and outputs, the bias' outputs."""
        inputs, outputs = self.source(unit).kept, unit.outputs[0].kept
        return {
            "kernel": (None,) * (unit.array("kernel").ndim - 2) + (inputs, outputs),
            "bias": (outputs,),
        }

    def _dropped(self, unit):
        """Dropped inputs that have a constant and are read by a kept output."""
        source = self.source(unit)
        return self._read(unit, unit.outputs[0]) & ~source.keep

    def _correction(self, unit):
        """What the dropped constants add to the bias of each kept output."""
        if "correction" not in unit.notes:
            source, outputs = self.source(unit), unit.outputs[0].kept
            uniform = np.nan_to_num(source.constants.uniform)
            folded = self._dropped(unit) & self._foldable(unit, source) & (uniform != 0)
            correction = np.zeros(len(outputs))
            if folded.any():
                every = np.ones((1, self.tap_count(unit.operation)))
                taps = self.taps(unit, every, np.flatnonzero(folded), outputs)[0]
                correction = uniform[folded] @ taps
            unit.notes["correction"] = correction
        return unit.notes["correction"]

    def fold(self, unit, weights):
        """Constants into the bias, or into the carriers' kernels."""
        correction = self._correction(unit)
        if correction.any():
            weights["bias"] = weights["bias"].astype(np.float64) + correction
        source = self.source(unit)
        families = self._families(unit, source)
        dropped = self._dropped(unit) & (families >= 0)
        values = np.nan_to_num(source.constants.values)
        for family in np.unique(families[dropped]):
            carrier = self._carrier(source, families == family)
            members = np.flatnonzero(dropped & (families == family))
            row = np.abs(values[:, carrier]).argmax()
            self.merge(unit, weights, members, carrier, values[row, members] / values[row, carrier])

    def merge(self, unit, weights, members, carrier, factors):
        """Adds the members' kernels, times factors, to the carrier's."""
        outputs = unit.outputs[0].kept
        place = int(np.searchsorted(self.source(unit).kept, carrier))
        extra = np.einsum("k,tko->to", factors, self.part(unit, members, outputs))
        weights["kernel"] = weights["kernel"].astype(np.float64)
        self.rows(weights["kernel"])[:, place] += extra

    def rows(self, kernel):
        """A view of the kernel as `(taps, inputs, outputs)`."""
        return kernel.reshape(-1, *kernel.shape[-2:])

    def macs(self, call):
        layer = call.operation
        size = int(np.prod(layer.kernel.shape))
        return size * positions(call.outputs[0].shape, self.output_axis(layer))


def _size(source):
    return np.abs(np.nan_to_num(source.constants.values)).max(0)


@register_rule(keras.layers.Dense)
class DenseRule(Linear):
    """A kernel `(inputs, units)` over the last axis."""


class Convolution(Linear):
    """A kernel `(*window, inputs, filters)`."""

    units_key = "filters"

    def input_axis(self, layer):
        return channel_axis(layer.data_format, layer.rank + 2)

    output_axis = input_axis

    def kernel(self, unit):
        return self.rows(unit.array("kernel"))

    def bordered(self, layer):
        return layer.padding != "valid" and max(layer.kernel_size) > 1

    def tap_count(self, layer):
        return int(np.prod(layer.kernel_size))

    def classes(self, layer):
        """By how many taps the border cuts off on each side."""
        return tap_classes(layer)


def tap_classes(layer, limit=1024):
    """Which taps of a convolution's window lie inside the image.

    Args:
        layer: a convolution layer with `kernel_size` and `padding`.
        limit: largest number of classes.

    Returns:
        Array `(classes, taps)` of zeros and ones with at least every set of taps that a position
        can see, whatever the image's size; None above the limit.
    """
    axes = []
    for size in layer.kernel_size:
        left, right = {
            "valid": (0, 0),
            "same": (size // 2, size // 2),
            "causal": (size - 1, 0),
        }[layer.padding]
        tap = np.arange(size)
        axes.append(
            np.array(
                [
                    (tap >= first) & (tap < size - last)
                    for first in range(left + 1)
                    for last in range(right + 1)
                ]
            )
        )
    if np.prod([len(axis) for axis in axes]) > limit:
        return None
    classes = np.ones((1, 1))
    for axis in axes:
        classes = np.kron(classes, axis)
    return classes


@register_rule(
    keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose
)
class TransposedRule(Convolution):
    """A kernel `(*window, filters, inputs)`; how many taps reach a position differs everywhere."""

    def kernel(self, unit):
        return self.rows(unit.array("kernel"))

    def rows(self, kernel):
        return np.swapaxes(super().rows(kernel), 1, 2)

    def bordered(self, layer):
        return max(layer.kernel_size) > 1 or max(layer.strides) > 1

    def classes(self, layer):
        """Strides, padding and output padding leave too many sets of taps to follow."""
        return None if self.bordered(layer) else np.ones((1, 1))

    def slices(self, unit):
        """As for a convolution, with the kernel's last axes exchanged."""
        slices = super().slices(unit)
        *window, inputs, outputs = slices["kernel"]
        return {**slices, "kernel": (*window, outputs, inputs)}

    def macs(self, call):
        size = int(np.prod(call.operation.kernel.shape))
        return size * positions(call.inputs[0].shape, self.input_axis(call.operation))
