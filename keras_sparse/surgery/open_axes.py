"""Finds which open axes of a layer's tensors have equal lengths, with numbers in their place.

Shapes do not show whether a decoder's mask is as long as the text or as the encoder's output. The
layer's `call` does: it fails if two lengths differ that must be equal, and its error names both
numbers. So all axes start with different lengths, and equal ones are joined one by one.
"""

import dataclasses
import itertools
import re

# Two numbers for the batch, and two for each other open length: primes, which are unlikely widths.
# One is small and one is large: a `call` that depends on this makes different calls for the two.
_BATCH = (13, 29)
_SIZES = (
    *((17, 211), (19, 223), (23, 227), (43, 229), (47, 233), (61, 239), (67, 241), (79, 251)),
    *((83, 257), (89, 263), (101, 269), (103, 271)),
)


def open_axes(tensors):
    """`(tensor, axis)` for each open axis except the batch axes."""
    return [
        (place, axis)
        for place, tensor in enumerate(tensors)
        for axis, size in enumerate(tensor.shape)
        if axis and size is None
    ]


@dataclasses.dataclass(frozen=True)
class Lengths:
    """Which open axes have equal lengths.

    Args:
        of: for each of the `open_axes` of some tensors, the index of its length; equal lengths
            have the same index.
    """

    of: tuple

    @classmethod
    def apart(cls, tensors):
        """All lengths differ."""
        return cls(tuple(range(len(open_axes(tensors)))))

    @classmethod
    def by_order(cls, tensors):
        """The first open axes of all tensors have equal lengths, so do the second ones, etc."""
        places = [place for place, _ in open_axes(tensors)]
        return cls(tuple(places[:i].count(place) for i, place in enumerate(places)))

    def fit(self, tensors):
        """Whether the tensors have as many open axes as this, and `_SIZES` has enough numbers."""
        return len(self.of) == len(open_axes(tensors)) and max(self.of, default=0) < len(_SIZES)

    def pairs(self, tensors):
        """For each tensor, two numbers for each axis; they are equal if the size is known."""
        own = dict(zip(open_axes(tensors), self.of, strict=True))
        rows = []
        for place, tensor in enumerate(tensors):
            row = [(size, size) for size in tensor.shape]
            for axis, size in enumerate(tensor.shape):
                if size is None:
                    row[axis] = _SIZES[own[place, axis]] if axis else _BATCH
            rows.append(row)
        return rows

    def joined(self, error):
        """`Lengths` with the two lengths joined that an error names; None if it names no two."""
        numbers = {_SIZES[length][0]: length for length in set(self.of)}
        told = [int(number) for number in re.findall(r"\d+", error)]
        lengths = list(dict.fromkeys(numbers[number] for number in told if number in numbers))
        if len(lengths) < 2:
            return None
        return Lengths(tuple(lengths[0] if own == lengths[1] else own for own in self.of))

    def splits(self):
        """All `Lengths` in which one of the lengths is split into two."""
        for length in sorted(set(self.of)):
            rest = [i for i, own in enumerate(self.of) if own == length][1:]
            for count in range(1, len(rest) + 1):
                for some in itertools.combinations(rest, count):
                    split = [-1 if i in some else own for i, own in enumerate(self.of)]
                    yield Lengths(tuple(split))

    def sizes(self, tensors, least, step):
        """Sizes of the open axes, `{(tensor, axis): size}`; different lengths are `step` apart."""
        order = {length: i for i, length in enumerate(sorted(set(self.of)))}
        axes = zip(open_axes(tensors), self.of, strict=True)
        return {axis: least + step * order[length] for axis, length in axes}


def place_of(pairs, sizes):
    """`(tensor, axis)` of the first open axis with these two numbers, None if there is none."""
    found = [
        (place, axis)
        for place, row in enumerate(pairs)
        for axis, pair in enumerate(row)
        if pair[0] != pair[1] and tuple(pair) == tuple(sizes)
    ]
    return found[0] if found else None
