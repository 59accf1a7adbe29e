"""The optimizer inside the masks: any Keras optimizer, run by the optimizer with masks."""

import keras
from keras import ops

from keras_sparse import _keras
from keras_sparse.masks.backend import has_value, value_outside_trace

# Default rates of the optimizers that are made by name; they train small networks with and without
# normalisation.
LEARNING_RATES = {"adam": 3e-3, "sgd": 0.03}
# Arguments of the inner optimizer that the optimizer with masks applies itself.
_SHARED = (
    *("weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "loss_scale_factor"),
    *("use_ema", "ema_overwrite_frequency", "gradient_accumulation_steps"),
)


def known_name(inner):
    """`"sgd"` or `"adam"` for its name in any case, as in Keras; None for any other `inner`."""
    name = inner.lower() if isinstance(inner, str) else None
    return name if name in LEARNING_RATES else None


def make(inner, momentum, nesterov):
    """Make the optimizer that the argument `inner` describes.

    Args:
        inner: a name, a `keras.optimizers.Optimizer`, or its config as a dict.
        momentum: float, for `"sgd"`; also the first decay rate of `"adam"`; else None.
        nesterov: bool, for `"sgd"`; else None.

    Raises:
        ValueError: no optimizer, or one that cannot run inside masks; a momentum for an optimizer
            that has its own.
    """
    if inner == "sgd":
        return keras.optimizers.SGD(momentum=float(momentum), nesterov=nesterov)
    if inner == "adam":
        return keras.optimizers.Adam(beta_1=float(momentum))
    try:
        # `keras.optimizers.get` does not accept the config of every Keras optimizer.
        is_config = isinstance(inner, dict) and "class_name" in inner
        deserialize = keras.saving.deserialize_keras_object
        optimizer = deserialize(inner) if is_config else keras.optimizers.get(inner)
        if not isinstance(optimizer, keras.optimizers.Optimizer):
            raise TypeError(f"it is a {type(optimizer).__name__}")
    except (TypeError, ValueError) as error:
        raise ValueError(
            "`inner` must be the name of an optimizer of Keras, or a `keras.optimizers.Optimizer`. "
            f"Received: inner={inner!r}"
        ) from error
    if momentum is not None or nesterov is not None:
        raise ValueError(
            "`momentum` and `nesterov` are for inner='sgd' and inner='adam'. Give them to the "
            f"optimizer itself: inner=keras.optimizers.{type(optimizer).__name__}(...). "
            f"Received: inner={inner!r}, momentum={momentum}, nesterov={nesterov}"
        )
    if any(hasattr(type(optimizer), name) for name in ("masks", "thresholded_variables")):
        raise ValueError(
            f"`inner` must be a dense optimizer; {type(optimizer).__name__} makes weights zero by "
            f"itself. Received: inner={inner!r}"
        )
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) or hasattr(
        optimizer, "optimizers"
    ):
        raise ValueError(
            f"`inner` must be a single optimizer, not one around others: {type(optimizer).__name__}"
            f" goes around the optimizer with masks. Received: inner={inner!r}"
        )
    if isinstance(optimizer, keras.optimizers.Nadam) and keras.backend.backend() == "torch":
        raise ValueError(
            "`inner` cannot be Nadam on PyTorch, where its step is for all variables at once. Use "
            f"Adam. Received: inner={inner!r}"
        )
    _check_new(optimizer)
    return optimizer


def _check_new(optimizer):
    if optimizer.built:
        raise ValueError(
            "`inner` is built already, for the variables of another training. Give a new one. "
            f"Received: inner={optimizer!r}"
        )


def learning_rate_of(inner, optimizer):
    """The learning rate if only `inner` is given."""
    if known_name(inner):
        return LEARNING_RATES[inner]
    rate = _keras.learning_rate(optimizer)
    return rate if callable(rate) else float(ops.convert_to_numpy(rate))


