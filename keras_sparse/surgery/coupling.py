"""Finds coupled channels, which can only be removed together."""

import collections
import dataclasses

import keras
import numpy as np

from keras_sparse.surgery.analysis import Analysis, RuleError, analyse
from keras_sparse.surgery.findings import Findings
from keras_sparse.surgery.graph import Graph
from keras_sparse.surgery.groups import connect, joints, members, number
from keras_sparse.surgery.removal import refuse_wrapped_weights
from keras_sparse.surgery.rules import Unsupported
from keras_sparse.surgery.units import weights_by_name
from keras_sparse.surgery.weight_axes import weight_axes

MEMBER, NORMALIZATION, READER = "member", "normalization", "reader"


@dataclasses.dataclass(frozen=True, eq=False)
class WeightSlice:
    """The part of one weight that belongs to the channels of a group.

    Args:
        layer: name of the layer; its path if the model is nested.
        weight: name of the weight in the layer, `"kernel"`.
        path: `path` of the variable.
        axis: int, the channel axis of the weight.
        channels: int array, one entry for each index along the axis: the channel of the group that
            the index belongs to, -1 for none. One channel may have several indices, as after
            `Flatten`.
        role: `"member"`: computes the channel. `"normalization"`: scales or shifts it.
            `"reader"`: reads it.
    """

    layer: str
    weight: str
    path: str
    axis: int
    channels: np.ndarray
    role: str

    def sums(self, array: np.ndarray, size: int) -> np.ndarray:
        """Sums an array of the weight's shape over the entries of each channel.

        Args:
            array: array with the weight's shape.
            size: number of channels in the group.

        Returns:
            A float64 array `(size,)`.
        """
        axis = self.axis % array.ndim
        rows = array.sum(axis=tuple(i for i in range(array.ndim) if i != axis), dtype=np.float64)
        own = self.channels >= 0
        return np.bincount(self.channels[own], rows[own], minlength=size)


