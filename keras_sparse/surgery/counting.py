"""Sizes of open axes as tensors of the graph, for `keras.ops.arange` and the like."""

import contextlib
import dataclasses

import keras

from keras_sparse import _keras
from keras_sparse.surgery.open_axes import place_of
from keras_sparse.surgery.stand_ins import Zeros
from keras_sparse.surgery.tracing import CannotOpenError

# Largest factor of a size in the start of a range, as in `arange(-2 * size, ...)`.
_MOST = 2


def zeros_along(tensor, axis):
    """Integer zeros `(size,)`, one for each position along an axis of a tensor."""
    rank = len(tensor.shape)
    zeros = Zeros(whole=axis == rank - 1)(tensor)
    others = tuple(other for other in range(rank) if other != axis)
    return keras.ops.sum(zeros, axis=others) if others else zeros


def count_along(tensor, axis, dtype):
    """The indices 0, 1, 2 ... of the positions along an axis of a tensor."""
    return keras.ops.cast(keras.ops.cumsum(zeros_along(tensor, axis) + 1) - 1, dtype)


@dataclasses.dataclass
class Ranges:
    """The calls of `keras.ops.arange` in two traces of a layer.

    A range from zero to an open size is replaced by tensors of the graph in the first pair of
    traces. For other ranges, the numbers in both traces show how the range depends on a size. A
    second pair of traces then replaces these too.

    Args:
        pairs: two numbers for each axis of each tensor, one for each trace.
        computed: `{index of the call: (start, size)}` for the ranges that the first pair of traces
            found; `start` and `size` are two numbers each, one for each trace.
    """

    pairs: list
    computed: dict = dataclasses.field(default_factory=dict)
    seen: tuple = ((), ())

    def traced(self, which):
        """A function that maps the input tensors of `call` to the context manager of a trace."""
        self.seen = tuple([] if i == which else seen for i, seen in enumerate(self.seen))
        return lambda inputs: self._replaced(which, inputs)

    def next(self):
        """The `Ranges` of a second pair of traces; None if no other range depends on a size."""
        if self.computed or len(self.seen[0]) != len(self.seen[1]):
            return None
        both = enumerate(zip(*self.seen, strict=True))
        computed = {i: tuple(zip(*calls, strict=True)) for i, calls in both if calls[0] != calls[1]}
        return Ranges(self.pairs, computed) if computed else None

    @contextlib.contextmanager
    def _replaced(self, which, inputs):
        plain = keras.ops.arange
        sizes = {pair[which]: pair for row in self.pairs for pair in row if pair[0] != pair[1]}

        def counted(start, stop=None, step=None, dtype=None):
            first, end = (0, start) if stop is None else (start, stop)
            numbers = type(first) is type(end) is int and step in (None, 1)
            if _keras.infers_output() or not numbers:
                return plain(start, stop, step, dtype=dtype)
            if first == 0 and end in sizes:
                place, axis = place_of(self.pairs, sizes[end])
                return count_along(inputs[place], axis, dtype or "int32")
            self.seen[which].append((first, end - first))
            if len(self.seen[which]) - 1 in self.computed:
                starts, lengths = self.computed[len(self.seen[which]) - 1]
                counts = self._count(inputs, lengths) + self._number(inputs, starts)
                return keras.ops.cast(counts, dtype or "int32")
            return plain(start, stop, step, dtype=dtype)

        keras.ops.arange = counted
        try:
            yield
        finally:
            keras.ops.arange = plain

    def _count(self, inputs, lengths):
        place = place_of(self.pairs, lengths)
        if place is None:
            raise CannotOpenError("its `call` has an `arange` as long as no axis of its inputs")
        return count_along(inputs[place[0]], place[1], "int32")

    def _number(self, inputs, numbers):
        """A number computed from a size, such as `1 - size`, as a scalar tensor."""
        first, second = numbers
        if first == second:
            return first
        for place, row in enumerate(self.pairs):
            for axis, (one, two) in enumerate(row):
                times, rest = divmod(second - first, two - one) if two != one else (0, 1)
                if rest == 0 and abs(times) <= _MOST:
                    size = keras.ops.sum(zeros_along(inputs[place], axis) + 1)
                    return size * times + (first - times * one)
        raise CannotOpenError("its `call` computes numbers from an open size")
