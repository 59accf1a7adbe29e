"""Rules of layers with a kernel, in which every output channel can read every input channel."""

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
from keras_sparse.surgery.rules.carriers import combine, missing_carriers
from keras_sparse.surgery.rules.windows import tap_classes


class Linear(Rule):
    """`output = activation(taps of kernel times input + bias)`.

    Let `c[k]` be the constant of a removed input channel `k`, and `W[t, k, o]` the kernel at tap
    `t`.

    * If every position sees every tap, `bias[o] += c[k] * sum_t W[t, k, o]`.
    * If the border is padded, or the constant depends on the position, some constant channels are
      kept, the carriers. The others are sums of them, `c[k] = sum_j f[j] c[j]`, so
      `W[t, j, o] += f[j] * W[t, k, o]`. Constants that do not depend on the position need one
      carrier.

    Subclasses define the channel axes and the kernel.
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

    def bordered(self, unit):
        """Whether some positions do not see every tap."""
        return False

    def classes(self, call):
        """The sets of taps that positions see, as `tap_classes` returns them."""
        return np.ones((1, 1)), call

    def tap_count(self, layer):
        """Number of taps of the kernel."""
        return 1

    def mergeable(self, layer):
        """Whether carriers can replace other channels: the whole channel has one kernel."""
        return True

    def why_stuck(self, layer):
        """Why a constant can neither be folded nor replaced by carriers."""
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
        """The constants that this layer can use, with its strides and number of taps."""
        if constants.profile is not None and self.tap_count(layer) > 1:
            return constants.flattened()
        if np.max(getattr(layer, "strides", 1)) > 1:
            return constants.sampled(("strides", layer.strides))
        return constants

    def _response(self, unit, constants, dead, call):
        """`(classes, dead outputs)`: the sums over constant inputs; and their profile."""
        values = np.nan_to_num(constants.values)
        reads = self.reads(unit)[:, dead].any(1)
        active = np.flatnonzero(reads & (values != 0).any(0))
        if not len(active):
            return np.zeros((1, int(dead.sum()))), None
        classes, profile = self.classes(call)
        if classes is None:
            return None, None
        taps = self.taps(unit, classes, active, np.flatnonzero(dead))
        rows = np.einsum("pk,qko->pqo", values[:, active], taps).reshape(-1, int(dead.sum()))
        return rows, (constants.profile if len(classes) == 1 else profile)

    def taps(self, unit, classes, inputs, outputs):
        """`(classes, inputs, outputs)`: the kernel summed over the taps of each class."""
        return np.einsum("pt,tko->pko", classes, self.part(unit, inputs, outputs))

    def part(self, unit, inputs, outputs):
        """`(taps, inputs, outputs)`: the kernel between some inputs and some outputs."""
        return self.kernel(unit)[:, inputs][:, :, outputs].astype(np.float64)

    def reads(self, unit):
        """`(inputs, outputs)`: whether the kernel between them has a nonzero entry."""
        if "reads" not in unit.notes:
            unit.notes["reads"] = self.find_reads(unit)
        return unit.notes["reads"]

    def find_reads(self, unit):
        return (self.kernel(unit) != 0).any(0)

    # Needs.

    def source(self, unit):
        """The input port, with its channels on the axis that the kernel reads."""
        return unit.inputs[0].on(self.input_axis(unit.operation))

    def needs(self, unit):
        """Needs the inputs that needed outputs read and that cannot be folded."""
        target = unit.outputs[0]
        if not target.keep.any():
            return
        activation = getattr(unit.operation, "activation", None)
        if mixes_channels(activation):
            target.need_all(f"{unit.name}: its activation mixes channels")
        source = self.source(unit)
        left = self._read(unit, target) & ~self._foldable(unit, source)
        known = source.constants.known
        source.need(left & ~known, f"{unit.name} reads it")
        if not self.mergeable(unit.operation):
            source.need(left & known, f"{unit.name}: {self.why_stuck(unit.operation)}")

    def _read(self, unit, target):
        """Which inputs the needed outputs read; outputs that were seen before are skipped."""
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
        """Which inputs have a constant that adds the same to every position of the output."""
        uniform = source.constants.uniform
        return (uniform == 0) | (~np.isnan(uniform) & (not self.bordered(unit)))

    def _carriable(self, unit, source):
        """Which inputs have a constant that carriers can replace but a bias cannot."""
        held = source.constants.known & ~self._foldable(unit, source)
        return held & self.mergeable(unit.operation)

    def sets(self, unit, source):
        """For each input the number of its set; carriers replace channels of their own set."""
        return np.zeros(source.size, int)

    def _carried(self, unit, source):
        """For each set the arguments of `combine`, for the kept carriers and removed channels."""
        held = self._carriable(unit, source)
        dropped = held & ~source.keep & self._read(unit, unit.outputs[0])
        values, own = np.nan_to_num(source.constants.values), self.sets(unit, source)
        shifted = not self.bordered(unit)
        precision = 2.0**-52 if unit.calls[0].inputs[0].dtype == "float64" else 2.0**-23
        for i in np.unique(own[dropped]):
            parts = (np.flatnonzero((own == i) & part) for part in (held & source.keep, dropped))
            yield (values, *parts, shifted, precision)

    def resolve(self, unit):
        """Keeps carriers for the constants of channels to remove."""
        source = self.source(unit)
        border = "the constants under its padded border"
        what = border if self.bordered(unit) else "constants that depend on the position"
        for arguments in list(self._carried(unit, source)):
            added = np.isin(np.arange(source.size), missing_carriers(*arguments))
            source.need(added, f"{unit.name}: carries {what}")

    # Rebuilding.

    def config(self, unit):
        """The config with fewer outputs, and with a bias if a constant is folded into it."""
        config = plain_config(unit)
        config[self.units_key] = len(unit.outputs[0].kept)
        if np.any(self._correction(unit)):
            config["use_bias"] = True
        return config

    def slices(self, unit):
        """Slices inputs and outputs of the kernel, and outputs of the bias."""
        inputs, outputs = self.source(unit).kept, unit.outputs[0].kept
        return {
            "kernel": (None,) * (unit.array("kernel").ndim - 2) + (inputs, outputs),
            "bias": (outputs,),
        }

    def _dropped(self, unit):
        """Removed inputs that a kept output reads; all of them are constant."""
        source = self.source(unit)
        return self._read(unit, unit.outputs[0]) & ~source.keep

    def _sums(self, unit):
        """The removed inputs as sums of carriers."""
        if "sums" not in unit.notes:
            carried = self._carried(unit, self.source(unit))
            unit.notes["sums"] = [combine(*arguments) for arguments in carried]
        return unit.notes["sums"]

    def _correction(self, unit):
        """The sum of removed constants to add to the bias of each kept output."""
        if "correction" not in unit.notes:
            source, outputs = self.source(unit), unit.outputs[0].kept
            folded = self._dropped(unit) & self._foldable(unit, source)
            constants = np.where(folded, np.nan_to_num(source.constants.uniform), 0.0)
            for sums in self._sums(unit):
                constants[sums.carried] = sums.shifts
            inputs = np.flatnonzero(constants)
            every = np.ones((1, self.tap_count(unit.operation)))
            taps = self.taps(unit, every, inputs, outputs)[0]
            unit.notes["correction"] = constants[inputs] @ taps
        return unit.notes["correction"]

    def fold(self, unit, weights):
        """Folds constants into the bias, or into the kernels of carriers."""
        correction = self._correction(unit)
        if correction.any():
            weights["bias"] = weights["bias"].astype(np.float64) + correction
        for sums in self._sums(unit):
            if len(sums.carriers):
                self.merge(unit, weights, sums)

    def merge(self, unit, weights, sums):
        """Adds the kernels of removed inputs, times factors, to the kernels of their carriers."""
        outputs = unit.outputs[0].kept
        places = np.searchsorted(self.source(unit).kept, sums.carriers)
        extra = np.einsum("jk,tko->tjo", sums.factors, self.part(unit, sums.carried, outputs))
        weights["kernel"] = weights["kernel"].astype(np.float64)
        self.rows(weights["kernel"])[:, places] += extra

    def rows(self, kernel):
        """A view of the kernel as `(taps, inputs, outputs)`."""
        return kernel.reshape(-1, *kernel.shape[-2:])

    def macs(self, call):
        layer = call.operation
        size = int(np.prod(layer.kernel.shape))
        return size * positions(call.outputs[0].shape, self.output_axis(layer))


@register_rule(keras.layers.Dense)
class DenseRule(Linear):
    """A dense layer with a kernel `(inputs, units)` over the last axis."""


class Convolution(Linear):
    """A convolution with a kernel `(*window, inputs, filters)`."""

    units_key = "filters"

    def input_axis(self, layer):
        return channel_axis(layer.data_format, layer.rank + 2)

    output_axis = input_axis

    def kernel(self, unit):
        return self.rows(unit.array("kernel"))

    def bordered(self, unit):
        return not all(np.all(self.classes(call)[0]) for call in unit.calls)

    def tap_count(self, layer):
        return int(np.prod(layer.kernel_size))

    def classes(self, call):
        """The sets of taps that the border does not cut off."""
        return tap_classes(call)


@register_rule(
    keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose
)
class TransposedRule(Convolution):
    """A transposed convolution with a kernel `(*window, filters, inputs)`.

    The number of taps that reach a position differs between positions.
    """

    def kernel(self, unit):
        return self.rows(unit.array("kernel"))

    def rows(self, kernel):
        return np.swapaxes(super().rows(kernel), 1, 2)

    def bordered(self, unit):
        layer = unit.operation
        return max(layer.kernel_size) > 1 or max(layer.strides) > 1

    def classes(self, call):
        """None with strides or several taps: there are too many sets of taps to follow."""
        return (None if self.bordered(call.unit) else np.ones((1, 1))), call

    def slices(self, unit):
        """As for a convolution, with the kernel's last axes exchanged."""
        slices = super().slices(unit)
        *window, inputs, outputs = slices["kernel"]
        return {**slices, "kernel": (*window, outputs, inputs)}

    def macs(self, call):
        size = int(np.prod(call.operation.kernel.shape))
        return size * positions(call.inputs[0].shape, self.input_axis(call.operation))
