"""The parameters that an ideal cut would leave, found by trying, without surgery's rules.

Every layer that makes channels (dense, convolution, embedding, recurrent) is made to return what it
returned before. So a change at one of them is seen by the layers behind it and goes no further.

1. Noise in place of one channel shows which inputs of which layers it reaches. Where it is the
   only channel of its layer that reaches an input, the two are tied: they stay or go together.
2. Tied channels can go if none of them is an output, if the layers that read them find the same
   in them whatever the model's input is, and if nothing else changes when they are zero.
3. Constants that differ by position, or that lie under a padded border, cannot go into a bias. One
   channel stays for all that are multiples of the same map.

What it finds can be out of reach: heads must be of one size, which it does not know. It takes
tables that are looked up without a batch for needed.
"""

import collections
import functools
import math

import keras
import numpy as np

from keras_sparse.surgery.verify import random_inputs

_CONVOLUTION = keras.layers.Conv1D.__base__
_TRANSPOSED = keras.layers.Conv1DTranspose.__base__
_SEPARABLE = keras.layers.SeparableConv1D.__base__
_MAKERS = (
    *(keras.layers.Dense, keras.layers.EinsumDense, keras.layers.Embedding, keras.layers.RNN),
    *(_CONVOLUTION, _TRANSPOSED, _SEPARABLE),
)
# Draws of inputs and weights; channels changed at once, one in each sample; positions looked at;
# what counts as equal, relative to the largest value.
_DRAWS, _AT_ONCE, _POSITIONS, _EQUAL = 4, 64, 48, 1e-5
# How a weight grows with a layer's inputs (i) and outputs (o), by its name.
_GROWTH = {
    **{"kernel": "io", "recurrent_kernel": "oo", "pointwise_kernel": "io", "embeddings": "o"},
    **{"depthwise_kernel": "i", "bias": "o", "reverse_embeddings": "o"},
}


def ideal_parameters(model):
    """How many parameters an ideal cut of a model would leave.

    Args:
        model: a built `keras.Model`, in float32.

    Returns:
        An int.
    """
    trial = Trial(model)
    try:
        columns = [c for layer in trial.makers for c in trial.columns(layer)]
        reached = _reached(trial, columns)
        groups = _Groups(columns, reached)
        gone = _removable(trial, groups)
        gone -= _carriers(trial, groups, gone)
        return _parameters(trial, groups, gone)
    finally:
        trial.close()


