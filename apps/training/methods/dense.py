"""Keras' own optimizers."""

import dataclasses

from apps.training.methods.method import Method
from apps.training.settings import again, not_negative, part, switch


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Dense(Method):
    learning_rate: float = again(Method, "learning_rate", 1e-3)
    weight_decay: float | None = not_negative(
        "Decoupled decay, by the learning rate times this a step; --l2 is in the gradient."
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SGD(_Dense):
    """`keras.optimizers.SGD`."""

    flag = "sgd"
    learning_rate: float = again(Method, "learning_rate", 0.01)
    momentum: float = part("Momentum; with Adam inside masks its first decay rate.", 0.0)
    nesterov: bool = switch("Nesterov momentum.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adam(_Dense):
    """`keras.optimizers.Adam`."""

    flag = "adam"
    amsgrad: bool = switch("The AMSGrad variant.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """`keras.optimizers.AdamW`."""

    flag = "adamw"
    weight_decay: float | None = again(_Dense, "weight_decay", 0.004)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RMSprop(_Dense):
    """`keras.optimizers.RMSprop`."""

    flag = "rmsprop"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adagrad(_Dense):
    """`keras.optimizers.Adagrad`."""

    flag = "adagrad"