@dataclasses.dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Channels of one or more layers that can only be removed together.

    Channel `i` of the group is channel `i` of each of its layers that are joined by a residual sum,
    a depthwise convolution or a product.

    Args:
        name: unique in the model: the name of the first layer, with a number if several groups
            begin with the same layer.
        layers: names of the layers that compute the channels, in the order in which they run.
        size: number of channels.
        slices: tuple of `WeightSlice`: everything that is removed with a channel.
        joined_by: names of the sums, products and other merging layers that join the layers.
        fixed: None if channels can be removed, else the reason why not.
        activations: tuple of `(call, output, share)` for each tensor that has these channels:
            the index of the call that computes it, in the order of execution; the index of the
            call's output; and the fraction of the tensor's channels that are in this group.
        activation_axes: tuple of int: for each of `activations`, the axis of the channels, counted
            from the end.
    """

    name: str
    layers: tuple[str, ...]
    size: int
    slices: tuple[WeightSlice, ...]
    joined_by: tuple = ()
    fixed: str | None = None
    activations: tuple = ()
    activation_axes: tuple = ()

    def _of(self, role):
        return tuple(s for s in self.slices if s.role == role)

    @property
    def members(self) -> tuple[WeightSlice, ...]:
        """The slices of weights that compute the channels."""
        return self._of(MEMBER)

    @property
    def normalizations(self) -> tuple[WeightSlice, ...]:
        """The slices of weights that scale or shift the channels."""
        return self._of(NORMALIZATION)

    @property
    def readers(self) -> tuple[WeightSlice, ...]:
        """The slices of weights that read the channels."""
        return self._of(READER)

    def __repr__(self):
        state = f"fixed: {self.fixed}" if self.fixed else f"{len(self.readers)} readers"
        return (
            f"<ChannelGroup {self.name}: {self.size} channels of {', '.join(self.layers)}; {state}>"
        )


def channel_groups(model: keras.Model) -> list[ChannelGroup]:
    """Finds the coupled channels of a model.

    Removing a channel removes the weights that compute it, the weights of normalisations that scale
    it, and the weights that read it. It also removes the channels that are added to it or otherwise
    coupled with it, in other layers. Heads of an attention layer are separate groups.

    Args:
        model: a built `keras.Model`.

    Returns:
        List of `ChannelGroup`, in the order of the model. Groups with `fixed` set are listed too:
        they reach an output of the model or a layer that needs all of its channels.

    Raises:
        ValueError: as `remove_dead_channels`; or two weights have the same path, because layers of
            different nested models have the same name.

    Example:

    >>> groups = surgery.channel_groups(model)
    >>> [(group.layers, group.size) for group in groups if not group.fixed]
    [(("stem", "block1_conv2"), 16), (("block1_conv1",), 16)]
    """
    graph = Graph(model)
    refuse_wrapped_weights(graph)
    rules = None
    while True:
        findings = analyse(graph, rules)
        try:
            groups = _Channels(findings).groups()
        except RuleError as failure:
            rules = failure.rules(findings)
        else:
            _refuse_equal_paths(model, groups)
            return groups


class _Channels:
    """The channels of a graph; each set of coupled channels has one number, its root."""

    def __init__(self, findings):
        self._findings = findings
        numbers, edges, total = number(findings)
        edges += [
            (numbers[value][channels], numbers[other][places])
            for call in findings.calls
            for value, channels, other, places in call.unit.rule.removed_together(call)
        ]
        roots = connect(edges, total)
        self._numbers, self._roots, self.total = numbers, roots, total
        self.of = {value.traced: roots[own] for value, own in numbers.items()}
        self.makers, _ = members(findings, numbers, roots)
        self._axes = {unit: self._axes_of(unit) for unit in findings.units}

    def _axes_of(self, unit):
        try:
            return weight_axes(unit, self.of)
        except Exception as error:
            raise RuleError(unit, error) from error

    def reasons(self):
        """`{root: why its channels cannot be removed}`.

        A trial assumes that some channels are zero, and the analysis finds those of them that stay
        nevertheless. The first trial assumes all channels to be zero. Each further one assumes half
        of them, to also find channels that can only be removed together with a neighbour.
        """
        makers = np.array(sorted(self.makers), int)
        found = {}
        for dead in self._trials(makers):
            for value in _trial(self._findings, self.of, dead, self._axes).values:
                roots = self.of[value.traced]
                for i in np.flatnonzero(value.keep & dead[roots]):
                    found.setdefault(int(roots[i]), str(value.why[i]))
        for unit in self._findings.units:
            if isinstance(unit.rule, Unsupported) and getattr(unit.operation, "weights", None):
                values = [value for port in unit.outputs for value in port.values]
                own = np.concatenate([self.of[value.traced] for value in values])
                found |= dict.fromkeys(own.tolist(), f"{unit.name}: {unit.rule.reason}")
        return found

    def _trials(self, makers, bits=3):
        every = np.zeros(self.total, bool)
        every[makers] = True
        yield every
        place = np.cumsum(every)
        for bit in range(bits):
            for side in (0, 1):
                yield every & ((place >> bit & 1) == side)

    def groups(self):
        """The `ChannelGroup`s."""
        fixed = self.reasons()
        joined = joints(self._findings, self._numbers, self._roots)
        order = {unit.name: i for i, unit in enumerate(self._findings.units)}
        sets = {}
        for root, names in self.makers.items():
            sets.setdefault((tuple(names), root in fixed), []).append(root)
        place, owner = np.full(self.total, -1), np.full(self.total, -1)
        keys = sorted(sets, key=lambda key: ([order[name] for name in key[0]], key[1]))
        for i, key in enumerate(keys):
            owner[sets[key]] = i
            place[sets[key]] = np.arange(len(sets[key]))
        slices = self._slices(owner, place, len(keys))
        activations = self._activations(owner, len(keys))
        names, groups = {}, []
        for i, key in enumerate(keys):
            layers, is_fixed = key
            count = names[layers[0]] = names.get(layers[0], 0) + 1
            groups.append(
                ChannelGroup(
                    name=layers[0] if count == 1 else f"{layers[0]}#{count}",
                    layers=layers,
                    size=len(sets[key]),
                    slices=tuple(slices[i]),
                    joined_by=tuple(
                        sorted({n for r in sets[key] for n in joined.get(r, ())}, key=order.get)
                    ),
                    fixed=fixed[sets[key][0]] if is_fixed else None,
                    activations=tuple(entry for entry, _ in activations[i]),
                    activation_axes=tuple(axis for _, axis in activations[i]),
                )
            )
        return sorted(groups + self._inner(), key=lambda group: order[group.layers[0]])

    def _slices(self, owner, place, count):
        """For each group, its `WeightSlice`s of all weights."""
        slices = [[] for _ in range(count)]
        for unit in self._findings.units:
            for name, axis, reads, roots in self._axes[unit]:
                makes = unit.rule.makes_channels
                role = READER if reads else MEMBER if makes else NORMALIZATION
                known = roots >= 0
                owners = np.where(known, owner[roots], -1)
                for i in np.unique(owners[owners >= 0]):
                    channels = np.where(owners == i, place[roots], -1)
                    slices[i].append(_slice(unit, name, axis, channels, role))
        return slices

    def _activations(self, owner, count):
        """For each group, its `activations` with their axes."""
        activations = [[] for _ in range(count)]
        for place, call in enumerate(self._findings.calls):
            for output, value in enumerate(call.outputs):
                if value.axis is not None:
                    owners = owner[self.of[value.traced]]
                    for i in np.unique(owners[owners >= 0]):
                        entry = place, output, float((owners == i).mean())
                        activations[i].append((entry, value.axis))
        return activations

    def _inner(self):
        """Groups inside layers, such as the heads of attention."""
        groups = []
        for unit in self._findings.units:
            for name, size, axes in unit.rule.inner_channels(unit):
                own = tuple(_slice(unit, *entry, MEMBER) for entry in axes)
                groups.append(ChannelGroup(f"{unit.name}/{name}", (unit.name,), size, own))
        return groups


def _refuse_equal_paths(model, groups):
    """Raises a ValueError if the path of a slice does not say which weight is meant."""
    counts = collections.Counter(weight.path for weight in model.weights)
    for part in (part for group in groups if not group.fixed for part in group.slices):
        if counts[part.path] > 1:
            raise ValueError(
                f"`model` has {counts[part.path]} weights with the path {part.path!r}, because "
                "layers inside others have the same name. Give the model that "
                "`surgery.remove_dead_channels(model)` returns: its paths are different, and its "
                "outputs are the same."
            )


def _slice(unit, name, axis, channels, role):
    path = weights_by_name(unit.operation)[name].path
    return WeightSlice(unit.name, name, path, axis, channels, role)


def _trial(findings, roots, dead, axes):
    """The findings for a graph in which some channels are assumed to be zero."""
    rules = {unit: _Zeroed(rule, roots, dead) for unit, rule in findings.rules.items()}
    trial = Findings(findings.graph, rules)
    for unit, known in zip(trial.units, findings.units, strict=True):
        unit.arrays = known.arrays
        if "reads" in known.notes:
            unit.notes["reads"] = known.notes["reads"]
        if _reads_itself(axes[known]):
            unit.arrays = _zeroed_arrays(known, axes[known], dead)
    _TrialAnalysis(trial).run()
    return trial


class _TrialAnalysis(Analysis):
    """The analysis of a trial."""

    def _try_couplings(self):
        """Does nothing: the analysis of the whole graph has done it."""

    def _keep_one(self, unit):
        """Does nothing: in a trial, a layer may lose all of its channels."""


def _reads_itself(axes):
    """Whether a layer reads its own channels: a weight has them on two axes."""
    own = [name for name, _, reads, _ in axes if not reads]
    return len(set(own)) < len(own)


def _zeroed_arrays(unit, axes, dead):
    """`{name: array}` of the unit's weights, with zeros for the dead channels."""
    arrays = {}
    for name, axis, reads, roots in axes:
        if not reads:
            array = np.moveaxis(arrays.get(name, unit.array(name)).copy(), axis, 0)
            array[(roots >= 0) & dead[roots]] = 0
            arrays[name] = np.moveaxis(array, 0, axis)
    return arrays


class _Zeroed:
    """A layer's rule, with the weights of some channels assumed to be zero."""

    def __init__(self, rule, roots, dead):
        self.rule = rule
        self._roots = roots
        self._dead = dead

    def __getattr__(self, name):
        return getattr(self.rule, name)

    def forward(self, call):
        """The rule's results, with zeros for the channels that are assumed to be zero."""
        results = self.rule.forward(call)
        if isinstance(self.rule, Unsupported) or not getattr(call.operation, "weights", None):
            return results
        zeroed = []
        for value, (axis, constants) in zip(call.outputs, results, strict=True):
            values = constants.values.copy()
            values[:, self._dead[self._roots[value.traced]]] = 0.0
            zeroed.append((axis, dataclasses.replace(constants, values=values)))
        return zeroed

    def resolve(self, unit):
        """Does nothing: channels that a choice would keep are coupled with the others."""