class Trial:
    """A model whose layers are watched, and can be made to return what they returned.

    Args:
        model: a `keras.Model`. The `call` of its layers is another one until `close`.
    """

    def __init__(self, model):
        self.model = model
        self.layers = list(dict.fromkeys(part for part in _leaves(model) if part.weights))
        self.look = self.frozen = None
        self.changes, self.calls = [], collections.Counter()
        drawn = [random_inputs(model, seed=seed) for seed in range(_DRAWS)]
        drawn = keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *drawn)
        self.inputs = keras.tree.map_structure(lambda x: x[:1], drawn)
        self.own = {layer: layer.call for layer in self.layers}
        for layer in self.layers:
            layer.call = _watched(self, layer)
        self.rows = {}  # by call: what it reads, `(samples, positions, inputs)`
        self.outputs = {}  # by call: what it returns
        self.sources = {}  # by layer: what it read last
        self.read = {}  # by layer: which inputs it reads
        self.constant, self.maps = self._constants(drawn)
        self._run(drawn)
        lengths = {key: len(_first(output)) for key, output in self.outputs.items()}
        self._run(self.inputs)
        same = [k for k, output in self.outputs.items() if len(_first(output)) == lengths[k]]
        unbatched = {layer for layer, _ in same}
        self.used = {layer for layer, _ in self.rows}
        self.makers = [
            layer for layer in self.layers if _makes(layer) and layer in self.used - unbatched
        ]
        self.frozen = self.outputs

    def close(self):
        """Gives the layers their own `call` again."""
        for layer in self.layers:
            vars(layer).pop("call")

    def columns(self, layer):
        """All channels of a layer: pairs of it and an index."""
        output = _first(self.outputs[layer, 0])
        return [(layer, i) for i in range(_split(output, _axes(layer)[1]).shape[-1])]

    def reads(self, layer):
        """Which of its inputs a layer reads: those with which it returns something else."""
        if layer not in self.read:
            self.read[layer] = self._reads(layer)
        return self.read[layer]

    def _reads(self, layer):
        source = self.sources[layer]
        axes = _axes(layer)[0]
        many = np.repeat(source[None], _split(source, axes).shape[-1] + 1, 0)
        for i, sample in enumerate(many[:-1]):
            _split(sample, axes)[..., i] += 1 + np.abs(source).max()  # a view
        output = _first(self.own[layer](many.reshape(-1, *source.shape[1:])))
        output = keras.ops.convert_to_numpy(output).reshape(len(many), -1)
        return (output[:-1] != output[-1]).any(1)

    def _run(self, inputs):
        """Runs the model, and keeps what its layers read and return."""
        self.calls, self.rows, self.outputs = collections.Counter(), {}, {}
        samples = len(keras.tree.flatten(inputs)[0])

        def look(key, source):
            self.rows[key] = _rows(source, key[0], samples)
            self.sources[key[0]] = source

        self.look = look
        self.model(inputs, training=False)

    def _constants(self, inputs):
        """What each call reads whatever the inputs are: which channels, and their values.

        A channel that is zero by chance, behind a ReLU, is not so with other weights, of which
        those that are zero stay zero. One that hardly varies does so more for larger inputs.
        """
        weights = self.model.weights
        values = [keras.ops.convert_to_numpy(weight) for weight in weights]
        constant, maps = {}, {}
        for seed in range(_DRAWS):
            rng = np.random.default_rng(seed)
            for weight, value in zip(weights, values, strict=True):
                if seed and "float" in value.dtype.name:
                    signs = 1 if "variance" in weight.path else rng.choice([-1, 1], value.shape)
                    weight.assign(value * rng.uniform(0.5, 1.5, value.shape) * signs)
            self._run(keras.tree.map_structure(functools.partial(_scaled, 10**seed), inputs))
            for key, rows in self.rows.items():
                if rows is None:
                    continue
                same = np.ptp(rows, 0).max(0) <= _EQUAL * np.abs(rows).max()
                constant[key] = constant.get(key, True) & same
                maps.setdefault(key, np.where(same, rows[0], 0.0))
        for weight, value in zip(weights, values, strict=True):
            weight.assign(value)
        return constant, maps

    def differences(self, changes):
        """Which inputs of which calls, and which outputs, differ in a sample with changes.

        Args:
            changes: for each sample `{layer: [(channel, function of its values)]}`.

        Returns:
            `{(layer, call) or index of an output: (samples, channels) of bool}`.
        """
        self.changes, self.calls, found = [*changes, {}], collections.Counter(), {}
        count = len(self.changes)

        def look(key, source):
            rows = _rows(source, key[0], count)
            if rows is not None:
                found[key] = _differs(rows)

        self.look = look
        inputs = keras.tree.map_structure(lambda x: np.repeat(x, count, 0), self.inputs)
        for i, output in enumerate(keras.tree.flatten(self.model(inputs, training=False))):
            array = keras.ops.convert_to_numpy(output)
            found[i] = _differs(array.reshape(count, -1, array.shape[-1]))
        return found

    def visit(self, layer, args, kwargs):
        """One call of one layer."""
        key = layer, self.calls[layer]
        self.calls[layer] += 1
        backwards = kwargs.get("reverse") or any(value is True for value in args[1:2])
        source = keras.tree.flatten(args or kwargs)[0]
        if not backwards:
            self.look(key, keras.ops.convert_to_numpy(source))
        if self.frozen is None or layer not in self.makers or backwards:
            output = self.own[layer](*args, **kwargs)
            if _makes(layer) and not backwards:
                self.outputs[key] = keras.tree.map_structure(keras.ops.convert_to_numpy, output)
            return output
        return keras.tree.map_structure(lambda x: self._changed(layer, x), self.frozen[key])

    def _changed(self, layer, output):
        """What a layer returned for one sample, once for each of the changes."""
        many = np.repeat(output[None], len(self.changes), 0)
        axes = _axes(layer)[1]
        for sample, changes in zip(many, self.changes, strict=True):
            channels = _split(sample, axes)  # a view
            for channel, change in changes.get(layer, ()):
                channels[..., channel] = change(channels[..., channel])
        return keras.ops.convert_to_tensor(many.reshape(-1, *output.shape[1:]))