def shared_arguments(optimizer, arguments):
    """`arguments` for the optimizer with masks, plus the arguments of the inner optimizer."""
    found = dict(arguments)
    for name in _SHARED:
        if found.get(name) is None:
            found[name] = getattr(optimizer, name)
    if optimizer.use_ema:
        found.setdefault("ema_momentum", optimizer.ema_momentum)
    return {name: value for name, value in found.items() if value is not None}


class InnerStep:
    """The update step of an optimizer, with the step count and the learning rate of another.

    Args:
        optimizer: the inner optimizer, not built.
        outer: the optimizer with masks; it clips, accumulates and averages.
    """

    def __init__(self, optimizer, outer):
        self.optimizer = optimizer
        self._outer = outer
        optimizer.use_ema = False
        optimizer.gradient_accumulation_steps = None
        self.slots = []
        self.starts = []

    def build(self, variables):
        """Create the state as a part of the outer optimizer's state.

        The slots are ordered by kind, as in saved files.
        """
        optimizer = self.optimizer
        _check_new(optimizer)  # another optimizer may have the same one inside
        # The step count and the learning rate of the outer optimizer replace its own.
        others = optimizer.variables
        _keras.share_steps(optimizer, self._outer)
        others += optimizer.variables
        optimizer.build(variables)
        optimizer.gradient_accumulation_steps = self._outer.gradient_accumulation_steps
        self.slots = list(_keras.slots(optimizer).values())
        self.starts = [_start(slots) for slots in self.slots]
        found = [v for slots in self.slots for v in slots if v is not None]
        known = {id(v) for v in (*others, *found)}
        found += [v for v in optimizer.variables if id(v) not in known]
        _keras.adopt_variables(self._outer, found)
        self._check_precision(variables)

    def _check_precision(self, variables):
        """Refuse bfloat16 for Adam: it rounds 0.999 to 1, and weights would not change."""
        beta_2 = getattr(self.optimizer, "beta_2", None)
        dtypes = {keras.backend.standardize_dtype(v.dtype) for v in variables}
        if beta_2 is not None and "bfloat16" in dtypes and round(beta_2 * 256) == 256:
            raise ValueError(
                f"In variables of bfloat16 {type(self.optimizer).__name__} changes no weight: its "
                f"decay rate {beta_2} is 1 there. Give `inner='sgd'`, or keep variables in float32 "
                "by the policy 'mixed_bfloat16'."
            )

    def named(self, name):
        """The slots of one name: a list by variable with None where missing; `[]` without any."""
        for slots in self.slots:
            if any(slot is not None and slot.name.endswith(f"_{name}") for slot in slots):
                return slots
        return []

    def of(self, index):
        """The slots of one variable, a list."""
        return [slots[index] for slots in self.slots if slots[index] is not None]

    def starts_of(self, index):
        """The number with which each slot of a variable is filled at first, a list."""
        pairs = zip(self.slots, self.starts, strict=True)
        return [start for slots, start in pairs if slots[index] is not None]

    def begin(self, learning_rate):
        """Do what the optimizer does once a step, before the first variable."""
        _keras.step_without_variables(self.optimizer, learning_rate)

    def update(self, gradient, variable, learning_rate):
        """Update one variable and its slots."""
        self.optimizer.update_step(gradient, variable, learning_rate)

    def decay(self, variables):
        """Decay weights, with the rates of the outer optimizer."""
        self.optimizer.weight_decay = self._outer.weight_decay
        _keras.share_steps(self.optimizer, self._outer)
        _keras.decay_weights(self.optimizer, variables)


def _start(slots):
    """The number with which new slots of one kind are filled; 0.0 for more than one number.

    Ftrl divides by its accumulator, so it begins above zero, also for a weight that grows.
    """
    values = [value_outside_trace(slot) for slot in slots if slot is not None and has_value(slot)]
    found = {float(edge) for v in values if v.size for edge in (v.min(), v.max())}
    return found.pop() if len(found) == 1 else 0.0
