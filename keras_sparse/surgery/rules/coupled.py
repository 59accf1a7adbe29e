"""The base of rules for layers with the same channels in inputs and outputs."""

import numpy as np

from keras_sparse.surgery.rules.base import Rule, in_step, reasons_behind


class Coupled(Rule):
    """A layer with output channels that are also input channels; `coupling` says which.

    `needs` and `coupled_channels` follow from `coupling`. `mixing` is the reason to give if the
    layer does not keep channels apart. `lost` returns the reason to give if a constant input
    channel is not constant in the output.
    """

    mixing = "mixes channels"

    def coupling(self, call):
        """Which channels of inputs and outputs are the same.

        Returns:
            A list as of `coupled_channels`; None if this call does not keep channels apart. By
            default, each input is coupled to the output, channel by channel.
        """
        return in_step(call)

    def lost(self, unit, source):
        """Why a channel is needed that is constant in the port `source` but not in the output."""
        return "constant in an input, but not in the output"

    def taking(self, unit):
        """Indices of the inputs that the smaller layer reads."""
        return range(len(unit.inputs))

    def coupled_channels(self, call):
        return self.coupling(call) or []

    def optional_inputs(self, unit):
        taking = self.taking(unit)
        return [i for i in range(len(unit.inputs)) if i not in taking]

    def needs(self, unit):
        """Needs the same channels of tensors that are coupled."""
        if not unit.alive:
            return
        calls = unit.calls
        couplings = [self.coupling(call) for call in calls]
        if None in couplings:
            for port in unit.inputs[: self.arity] + unit.outputs:
                port.need_all(f"{unit.name}: {self.mixing}")
            return
        ports = {calls[0].inputs[i]: unit.inputs[i] for i in self.taking(unit)}
        ports |= zip(calls[0].outputs, unit.outputs, strict=True)
        for value, channels, other, places in couplings[0]:
            if value in ports and other in ports:
                self._couple(ports[value], channels, ports[other], places)

    def _couple(self, source, channels, target, places):
        """Needs the same channels of both; none if the target is an output and none is needed."""
        if not target.output:
            _carry(target, places, source, channels, lambda: target.why[places])
        elif not target.keep[places].any():
            return
        else:
            lost = self.lost(target.unit, source)
            _carry(
                *(target, places, source, channels),
                lambda: reasons_behind(source, target, lost, of=channels, at=places),
            )
        _carry(source, channels, target, places, lambda: source.why[channels])


def _carry(port, of, other, at, reasons):
    """Needs the channels `at` of another port, if the channels `of` of `port` are needed."""
    new = port.keep[of] & ~other.keep[at]
    if new.any():
        need, why = np.zeros(other.size, bool), np.full(other.size, "", object)
        need[at[new]] = True
        why[at[new]] = reasons()[new]
        other.need(need, why)