def _scaled(factor, array):
    return array * array.dtype.type(factor) if "float" in array.dtype.name else array


def _makes(layer):
    """Whether a layer makes channels of others; with groups it mostly changes each by itself."""
    return isinstance(layer, _MAKERS) and getattr(layer, "groups", 1) == 1


def _watched(trial, layer):
    return lambda *args, **kwargs: trial.visit(layer, args, kwargs)


def _leaves(layer):
    """The layers within that have no layers in them, or have cells."""
    for part in layer._layers:
        if isinstance(part, keras.layers.RNN) or not part._layers:
            yield part
        else:
            yield from _leaves(part)


def _first(output):
    return keras.tree.flatten(output)[0]


def _axes(layer):
    """How many of the last axes of its input, and of its output, are channels."""
    if not isinstance(layer, keras.layers.EinsumDense):
        return 1, 1
    source, kernel, target = layer.equation.replace("->", ",").split(",")
    summed = [label for label in source if label in kernel and label not in target]
    made = [label for label in target if label in kernel and label not in source]
    ends = "".join(summed), "".join(made)
    fits = source.endswith(ends[0]) and target.endswith(ends[1])
    return (len(summed), len(made)) if fits else (1, 1)


def _split(array, axes):
    """An array whose last axes are one."""
    return array.reshape(*array.shape[: array.ndim - axes], -1)


def _rows(source, layer, samples):
    """What a layer reads, as `(samples, positions, channels)`; None for ids or without samples."""
    if "float" not in source.dtype.name or source.ndim < 2 or len(source) % samples:
        return None
    channels = _split(source, _axes(layer)[0])
    return channels.reshape(samples, -1, channels.shape[-1])


def _differs(rows):
    """`(samples, channels)`: where a sample is another than the last one, which has no change."""
    some = np.random.default_rng(0).permutation(rows.shape[1])[:_POSITIONS]
    rows = rows[:, some]
    distance = np.abs(rows[:-1] - rows[-1:]).max(1)
    return ~(distance <= _EQUAL * max(np.abs(rows[-1]).max(), 1e-12))


def _reached(trial, columns):
    """For each call, by layer, `(channels of that layer, inputs)`: which channel reaches which."""
    rng = np.random.default_rng(0)

    def noise(sign, values):
        return sign * 100 * np.abs(rng.standard_normal(values.shape)) * (1 + np.abs(values).max())

    found = collections.defaultdict(dict)
    # Above and below: behind a ReLU only one of them may show.
    above, below = functools.partial(noise, 1), functools.partial(noise, -1)
    tried = [(column, change) for column in columns for change in (above, below)]
    for start in range(0, len(tried), _AT_ONCE):
        part = [column for column, _ in tried[start : start + _AT_ONCE]]
        changes = [
            {layer: [(channel, change)]}
            for (layer, channel), change in tried[start : start + _AT_ONCE]
        ]
        for key, differs in trial.differences(changes).items():
            for column, row in zip(part, differs, strict=True):
                found[key][column] = found[key].get(column, False) | row
    return found


class _Groups:
    """Channels that stay or go together.

    Args:
        columns: all channels.
        reached: what `_reached` gives.
    """

    def __init__(self, columns, reached):
        self.parent = {column: column for column in columns}
        self.tied = {}  # by call: `{input: one of the channels tied to it}`
        for key, by_column in reached.items():
            self.tied[key] = {}
            by_layer = collections.defaultdict(list)
            for column, row in by_column.items():
                by_layer[column[0]].append((column, row))
            for pairs in by_layer.values():
                rows = np.stack([row for _, row in pairs])
                for i in np.flatnonzero(rows.sum(0) == 1):
                    column = pairs[int(np.argmax(rows[:, i]))][0]
                    self._join(column, self.tied[key].setdefault(i, column))

    def of(self, column):
        """The channel that stands for a group."""
        while self.parent[column] != column:
            column = self.parent[column]
        return column

    def _join(self, a, b):
        self.parent[self.of(a)] = self.of(b)

    def members(self):
        """`{group: its channels}`."""
        found = collections.defaultdict(list)
        for column in self.parent:
            found[self.of(column)].append(column)
        return found

    def inputs(self, key, groups):
        """Indices of a call's inputs that are tied to one of the groups."""
        tied = self.tied.get(key, {})
        return [i for i, column in tied.items() if self.of(column) in groups]


