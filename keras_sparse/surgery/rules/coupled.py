"""Rules for what has the same channels in its inputs and outputs."""

import numpy as np

from keras_sparse.surgery.rules.base import Rule, in_step, reasons_behind


class Coupled(Rule):
    """Channels of the outputs are channels of the inputs; `coupling` says which.

    `needs` and `coupled_channels` follow from it. `mixing` is the reason why all channels stay
    where they are not told apart, `lost` the one where a constant ends here.
    """

    mixing = "mixes channels"

    def coupling(self, call):
        """Which channels of inputs and outputs are the same.

        Returns:
            List as of `coupled_channels`; None if the channels are not told apart in this call.
            Here: each input with the output, channel by channel.
        """
        return in_step(call)

    def lost(self, unit, source):
        """Why a channel is needed that is constant in the port `source`, and not behind it."""
        return "not constant behind it"

    def taking(self, unit):
        """Indices of the inputs that the smaller layer reads."""
        return range(len(unit.inputs))

    def coupled_channels(self, call):
        return self.coupling(call) or []

    def optional_inputs(self, unit):
        taking = self.taking(unit)
        return [i for i in range(len(unit.inputs)) if i not in taking]

    def needs(self, unit):
        """What is needed of a tensor is needed of those that it is coupled to."""
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
        """Needs the same of both; of a source only if anything of the target is needed."""
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
    """Needs the channels `at` of another port where the channels `of` of a port are needed."""
    new = port.keep[of] & ~other.keep[at]
    if new.any():
        need, why = np.zeros(other.size, bool), np.full(other.size, "", object)
        need[at[new]] = True
        why[at[new]] = reasons()[new]
        other.need(need, why)
