"""The parameters that an ideal cut would leave, found by trying, without surgery's rules.

`families_trial` changes channels of one layer, and the layers behind it show the change.

1. Noise in place of one channel shows which inputs of which layers it reaches. Where it is the
   only channel of its layer that reaches an input, the two are coupled: they are kept or removed
   together.
2. Coupled channels can be removed if none of them is an output, if the layers that read them find
   the same in them whatever the model's input is, and if nothing else changes when they are zero,
   and when they are 30 times as large: what a channel adds to attention's scores may be small.
3. Constants that differ by position, or that lie under a padded border, cannot go into a bias. As
   many channels stay as it takes for the others to be sums of them.
4. Heads stay as wide as each other.

It counts tables that are looked up without a batch as needed.
"""

import collections
import functools
import math

import numpy as np

from benchmarks.families_trial import EQUAL, SEPARABLE, TRANSPOSED, Trial, makes_channels

# Channels changed at once, one in each sample.
_AT_ONCE = 64
# What maps of constants may differ by and count as equal, relative to the largest value.
_SAME = 1e-4
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
        sources = [*trial.makers, *trial.depthwise]
        columns = [c for layer in sources for c in trial.columns(layer)]
        reached = _reached(trial, columns)
        groups = _Groups(columns, reached)
        groups.couple_windows(trial)
        gone = _removable(trial, groups, _alive(trial, reached))
        while uneven := _uneven(trial, groups, gone):
            gone -= uneven
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


def _alive(trial, reached):
    """For each call which inputs depend on the model's input.

    Those that vary show it, and so do those that a channel reaches whose layer reads one of them.
    What does not vary with some inputs and weights, behind a ReLU or where a signal fades, need not
    be constant.
    """
    alive = {key: ~constant for key, constant in trial.constant.items()}
    while True:
        before = sum(int(inputs.sum()) for inputs in alive.values())
        for key, by_column in reached.items():
            if key in alive:
                made = _channels_alive(trial, alive)
                for (layer, channel), row in by_column.items():
                    if layer in made and made[layer][channel]:
                        alive[key] = alive[key] | row
        if sum(int(inputs.sum()) for inputs in alive.values()) == before:
            return alive


def _channels_alive(trial, alive):
    """`{layer: which of its channels read an input that depends on the model's}`."""
    made = {}
    for (layer, _), inputs in alive.items():
        if layer in trial.makers or layer in trial.depthwise:
            made[layer] = made.get(layer, False) | trial.reads(layer)[inputs].any(0)
    return made


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

    def couple_windows(self, trial):
        """Couples what depthwise convolutions return to what they read."""
        for layer in trial.depthwise:
            count = len(trial.columns(layer)) // trial.sources[layer].shape[-1]
            for i, column in self.tied.get((layer, 0), {}).items():
                for j in range(i * count, (i + 1) * count):
                    self._join((layer, j), column)

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


def _removable(trial, groups, alive):
    """The groups that can go, but for what carries constants."""
    members = groups.members()
    likely = set(members)
    for key, tied in groups.tied.items():
        for i, column in tied.items():
            is_output = not isinstance(key, tuple)
            read = not is_output and key[0] in trial.makers and trial.reads(key[0])[i].any()
            if is_output or (read and not (key in alive and not alive[key][i])):
                likely.discard(groups.of(column))
    for change in (np.zeros_like, _amplified):
        likely = _unseen(trial, groups, members, sorted(likely, key=str), change)
    return likely


def _amplified(values):
    return values * 30


def _unseen(trial, groups, members, likely, change):
    """Those of some groups whose change shows nowhere but in what reads them."""
    gone = set()
    for start in range(0, len(likely), _AT_ONCE):
        part = likely[start : start + _AT_ONCE]
        found = trial.differences([_changed(members[group], change) for group in part])
        for sample, group in enumerate(part):
            if all(
                set(np.flatnonzero(differs[sample])) <= set(groups.inputs(key, {group}))
                for key, differs in found.items()
            ):
                gone.add(group)
    return gone


def _changed(columns, change):
    changes = collections.defaultdict(list)
    for layer, channel in columns:
        changes[layer].append((channel, change))
    return changes


def _uneven(trial, groups, gone):
    """Groups that have to stay, for heads are of one width: what goes from one goes from each."""
    staying = set()
    for layer, heads in trial.heads.items():
        if layer not in trial.makers:
            continue
        owners = [groups.of(column) for column in trial.columns(layer)]
        size = len(owners) // heads
        rows = [owners[start : start + size] for start in range(0, len(owners), size)]
        rows = [[group for group in row if group in gone - staying] for row in rows]
        fewest = min((len(row) for row in rows if len(row) < size), default=size)
        staying.update(group for row in rows if len(row) < size for group in row[fewest:])
    return staying


def _carriers(trial, groups, gone):
    """Groups that have to stay, for their constants cannot go into a bias."""
    carriers = set()
    for layer in trial.makers:
        shape = trial.sources[layer].shape
        maps = [
            (groups.of(groups.tied[layer, 0][i]), values / np.abs(values).max())
            for i, values in _read(trial, groups, layer, gone).items()
            if not _foldable(layer, shape, values)
        ]
        if isinstance(layer, SEPARABLE):  # each has a window of its own
            carriers.update(group for group, _ in maps)
        elif maps:
            carriers |= _basis(maps, carriers, with_bias=not _bordered(layer, shape))
    return carriers


def _basis(maps, known, with_bias):
    """Groups of which the maps of all others are sums, with a bias or without."""
    owners = [group for group, _ in maps]
    rest = np.stack([values for _, values in maps], axis=1).astype(np.float64)
    if with_bias:
        rest = _beside(rest, np.ones(len(rest)))
    found, following = set(), known & set(owners)
    while True:
        found |= following
        for column in [i for i, group in enumerate(owners) if group in following]:
            rest = _beside(rest, rest[:, column])
        largest = np.abs(rest).max(0)
        if largest.max() <= _SAME:
            return found
        following = {owners[np.argmax(largest)]}


def _beside(columns, direction):
    """What is left of columns without their parts along a direction."""
    length = np.linalg.norm(direction)
    if not length:
        return columns
    return columns - np.outer(direction, direction @ columns) / length**2


def _read(trial, groups, layer, gone):
    """`{input: its values at all positions of all calls}` of what is gone and not zero."""
    keys = [key for key in trial.outputs if key[0] is layer and key in trial.maps]
    if not keys:
        return {}
    values = np.concatenate([trial.maps[key] for key in keys])
    read = trial.reads(layer).any(1) & (values != 0).any(0)
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