def _removable(trial, groups):
    """The groups that can go, but for what carries constants."""
    members = groups.members()
    likely = set(members)
    for key, tied in groups.tied.items():
        for i, column in tied.items():
            is_output = not isinstance(key, tuple)
            read = not is_output and key[0] in trial.makers and trial.reads(key[0])[i]
            if is_output or (read and not (key in trial.constant and trial.constant[key][i])):
                likely.discard(groups.of(column))
    likely, gone = sorted(likely, key=str), set()
    for start in range(0, len(likely), _AT_ONCE):
        part = likely[start : start + _AT_ONCE]
        found = trial.differences([_without(members[group]) for group in part])
        for sample, group in enumerate(part):
            if all(
                set(np.flatnonzero(differs[sample])) <= set(groups.inputs(key, {group}))
                for key, differs in found.items()
            ):
                gone.add(group)
    return gone


def _without(columns):
    changes = collections.defaultdict(list)
    for layer, channel in columns:
        changes[layer].append((channel, np.zeros_like))
    return changes


def _carriers(trial, groups, gone):
    """Groups that have to stay, for their constants cannot go into a bias."""
    carriers = set()
    for layer in trial.makers:
        found = collections.defaultdict(list)
        for i, values in _read(trial, groups, layer, gone).items():
            if _foldable(layer, trial.sources[layer].shape, values):
                continue
            scaled = values / values[np.argmax(np.abs(values))]
            own = (i,) if isinstance(layer, _SEPARABLE) else ()
            found[(*own, scaled.round(4).tobytes())].append(i)
        for rows in found.values():
            known = [groups.of(groups.tied[layer, 0][i]) for i in rows]
            if not carriers & set(known):
                carriers.add(known[0])
    return carriers


def _read(trial, groups, layer, gone):
    """`{input: its values at all positions of all calls}` of what is gone and not zero."""
    keys = [key for key in trial.outputs if key[0] is layer and key in trial.maps]
    if not keys:
        return {}
    values = np.concatenate([trial.maps[key] for key in keys])
    read = trial.reads(layer) & (values != 0).any(0)
    return {i: values[:, i] for i in groups.inputs((layer, 0), gone) if read[i]}


def _foldable(layer, shape, values):
    """Whether a bias can take a constant."""
    return np.ptp(values) <= _EQUAL * np.abs(values).max() and not _bordered(layer, shape)


def _bordered(layer, shape):
    if not hasattr(layer, "kernel_size"):
        return False
    if isinstance(layer, _TRANSPOSED):
        return max(layer.kernel_size) > 1
    sizes = zip(shape[1:-1], layer.kernel_size, layer.strides, strict=True)
    return layer.padding != "valid" and any(
        (math.ceil((n or 1) / stride) - 1) * stride + k > (n or 1) for n, k, stride in sizes
    )


def _parameters(trial, groups, gone):
    """Parameters of all layers without the channels that are gone."""
    channels = collections.defaultdict(set)
    for group, members in groups.members().items():
        if group in gone:
            for layer, channel in members:
                channels[layer].add(channel)
    seen, count = set(), 0
    for layer in trial.layers:
        rows = trial.rows.get((layer, 0))
        inputs = 1 if rows is None else rows.shape[-1]
        left = 1 - len(groups.inputs((layer, 0), gone)) / inputs
        made = len(trial.columns(layer)) if layer in trial.makers else 1
        shares = {"i": left, "o": 1 - len(channels[layer]) / made}
        for weight in layer.weights:
            new = id(weight) not in seen
            seen.add(id(weight))
            if new and layer in trial.used:
                count += math.prod(weight.shape) * _share(layer, weight, inputs, shares)
        if layer in trial.makers and getattr(layer, "use_bias", True) is False:
            folded, shape = _read(trial, groups, layer, gone).values(), trial.sources[layer].shape
            if any(_foldable(layer, shape, values) for values in folded):
                count += made * shares["o"]
    own = sum(math.prod(w.shape) for w in trial.model.weights if id(w) not in seen)
    return round(count) + own


def _share(layer, weight, inputs, shares):
    """How much of a weight is left."""
    if _makes(layer):
        growth = _GROWTH.get(weight.path.rsplit("/", 1)[-1], "")
    else:
        growth = "i" if inputs in weight.shape else ""
    return math.prod(shares[letter] for letter in growth)
