"""Random inputs for a model, with sizes, types and ids that fit its layers."""

import dataclasses
import itertools
import math

import keras
import numpy as np

from keras_sparse.surgery.graph import inputs_structure
from keras_sparse.variables import layers_of_type

# Sizes to try for an open axis (height, time steps), likely ones first. Small sizes fit a table of
# positions, powers of two fit patches and windows, large ones fit long stacks of convolutions.
_SIZES = (64, 32, 16, 8, 4, 2, 1, 128, 256)
_ODD_SIZES = (56, 48, 40, 36, 60, 28, 24, 20, 12, 14, 10, 30, 18, 15, 9, 6, 5, 7, 3, 112, 224, 96)
# `(size of images or videos, size of sequences)`, for models that take both.
_MIXED_SIZES = ((64, 16), (64, 8), (64, 2), (128, 16), (128, 8), (256, 16), (256, 8))
# Limits for the number of samples. It is chosen so that all ids of a small table occur.
_FEWEST, _MOST_IDS, _MOST_ENTRIES = 2, 256, 2**16

_WORDS = ("apple", "bread", "chair", "dance", "earth")

# Layers and operations of Keras that move entries but do not change them. These are names because
# Keras does not export its operations.
_MOVES = {
    *("Concatenate", "Cropping1D", "Cropping2D", "Dropout", "ExpandDims", "Flatten", "Flip"),
    *("GetItem", "Identity", "Permute", "Ravel", "RepeatVector", "Reshape", "Roll", "Split"),
    *("Squeeze", "Stack", "Swapaxes", "Transpose", "Unstack"),
}

# Operations of Keras that change each entry by itself, if the other operands are numbers.
_ENTRY_BY_ENTRY = {
    *("Abs", "Absolute", "Add", "Clip", "FloorDivide", "Maximum", "Minimum", "Mod", "Multiply"),
    *("Negative", "Subtract"),
}
# Range of ids to try before these operations, as multiples of the number of ids after them.
_REACH = (-1, 4)


@dataclasses.dataclass(frozen=True)
class _Plan:
    """The number of samples, a size for the open axes of each input, and the kind of numbers."""

    batch: int
    sizes: tuple
    whole: bool = False


def candidates(graph, seed=0):
    """Random inputs for a functional model, the ones most likely to fit first.

    Floats are normally distributed. Entries that reach an embedding, a lookup or an encoding are
    drawn from the values that it takes. Other integers are 0 and 1.

    Args:
        graph: the `Graph` of a functional model.
        seed: int.

    Yields:
        Arrays in the structure of the model's inputs.
    """
    for plan in _plans(graph):
        shapes = [_shape(v, plan.batch, s) for v, s in zip(graph.inputs, plan.sizes, strict=True)]
        rng = np.random.default_rng(seed)
        choices = _choices(graph, shapes)
        flat = [
            _draw(value, shape, found, plan.whole, rng)
            for value, shape, found in zip(graph.inputs, shapes, choices, strict=True)
        ]
        yield inputs_structure(graph, flat)


def _plans(graph):
    likely, odd = _sizes(graph)
    fixed = {value.shape[0] for value in graph.inputs if value.shape} - {None}
    # A reshape with a fixed batch size takes one sample only.
    batches = [max(fixed)] if fixed else [_batch(graph, likely[0]), 1]
    for whole, batch in itertools.product((False, True), batches):
        yield from (_Plan(batch, sizes, whole) for sizes in likely)
    yield from (_Plan(batch, sizes) for batch in batches for sizes in odd)


def _sizes(graph):
    """Likely and less likely sizes to try: two lists of tuples with a size for each input."""
    ranks = [len(value.shape) for value in graph.inputs]
    opens = {
        rank for rank, value in zip(ranks, graph.inputs, strict=True) if None in value.shape[1:]
    }
    if not opens:
        return [(None,) * len(ranks)], []
    likely, odd = ([(size,) * len(ranks) for size in sizes] for sizes in (_SIZES, _ODD_SIZES))
    if max(opens) > 3 >= min(opens):
        for picture, sequence in _MIXED_SIZES:
            odd.append(tuple(picture if rank > 3 else sequence for rank in ranks))
    return likely, odd


