"""The inputs and outputs of a unit over all of its calls, as its rule sees them."""

import numpy as np

from keras_sparse.surgery.constants import Constants
from keras_sparse.surgery.rules import Unsupported

_KEPT_WITH = "kept with "


class Port:
    """One input or output of a unit, over all the unit's calls."""

    def __init__(self, values, need, unit, output):
        self.values = values
        self.unit = unit
        self._need = need
        self.output = output
        self.constants = _common([value.constants for value in values])
        # Whether the rule reads an axis other than the followed one.
        self.read_across = False

    @property
    def axis(self):
        """The followed axis; None if there is none or it differs between the calls."""
        axes = {value.axis for value in self.values}
        return axes.pop() if len(axes) == 1 else None

    @property
    def shape(self):
        """Shape of the tensor in the first call."""
        return self.values[0].shape

    @property
    def size(self):
        """Number of channels."""
        return len(self.values[0].keep)

    @property
    def keep(self):
        """Which channels are needed."""
        return self.values[0].keep

    @property
    def kept(self):
        """Indices of the channels that are needed."""
        return np.flatnonzero(self.keep)

    @property
    def why(self):
        """For each needed channel, the reason why it is needed."""
        return self.values[0].why

    @property
    def whole(self):
        """Whether the rule sees all channels as one."""
        return False

    def need(self, channels, reason):
        """Marks channels as needed; `reason` is a string, or an array with one for each channel.

        An array holds the reasons of another port. If an output channel is only needed because an
        input channel is, the reason says that the two are kept together.
        """
        if self.output and not isinstance(reason, str):
            reason = kept_with(reason, f"the input of {self.unit.name}")
        for value in self.values:
            if len(value.keep) == len(channels):
                self._need(value, channels, self._at(value, reason))
            elif channels.any():
                everything, rule = np.ones(len(value.keep), bool), self.unit.rule
                why = "a shared layer reads different widths"
                if isinstance(rule, Unsupported):
                    why = f"{self.unit.name}: {rule.reason}"
                self._need(value, everything, why)

    def _at(self, value, reason):
        """The reason in one call: a channel may be constant there but not in other calls."""
        if len(self.values) == 1 or value.constants.known.shape != self.constants.known.shape:
            return reason
        differs = value.constants.known & ~self.constants.known
        return np.where(differs, f"{self.unit.name}: not one constant in all its calls", reason)

    def need_all(self, reason):
        """Marks every channel as needed."""
        self.need(np.ones(self.size, bool), reason)

    def on(self, axis):
        """This port with its channels on `axis`; if another axis is followed, all of it stays."""
        size = self.shape[axis]
        sizes = {value.shape[axis] for value in self.values}
        if self.axis == axis and len(sizes) == 1:
            return self
        self.read_across = True
        return WholePort(self, size)


class WholePort:
    """A port that a layer reads on an axis other than the followed one: all of it is needed."""

    whole = True

    def __init__(self, port, size):
        self._port = port
        self.shape = port.shape
        self.size = size
        self.keep = np.ones(size, bool)
        self.kept = np.arange(size)
        self.constants = Constants.unknown(size)
        self.why = np.full(size, "", object)

    def need(self, channels, reason):
        """Marks the whole tensor as needed, if any channel is."""
        if np.any(channels):
            self._port.need_all(reason if isinstance(reason, str) else "is read along another axis")

    def need_all(self, reason):
        """Marks the whole tensor as needed."""
        self._port.need_all(reason)


def kept_with(reasons, what):
    """The reasons of channels, worded for other channels that are kept with them."""
    new = [f"{_KEPT_WITH}{what}: {text}" if text else "" for text in reasons]
    return np.where(
        [text.startswith(_KEPT_WITH) for text in reasons], reasons, np.array(new, object)
    )


def _common(constants):
    """The constants that are the same in all calls of a shared layer."""
    if len(constants) == 1:
        return constants[0]
    if len({c.values.shape[1] for c in constants}) > 1:
        return Constants.unknown(constants[0].values.shape[1])
    if len({c.profile for c in constants}) > 1:
        constants = [c.flattened() for c in constants]
    values = constants[0].values.copy()
    for other in constants[1:]:
        values[:, (other.values != values).any(0)] = np.nan
    return Constants(values, constants[0].profile)
