"""The base of rules that remove units inside a layer but keep its inputs and outputs."""

import numpy as np

from keras_sparse.surgery.rules.activations import activate, mixes_channels
from keras_sparse.surgery.rules.base import Unsupported, plain_config
from keras_sparse.surgery.units import weights_by_name


class HiddenUnits(Unsupported):
    """`last(f(first(x)))`, or `last(f(first(x)) * g(gate(x)))`, inside a larger layer.

    `first`, `gate` and `last` name attributes of the layer that hold `keras.layers.Dense` layers,
    or `EinsumDense` layers with a matrix. `size` is the name of the layer's `__init__` argument for
    the number of units between them. The layer keeps its inputs and outputs. Units that are
    constant, or that `last` does not read, are removed: the new layer has the same class and fewer
    units.

    A layer that can be opened is opened instead, unless `if_closed` is False.

    Example:

    >>> @surgery.register_rule(FeedForward)
    ... class FeedForwardRule(surgery.HiddenUnits):
    ...     first, last, size = "expand", "contract", "hidden_dim"
    """

    if_closed = True
    first = ""
    gate: str | None = None
    last = ""
    size = ""
    # The argument `size` is this multiple of the number of units.
    share = 1

    def __init__(self):
        super().__init__("only units inside it may go")

    def functions(self, layer):
        """`(f, g)`: functions that `call` applies besides the activations of the dense layers."""
        return None, None

    def for_unit(self, unit):
        """This rule; `Unsupported` with a reason if the layer is not as expected."""
        reason = self._unlike(unit)
        return Unsupported(reason) if reason else self

    def _unlike(self, unit):
        layer = unit.operation
        if not (hasattr(layer, self.first) and hasattr(layer, self.last)):
            return f"it has no {self.first} or no {self.last}"
        parts = self._parts(layer)
        functions = [*(part.activation for part in parts[:-1]), *self.functions(layer)]
        if any(map(mixes_channels, functions)):
            return "its activation mixes channels"
        return self._other_weights(layer, parts) or self._other_config(layer)

    def _other_weights(self, layer, parts):
        known = {id(weight) for weight in layer.weights}
        for part in parts:
            if len(part.kernel.shape) != 2 or (part.bias is not None and len(part.bias.shape) != 1):
                return f"{part.name} in it is no matrix with a vector"
            if id(part.kernel) not in known:
                return f"{part.name} in it is another layer's"
        return None

    def _other_config(self, layer):
        try:
            count = layer.get_config()[self.size]
        except Exception as error:
            return f"its `get_config` fails ({type(error).__name__}: {error})"
        if count != self.share * self._first(layer).kernel.shape[1]:
            return f"its argument {self.size} is not the number of its units"
        return None

    def _first(self, layer):
        return getattr(layer, self.first)

    def _last(self, layer):
        return getattr(layer, self.last)

    def _gate(self, layer):
        return getattr(layer, self.gate, None) if self.gate else None

    def _parts(self, layer):
        parts = [self._first(layer), self._gate(layer), self._last(layer)]
        return [part for part in parts if part is not None]

    def _array(self, unit, variable):
        """`(name, array)` of a variable of the layer."""
        names = {id(weight): name for name, weight in weights_by_name(unit.operation).items()}
        name = names[id(variable)]
        return name, unit.array(name).astype(np.float64)

    def _constants(self, unit, part, function):
        """The constants after a dense layer and a function, NaN for other units."""
        kernel = self._array(unit, part.kernel)[1]
        bias = np.zeros(kernel.shape[1])
        if part.bias is not None:
            bias = self._array(unit, part.bias)[1]
        dtype = unit.operation.compute_dtype
        values = activate(function, activate(part.activation, bias, dtype), dtype)
        return np.where((kernel == 0).all(0) & np.isfinite(values), values, np.nan)

    def _units(self, unit):
        """`(kept units, constants of all units)`, computed once."""
        if "units" not in unit.notes:
            layer = unit.operation
            f, g = self.functions(layer)
            values = self._constants(unit, self._first(layer), f)
            if self._gate(layer) is not None:
                other = self._constants(unit, self._gate(layer), g)
                values = np.where((values == 0) | (other == 0), 0.0, values * other)
            last = self._last(layer)
            read = (self._array(unit, last.kernel)[1] != 0).any(1)
            foldable = ~np.isnan(values) & ((values == 0) | (last.bias is not None))
            keep = read & ~foldable
            keep[0] |= not keep.any()
            unit.notes["units"] = np.flatnonzero(keep), values
        return unit.notes["units"]

    def config(self, unit):
        return {**plain_config(unit), self.size: self.share * len(self._units(unit)[0])}

    def slices(self, unit):
        """Slices the columns of `first` and `gate`, and the rows of `last`."""
        kept, _ = self._units(unit)
        slices = {}
        *before, last = self._parts(unit.operation)
        for part in before:
            slices[self._array(unit, part.kernel)[0]] = (None, kept)
            if part.bias is not None:
                slices[self._array(unit, part.bias)[0]] = (kept,)
        slices[self._array(unit, last.kernel)[0]] = (kept, None)
        return slices

    def fold(self, unit, weights):
        """Folds the constants of removed units into the bias of `last`."""
        kept, values = self._units(unit)
        last = self._last(unit.operation)
        dropped = np.nan_to_num(values)
        dropped[kept] = 0
        if last.bias is not None and dropped.any():
            name, bias = self._array(unit, last.bias)
            weights[name] = bias + dropped @ self._array(unit, last.kernel)[1]

    def inner_channels(self, unit):
        axes = []
        *before, last = self._parts(unit.operation)
        every = np.arange(last.kernel.shape[0])
        for part in before:
            axes.append((self._array(unit, part.kernel)[0], 1, every))
            if part.bias is not None:
                axes.append((self._array(unit, part.bias)[0], 0, every))
        axes.append((self._array(unit, last.kernel)[0], 0, every))
        return [("units", len(every), axes)]
