"""The base class of rules, their registry, and helpers."""

import copy
import math
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import keras
import numpy as np

from keras_sparse import _renamed
from keras_sparse.surgery.constants import Constants

if TYPE_CHECKING:
    from keras_sparse.surgery.units import Call, Unit

_R = TypeVar("_R", bound="Rule")

_RULES: dict[Any, "Rule"] = {}

_OLD_METHODS = {
    "coupled": "removed_together",
    "settle": "resolve",
    "ties": "coupled_channels",
}


def register_rule(*layer_types: type | str) -> Callable[[type[_R]], type[_R]]:
    """Class decorator: registers a rule for layers.

    A rule is looked up by the exact type of the layer: a subclass may compute something else, so
    it needs its own registration. A later registration replaces an earlier one.

    Args:
        layer_types: subclasses of `keras.Layer`; names of classes that Keras does not export, such
            as those of `keras.ops` operations (`"Relu6"`); or names with modules, to register a
            class without importing it (`"package.module.MyLayer"`).

    Returns:
        A decorator for a subclass of `Rule`.

    Raises:
        ValueError: a layer type is neither a class nor a string, or the decorated class is not a
            rule.

    Example:

    >>> @surgery.register_rule(ChannelScale)
    ... class ChannelScaleRule(surgery.Elementwise):
    ...     channel_weights = ("scale",)
    """
    for layer_type in layer_types:
        if not isinstance(layer_type, (type, str)):
            raise ValueError(
                "`register_rule` takes layer classes, or names of `keras.ops` classes. "
                f"Received: {layer_type!r}"
            )

    def decorate(rule):
        if not (isinstance(rule, type) and issubclass(rule, Rule)):
            raise ValueError(f"A rule must be a subclass of `surgery.Rule`. Received: {rule!r}")
        for layer_type in layer_types:
            _RULES[layer_type] = rule()
        return rule

    return decorate


def registered(operation):
    """The rule registered for the class of a layer or operation, None if there is none."""
    kind = type(operation)
    rule = _RULES.get(kind) or _RULES.get(f"{kind.__module__}.{kind.__qualname__}")
    if rule is None and kind.__module__.startswith("keras."):
        rule = _RULES.get(kind.__name__)
    return rule


def rule_for(unit):
    """The rule of a unit; `Unsupported` with the reason if no rule applies."""
    rule = registered(unit.operation)
    if rule is None:
        closed = f", and {unit.closed}" if unit.closed else ""
        kind = type(unit.operation)
        own = not kind.__module__.startswith("keras.")
        hint = " (surgery.register_rule adds one)" if own else ""
        return Unsupported(f"{kind.__name__} has no rule{hint}{closed}")
    try:
        rule = rule.for_unit(unit)
        refusal = _refusal(rule, unit)
    except Exception as error:
        return failed(unit, error)
    return Unsupported(refusal, rule) if refusal else rule


def _refusal(rule, unit):
    if len({len(call.inputs) for call in unit.calls}) > 1:
        return "is called with different numbers of tensors"
    if not all(call.args for call in unit.calls):
        return "is called by keyword arguments only"
    return next(filter(None, map(rule.refuses, unit.calls)), None)


def failed(unit, error):
    """Replaces a rule that raised an error, so that it does not stop the others."""
    reason = f"its rule raised {type(error).__name__}: {error}"
    warnings.warn(f"{unit.name} is left whole: {reason}", stacklevel=2)
    return Unsupported(reason)


class Rule:
    """How channels are removed from one kind of layer.

    First, constants are propagated forward, call by call. Then, needed channels are propagated
    backward, unit by unit; their number only grows. Finally, the layer is made again with sliced
    weights, and the constants of removed channels are folded into them.
    """

    # Number of inputs that are data; others, such as masks, are always kept whole. None: all.
    arity: int | None = 1
    # Whether a layer with weights computes new channels, rather than only scales those it reads.
    makes_channels = True
    # Whether the layer is an elementwise function.
    entrywise = False
    # Whether the rule is for layers of layers that cannot be opened. Others are opened instead.
    if_closed = False
    # Whether the layer pads positions, as `Padding` describes.
    pads = False
    # Whether no model can contain the layer itself, so that `remake` returns another one.
    stands_in = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _renamed.methods(cls, _OLD_METHODS)

    def for_unit(self, unit: "Unit") -> "Rule":
        """The rule to use for this unit: this rule, or a more special one."""
        return self

    def refuses(self, call: "Call") -> str | None:
        """The reason why this call requires all channels of the layer; None if it does not."""
        return None

    def forward(self, call: "Call") -> list[tuple[int | None, Constants]]:
        """Finds the channel axes and constants of the outputs from those of the inputs.

        Args:
            call: a `Call` with followed inputs.

        Returns:
            A list with an `(axis, Constants)` for each output.
        """
        raise NotImplementedError

    def needs(self, unit: "Unit") -> None:
        """Marks channels as needed that follow from the needed channels of the unit's other ports.

        `Coupled` derives them from the `coupled_channels` of inputs and outputs.
        """
        raise NotImplementedError

    def coupled_channels(self, call: "Call") -> list[tuple]:
        """Which channels of inputs and outputs are coupled, so kept or removed together.

        Args:
            call: a `Call` with followed tensors.

        Returns:
            List of `(input, channels, output, channels)`, with two arrays of indices each.
        """
        return []

    def removed_together(self, call: "Call") -> list[tuple]:
        """Which channels can only be removed together, besides the `coupled_channels`.

        Returns:
            List of `(tensor, channels, tensor, channels)`, as `coupled_channels`; the tensors are
            any of the call's inputs and outputs.
        """
        return []

    def summed_axis(self, call: "Call", value: Any) -> int | None:
        """The axis of an input that a product sums over, if it sums over channels of another."""
        return None

    def inner_channels(self, unit: "Unit") -> list[tuple]:
        """Sets of channels inside the layer that can be removed one by one: attention heads.

        Returns:
            List of `(name, size, axes)`; `axes` is a list of `(weight name, axis, channels)`;
            `channels` has the channel of each index along the axis.
        """
        return []

    def resolve(self, unit: "Unit") -> None:
        """Makes choices that `needs` left open, after no other channel becomes needed."""

    def optional_inputs(self, unit: "Unit") -> Sequence[int]:
        """Indices of the inputs that may lose all of their channels."""
        return ()

    def config(self, unit: "Unit") -> dict[str, Any]:
        """The config of the smaller layer."""
        return unit.operation.get_config()

    def slices(self, unit: "Unit") -> dict[str, Any]:
        """How the smaller layer's weights are sliced from the larger's.

        Returns:
            `{weight name: slice}`; a slice has an array of indices for each axis, or None for an
            axis that is kept whole; or it is a function from array to array. Weights without an
            entry do not change.
        """
        return {}

    def fold(self, unit: "Unit", weights: dict[str, np.ndarray]) -> None:
        """Adds the constants of removed channels to `weights`, the sliced arrays, in place."""

    def apply(self, call: "Call", make: Callable[[], Any], read: Callable[[Any], Any]) -> Any:
        """Calls the smaller layer.

        Args:
            call: the call in the large model.
            make: function without arguments that returns the smaller layer.
            read: function from a `Value` to its tensor in the compact model.

        Returns:
            The output tensor or tensors.
        """
        args, kwargs = call.arguments(read)
        return make()(*args, **kwargs)

    def macs(self, call: "Call") -> int:
        """Multiply-accumulates of one call at batch size 1."""
        return 0


