"""The rule of `TimeDistributed`: it applies the rule of the wrapped layer to every step."""

from dataclasses import replace

import keras

from keras_sparse.surgery.rules.base import (
    Rule,
    Unsupported,
    nothing_known,
    plain_config,
    register_rule,
    rule_for,
)
from keras_sparse.surgery.units import Call, Value


class _Step(Value):
    """A tensor as the wrapped layer sees it: without the time axis."""

    def __init__(self, value):
        self.shape = (value.shape[0], *value.shape[2:])
        self.dtype = value.dtype
        self.producer = value.producer
        self.axis = value.axis
        self.units = ()
        for name in ("constants", "keep", "why"):
            if hasattr(value, name):  # once it has been followed
                setattr(self, name, getattr(value, name))


class _StepUnit:
    """The wrapped layer with the outer unit's ports, weights and notes.

    Axes are counted from the end, so they are the same for both layers.
    """

    def __init__(self, unit, rule=None):
        self._unit = unit
        self.operation = unit.operation.layer
        self.rule = rule

    def __getattr__(self, name):
        return getattr(self._unit, name)

    @property
    def calls(self):
        """The outer calls, each without the time axis."""
        return [self.step(call) for call in self._unit.calls]

    def step(self, call):
        """One call without the time axis."""
        step = Call(self.operation, (_Step(call.inputs[0]),), {})
        step.outputs = [_Step(value) for value in call.outputs]
        step.unit = self
        step.masked, step.takes_masks = call.masked, call.takes_masks
        return step


@register_rule(keras.layers.TimeDistributed)
class TimeDistributedRule(Rule):
    """Finds the rule of the wrapped layer."""

    def for_unit(self, unit):
        """The rule for each step, with one input and one output; `Unsupported` if there is none."""
        layer = unit.operation.layer
        if any(call.kwargs.get("training") is True for call in unit.calls):
            return Unsupported("is called with training=True")
        rule = rule_for(_StepUnit(unit))
        if isinstance(rule, Unsupported):
            return Unsupported(rule.reason)
        config = layer.get_config()
        if config.get("data_format") == "channels_first" or config.get("axis", -1) != -1:
            return Unsupported("has channels on another axis than the last")
        plain = rule.arity == 1 and type(rule).apply is Rule.apply
        return StepRule(rule) if plain else Unsupported(f"has no rule for {type(layer).__name__}")


class StepRule(Rule):
    """The wrapped layer's rule at each step. All steps share the layer and its kept channels."""

    def __init__(self, inner):
        self._inner = inner
        self.makes_channels = inner.makes_channels

    def _along_steps(self, call):
        """Whether the followed axis is the time axis."""
        source = call.inputs[0]
        return source.axis == 1 - len(source.shape)

    def _unit(self, unit):
        return _StepUnit(unit, self._inner)

    def forward(self, call):
        if self._along_steps(call):
            return nothing_known(call)
        step, (source,) = self._unit(call.unit).step(call), call.inputs
        # A step has only some of the positions; the output has all of them again.
        step.inputs[0].constants = one = source.constants.sampled("steps")
        results = self._inner.forward(step)
        return [
            (axis, replace(found, profile=source.constants.profile))
            if found.profile == one.profile
            else (axis, found)
            for axis, found in results
        ]

    def needs(self, unit):
        if not self._along_steps(unit.calls[0]):
            self._inner.needs(self._unit(unit))
        elif unit.alive:
            for port in unit.inputs[:1] + unit.outputs:
                port.need_all(f"{unit.name} works step by step")

    def resolve(self, unit):
        self._inner.resolve(self._unit(unit))

    def coupled_channels(self, call):
        """The couplings of the inner layer, between the whole tensors."""
        if self._along_steps(call):
            return []
        pairs = self._inner.coupled_channels(self._unit(call.unit).step(call))
        return [(call.inputs[0], channels, call.outputs[0], own) for _, channels, _, own in pairs]

    def config(self, unit):
        """The outer config with the inner layer's new config."""
        config = plain_config(unit)
        config["layer"].pop("build_config", None)
        config["layer"]["config"] = self._inner.config(self._unit(unit))
        return config

    def slices(self, unit):
        """The slices of the inner layer; the outer one has no other weights."""
        return self._inner.slices(self._unit(unit))

    def fold(self, unit, weights):
        self._inner.fold(self._unit(unit), weights)

    def macs(self, call):
        return self._inner.macs(self._unit(call.unit).step(call)) * (call.inputs[0].shape[1] or 1)
