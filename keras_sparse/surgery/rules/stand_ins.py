"""What an opened layer's weights and arrays become: layers and operations of Keras."""

import keras
import numpy as np

from keras_sparse.surgery.constants import Constants
from keras_sparse.surgery.rules.base import Rule, register_rule


class StandInRule(Rule):
    """Never part of a compact model; what stands in its place reads the zeros for open sizes."""

    arity = 0
    stands_in = True

    def needs(self, unit):
        """One channel of what it reads, so that it is there."""


@register_rule("keras_sparse.surgery.stand_ins.Zeros")
class ZerosRule(StandInRule):
    """Zeros for each position."""

    def forward(self, call):
        """One channel, of which nothing is known: it must not be left out."""
        one = len(call.outputs[0].shape) > 1 and not call.operation.whole
        axis = -1 if one else None
        return [(axis, Constants.unknown(1))]

    def needs(self, unit):
        """One channel of what it reads."""

    def apply(self, call, make, read):
        return keras.ops.zeros_like(call.operation.part(read(call.inputs[0])), dtype="int32")


@register_rule("keras_sparse.surgery.stand_ins.Constant")
class ConstantRule(StandInRule):
    """An array."""

    def forward(self, call):
        return [(None, Constants.unknown(1))]

    def apply(self, call, make, read):
        """The array plus zero, so that the graph has it."""
        operation = call.operation
        zero = keras.ops.cast(keras.ops.sum(read(call.inputs[0])), operation.dtype)
        if operation.dtype == "bool":
            return keras.ops.logical_or(zero, operation.array)
        return zero + keras.ops.convert_to_tensor(operation.array, operation.dtype)


@register_rule("keras_sparse.surgery.stand_ins.Parameter")
class ParameterRule(StandInRule):
    """A weight that becomes a table of which all rows are looked up.

    The last axis has the channels. Zeros are constants. Other numbers are not, even if all rows are
    the same: what is trained must not end as a number in the graph.
    """

    def forward(self, call):
        shape = call.outputs[0].shape
        if not shape:
            return [(None, Constants.unknown(1))]
        return [(-1, Constants.of(np.where(self._rows(call.unit).any(0), np.nan, 0.0)))]

    def _name(self, unit):
        return unit.operation.owned.path.rsplit("/", 1)[-1]

    def _rows(self, unit):
        array = unit.array(self._name(unit))
        return array.reshape(-1, array.shape[-1] if array.ndim else 1)

    def _width(self, unit):
        return len(unit.outputs[0].kept)

    def config(self, unit):
        weight = unit.operation.owned
        return {
            "name": unit.operation.name,
            "input_dim": len(self._rows(unit)),
            "output_dim": self._width(unit),
            "embeddings_regularizer": weight.regularizer,
            "embeddings_constraint": weight.constraint,
            "trainable": weight.trainable,
            "dtype": unit.operation.dtype_policy,
        }

    def remake(self, unit, config):
        return keras.layers.Embedding(**config, embeddings_initializer="zeros")

    def slices(self, unit):
        rank = len(unit.operation.owned.shape)
        return {self._name(unit): (None,) * (rank - 1) + (unit.outputs[0].kept,) * (rank > 0)}

    def apply(self, call, make, read):
        shape = call.outputs[0].shape
        zero = keras.ops.sum(read(call.inputs[0]))
        rows = np.arange(len(self._rows(call.unit)), dtype="int32")
        table = make()(zero + rows)
        shape = (*shape[:-1], self._width(call.unit)) if shape else ()
        return table if tuple(table.shape) == shape else keras.ops.reshape(table, shape)