_renamed.methods(Rule, _OLD_METHODS)


class Unsupported(Rule):
    """Keeps all channels of a layer that has no rule, or from which none can be removed."""

    arity = None

    def __init__(self, reason: str = "mixes channels", rule: Rule | None = None) -> None:
        self.reason = reason
        self._rule = rule

    def forward(self, call):
        """All outputs are unknown."""
        return nothing_known(call)

    def needs(self, unit):
        """If any channel is needed, all are."""
        if unit.alive:
            for port in unit.inputs + unit.outputs:
                port.need_all(f"{unit.name}: {self.reason}")

    def macs(self, call):
        """Counts as the replaced rule does."""
        return self._rule.macs(call) if self._rule else 0


class AtInference(Unsupported):
    """Opens a layer of layers as it is at inference.

    Use it for a layer with a `call` that differs in training. If channels inside are removed, the
    compact model computes the same in training as at inference.

    Example:

    >>> surgery.register_rule(MyBlock)(surgery.AtInference)
    """

    if_closed = True


def to_numbers(tensor):
    """A tensor as float64, with NaN for complex entries."""
    array = keras.ops.convert_to_numpy(tensor)
    if np.iscomplexobj(array):
        array = np.where(array.imag == 0, array.real, np.nan)
    return array.astype(np.float64)


def nothing_known(call):
    """The result of `Rule.forward` if nothing is known about the outputs."""
    return [(default_axis(v), Constants.unknown(default_size(v))) for v in call.outputs]


def reasons_behind(source, target, lost, of, at):
    """Why channels of a source are needed that are coupled to channels of a target.

    Args:
        source, target: ports.
        lost: the reason to give if the source channel is constant but the target channel is not.
        of, at: indices of the coupled channels in the source and in the target.

    Returns:
        An array with a reason for each pair: `lost`, that the constant depends on the position, or
        the reason of the target channel.
    """
    name, constants = target.unit.name, source.constants
    varies = np.isnan(constants.uniform[of])
    lost = np.where(varies, "its constant depends on the position", lost)
    lost = np.char.add(f"{name}: ", lost)
    return np.where(constants.known[of] & ~target.constants.known[at], lost, target.why[at])


def in_step(call):
    """Couples data inputs, channel by channel, to an output with as many channels."""
    (target, *_), arity = call.outputs, call.unit.rule.arity
    every = np.arange(len(target.keep))
    alike = [value for value in call.inputs[:arity] if len(value.keep) == len(target.keep)]
    return [(value, every, target, every) for value in alike]


def default_axis(value):
    """The default channel axis: the last axis, if its size is known."""
    return -1 if len(value.shape) > 1 and value.shape[-1] is not None else None


def default_size(value):
    """Number of channels on the default axis."""
    return 1 if default_axis(value) is None else value.shape[-1]


def channel_axis(data_format, rank):
    """The channel axis, counted from the end, of a tensor with `rank` axes."""
    return -1 if data_format == "channels_last" else 1 - rank


def entries_of(array):
    """The number of entries of an array, of a tensor of any backend or of a number."""
    return math.prod(np.shape(array))  # `np.size` fails for tensors of PyTorch


def part_of(entries, kept):
    """The kept entries of a list or array of a layer's config; a single entry is unchanged.

    An array stays an array: Keras rounds the numbers of a list to float32, but not those of arrays.
    """
    if np.size(entries) == 1:
        return entries
    part = np.asarray(entries)[..., kept]
    return part if isinstance(entries, np.ndarray) else part.tolist()


def positions(shape, axis=None):
    """Number of positions for one sample and channel; unknown sizes count as one."""
    sizes = [size or 1 for size in shape]
    if axis is not None:
        sizes[axis] = 1
    return int(np.prod(sizes[1:], dtype=np.int64))


def plain_config(unit):
    """A copy of the layer's config that may be edited."""
    return copy.deepcopy(unit.operation.get_config())