def _shape(value, batch, size):
    sizes = [size if known is None else known for known in value.shape[1:]]
    return (batch, *sizes) if value.shape else ()


def _batch(graph, sizes):
    """The number of samples in which all ids of a table occur, within limits."""
    shapes = [_shape(value, 1, size) for value, size in zip(graph.inputs, sizes, strict=True)]
    entries = sum(math.prod(shape) for shape in shapes)
    wanted = _FEWEST
    for found in itertools.chain.from_iterable(_choices(graph, shapes)):
        count = len(found.places)
        wanted = max(wanted, min(math.ceil(len(found.values) / count), _MOST_IDS // count))
    return max(_FEWEST, min(wanted, _MOST_ENTRIES // max(entries, 1)))


def _draw(value, shape, choices, whole, rng):
    dtype = keras.backend.standardize_dtype(value.dtype)
    flat = _numbers(dtype, math.prod(shape), whole, rng)
    for choice in choices:
        flat[choice.places] = choice.draw(rng)
    return flat.reshape(shape)


def _numbers(dtype, count, whole, rng):
    if dtype == "string":
        return rng.choice(np.array(_WORDS, object), count)
    if "float" in dtype:
        drawn = rng.integers(0, 2, count) if whole else rng.standard_normal(count)
        return drawn.astype("float64" if dtype == "float64" else "float32")
    return rng.integers(0, 256 if dtype == "uint8" and not whole else 2, count).astype(dtype)


@dataclasses.dataclass(frozen=True)
class _Choice:
    """Entries of an input that are drawn from a list of values.

    Args:
        places: indices into the flat input.
        values: array; a value that occurs twice is drawn twice as often.
    """

    places: np.ndarray
    values: np.ndarray

    def draw(self, rng):
        """Draws a value for each place; all values occur if there are enough places."""
        count, size = len(self.places), len(self.values)
        rounds = [rng.permutation(size) for _ in range(count // size)]
        rest = rng.choice(size, count % size, replace=False)
        return rng.permutation(self.values[np.concatenate([*rounds, rest])])


def _choices(graph, shapes):
    """For each input a list of `_Choice`, found by following every entry through the graph.

    Layers that only move entries are run on the indices of the entries. This shows which entries
    reach an embedding, also through slices and concatenations. Operations such as adding a number
    are run on many ids, to find the ids that they turn into ids of the table.
    """
    starts = np.cumsum([0, *(math.prod(shape) for shape in shapes)])
    numbers = {
        value: np.arange(first, last, dtype="int32").reshape(shape)
        for value, shape, first, last in zip(graph.inputs, shapes, starts, starts[1:], strict=False)
    }
    owners, fewest, lists = np.full(starts[-1], -1), np.full(starts[-1], np.inf), []
    changes = dict.fromkeys(numbers, ())
    for call in graph.calls:
        _move(call, numbers, changes)
        for value in call.inputs:
            taken = _values_taken(call, value) if value in numbers else None
            if taken is not None and changes[value]:
                taken = _before(changes[value], taken)
            if taken is not None and len(taken):
                places = np.unique(numbers[value])
                places = places[fewest[places] > len(taken)]
                owners[places], fewest[places] = len(lists), len(taken)
                lists.append(taken)
    found = []
    for first, last in itertools.pairwise(starts):
        own = owners[first:last]
        used = np.unique(own[own >= 0])
        found.append([_Choice(np.flatnonzero(own == i), lists[i]) for i in used])
    return found


def _move(call, numbers, changes):
    """Adds the entries' indices for a call's outputs, if the call only moves entries.

    Args:
        call: a call of the graph.
        numbers: `{value: for each entry the index of the input entry that it comes from}`.
        changes: `{value: the calls that changed each of its entries by itself}`.
    """
    operation, name = call.operation, type(call.operation).__name__
    if not call.inputs or not all(value in numbers for value in call.inputs):
        return
    if not type(operation).__module__.startswith("keras."):
        return
    if name == "Cast" or (name in _ENTRY_BY_ENTRY and _is_unary(call)):
        numbers[call.outputs[0]] = numbers[call.inputs[0]]
        changes[call.outputs[0]] = (*changes[call.inputs[0]], *([call] if name != "Cast" else []))
        return
    if name not in _MOVES or call.kwargs.get("training"):
        return
    before = {changes[value] for value in call.inputs}
    if len(before) > 1:
        return
    args, kwargs = call.arguments(numbers.__getitem__)
    try:
        moved = keras.tree.flatten(operation(*args, **kwargs))
    except Exception:
        return  # these sizes do not fit
    numbers.update(zip(call.outputs, map(keras.ops.convert_to_numpy, moved), strict=True))
    changes.update(dict.fromkeys(call.outputs, *before))


def _is_unary(call):
    """Whether the arguments of a call are one tensor and otherwise numbers."""
    found = keras.tree.flatten((call.args, call.kwargs))
    others = [part for part in found if part is not call.inputs[0]]
    return len(set(call.inputs)) == 1 and all(
        part is None or isinstance(part, (str, bool)) or np.ndim(part) == 0 for part in others
    )


def _before(changes, taken):
    """Integers that the calls `changes` turn into the values `taken`, as far as found."""
    if taken.dtype.kind not in "iuf":
        return None
    low, high = (share * len(taken) for share in _REACH)
    tried = np.arange(low - 1, high + 1, dtype="int32")
    values = tried
    for call in changes:
        args, kwargs = call.arguments(lambda value, now=values: now)
        values = keras.ops.convert_to_numpy(call.operation(*args, **kwargs))
    _, first = np.unique(values, return_index=True)
    return tried[first[np.isin(values[first], taken)]]


def _values_taken(call, value):
    """The values that a call accepts in a tensor; None if it accepts any number."""
    operation, name = call.operation, type(call.operation).__name__
    for kind, values in _TAKEN.items():
        if isinstance(operation, kind):
            return values(operation)
    if name == "OneHot":
        return _ids(operation.num_classes)
    if name == "Take" and call.args[1:] == (value,):
        return _rows(call.args[0], operation.axis)
    steps = isinstance(operation, keras.layers.TimeDistributed)
    if isinstance(operation, keras.Layer) and ("int" in value.dtype or steps):
        sizes = [e.input_dim for e in layers_of_type(operation, keras.layers.Embedding)]
        return _ids(min(sizes)) if sizes else None
    return None


def _rows(table, axis):
    shape = getattr(table, "shape", np.shape(table))
    count = math.prod(shape) if axis is None else shape[axis]
    return None if count is None else _ids(count)


def _ids(count, padded=False):
    """All ids; zero occurs more often if it means padding."""
    return np.concatenate([np.zeros(count // 8 if padded else 0, int), np.arange(count)])


def _looked_up(layer, unknown):
    """The vocabulary, and an unknown value if the layer accepts one."""
    words = layer.get_vocabulary(include_special_tokens=False)
    words = [*words, *([unknown] if layer.num_oov_indices else [])]
    return np.array(words, object if isinstance(unknown, str) else None)


def _sentences(words):
    """Sentences of three words that cover the vocabulary, and one of unknown words."""
    words = [str(word) for word in words]
    sentences = [" ".join(words[i : i + 3]) for i in range(0, len(words), 3)]
    return np.array([*sentences, "never seen"], object)


def _between(boundaries):
    """A number in every bin."""
    edges = np.asarray(boundaries, float)
    if not edges.size:
        return None
    return np.concatenate([edges[:1] - 1, (edges[1:] + edges[:-1]) / 2, edges[-1:] + 1])


_TAKEN = {
    keras.layers.Embedding: lambda layer: _ids(layer.input_dim, layer.mask_zero),
    keras.layers.CategoryEncoding: lambda layer: _ids(layer.num_tokens),
    keras.layers.TextVectorization: lambda layer: _sentences(layer.get_vocabulary(False)),
    keras.layers.IntegerLookup: lambda layer: _looked_up(layer, -1),
    keras.layers.StringLookup: lambda layer: _looked_up(layer, "never seen"),
    keras.layers.Discretization: lambda layer: _between(layer.bin_boundaries),
}
