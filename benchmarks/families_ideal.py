"""The parameters that an ideal cut would leave, found by trying, without surgery's rules.

`families_trial` changes channels of one layer, and the layers behind it show the change.

1. Noise in place of one channel shows which inputs of which layers it reaches. Where it is the
   only channel of its layer that reaches an input, the two are coupled: they are kept or removed
   together.
2. Coupled channels can be removed if none of them is an output, if the layers that read them find
   the same in them whatever the model's input is, and if nothing else changes when they are zero.
3. Constants that differ by position, or that lie under a padded border, cannot go into a bias. One
   channel stays for all that are multiples of the same map.

What it finds can be out of reach: heads must be of one size, which it does not know. It counts
tables that are looked up without a batch as needed.
"""

import collections
import functools
import math

import numpy as np

from benchmarks.families_trial import EQUAL, SEPARABLE, TRANSPOSED, Trial, makes_channels

# Channels changed at once, one in each sample.
_AT_ONCE = 64
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
            own = (i,) if isinstance(layer, SEPARABLE) else ()
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
    return np.ptp(values) <= EQUAL * np.abs(values).max() and not _bordered(layer, shape)


def _bordered(layer, shape):
    if not hasattr(layer, "kernel_size"):
        return False
    if isinstance(layer, TRANSPOSED):
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
    if makes_channels(layer):
        growth = _GROWTH.get(weight.path.rsplit("/", 1)[-1], "")
    else:
        growth = "i" if inputs in weight.shape else ""
    return math.prod(shares[letter] for letter in growth)
