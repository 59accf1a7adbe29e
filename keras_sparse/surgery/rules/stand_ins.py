"""Rules that replace the stand-ins of an opened layer by layers and operations of Keras."""

import keras
import numpy as np

from keras_sparse.surgery.constants import Constants
from keras_sparse.surgery.rules.base import Rule, register_rule


class StandInRule(Rule):
    """An operation that no compact model contains; its replacement reads zeros of open sizes."""

    arity = 0
    stands_in = True

    def needs(self, unit):
        """Does nothing: the analysis keeps one channel of the input, which is enough."""


@register_rule("keras_sparse.surgery.stand_ins.Zeros")
class ZerosRule(StandInRule):
    """The rule of `Zeros`, which becomes `keras.ops.zeros_like`."""

    def forward(self, call):
        """One unknown channel, so that it is not removed as a constant."""
        one = len(call.outputs[0].shape) > 1 and not call.operation.whole
        axis = -1 if one else None
        return [(axis, Constants.unknown(1))]

    def needs(self, unit):
        """Does nothing: the analysis keeps one channel of the input, which is enough."""

    def apply(self, call, make, read):
        return keras.ops.zeros_like(call.operation.part(read(call.inputs[0])), dtype="int32")


@register_rule("keras_sparse.surgery.stand_ins.Constant")
class ConstantRule(StandInRule):
    """The rule of `Constant`, which becomes a sum of an array and zero."""

    def forward(self, call):
        return [(None, Constants.unknown(1))]

    def apply(self, call, make, read):
        """The array plus a zero tensor, so that it is part of the graph."""
        operation = call.operation
        zero = keras.ops.cast(keras.ops.sum(read(call.inputs[0])), operation.dtype)
        if operation.dtype == "bool":
            return keras.ops.logical_or(zero, operation.array)
        return zero + keras.ops.convert_to_tensor(operation.array, operation.dtype)


@register_rule("keras_sparse.surgery.stand_ins.Parameter")
class ParameterRule(StandInRule):
    """A weight that becomes an embedding table; all of its rows are looked up.

    The last axis has the channels. Zero channels are constant. Others are not, even if all rows are
    the same: a trained weight must not become a fixed number in the graph.
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
