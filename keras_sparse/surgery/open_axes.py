"""Which open axes of a layer's tensors have one length, and numbers that stand for them.

Whether the mask in a decoder is as long as the text or as what the encoder gives, no shape says.
The layer's `call` does: it stops where two lengths differ that have to be equal, and its error
names both numbers. So axes start with lengths that all differ, and are joined one by one.
"""

import dataclasses
import itertools
import re

# Two numbers for the batch, and two for each further open length: primes, unlikely as widths. A
# `call` that depends on whether a size is small or large makes different calls for the two.
_BATCH = (13, 29)
_SIZES = (
    *((17, 211), (19, 223), (23, 227), (43, 229), (47, 233), (61, 239), (67, 241), (79, 251)),
    *((83, 257), (89, 263), (101, 269), (103, 271)),
)


def open_axes(tensors):
    """`(tensor, axis)` for each open axis but those of the batch."""
    return [
        (place, axis)
        for place, tensor in enumerate(tensors)
        for axis, size in enumerate(tensor.shape)
        if axis and size is None
    ]


@dataclasses.dataclass(frozen=True)
class Lengths:
    """Which open axes are of one length.

    Args:
        of: for each of the `open_axes` of some tensors the number of its length.
    """

    of: tuple

    @classmethod
    def apart(cls, tensors):
        """All lengths differ."""
        return cls(tuple(range(len(open_axes(tensors)))))

    @classmethod
    def by_order(cls, tensors):
        """The first open axes of all tensors are of one length, the second ones too, and so on."""
        places = [place for place, _ in open_axes(tensors)]
        return cls(tuple(places[:i].count(place) for i, place in enumerate(places)))

    def fit(self, tensors):
        """Whether the tensors have as many open axes, and there are numbers enough."""
        return len(self.of) == len(open_axes(tensors)) and max(self.of, default=0) < len(_SIZES)

    def pairs(self, tensors):
        """For each tensor two numbers for each axis; the same ones where the size is known."""
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
        """The same, with one length for two that an error's text names; None if it names no two."""
        numbers = {_SIZES[length][0]: length for length in set(self.of)}
        told = [int(number) for number in re.findall(r"\d+", error)]
        lengths = list(dict.fromkeys(numbers[number] for number in told if number in numbers))
        if len(lengths) < 2:
            return None
        return Lengths(tuple(lengths[0] if own == lengths[1] else own for own in self.of))

    def splits(self):
        """The same with one of the lengths taken as two, in all ways."""
        for length in sorted(set(self.of)):
            rest = [i for i, own in enumerate(self.of) if own == length][1:]
            for count in range(1, len(rest) + 1):
                for some in itertools.combinations(rest, count):
                    split = [-1 if i in some else own for i, own in enumerate(self.of)]
                    yield Lengths(tuple(split))

    def sizes(self, tensors, least, step):
        """A size for each of the open axes: `{(tensor, axis): size}`, lengths `step` apart."""
        order = {length: i for i, length in enumerate(sorted(set(self.of)))}
        axes = zip(open_axes(tensors), self.of, strict=True)
        return {axis: least + step * order[length] for axis, length in axes}


def place_of(pairs, sizes):
    """`(tensor, axis)` of the first open axis that had these two numbers, None without one."""
    found = [
        (place, axis)
        for place, row in enumerate(pairs)
        for axis, pair in enumerate(row)
        if pair[0] != pair[1] and tuple(pair) == tuple(sizes)
    ]
    return found[0] if found else None
