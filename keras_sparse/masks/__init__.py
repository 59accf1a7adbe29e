"""Masks of weights: schedules, budgets by layer, and the engine that chooses weights.

A method with masks has three parts. The engine (`packing`, `selection`, `allocation`, `digits`,
`scores`, `backend`) chooses exact numbers of weights in all layers at once. The method, a class of
`keras_sparse.optimizers`, defines the scores and the numbers. The step trains the weights inside
the masks with any optimizer of Keras.
"""

from keras_sparse.masks.distributions import layer_budgets
from keras_sparse.masks.schedules import (
    ConstantSchedule,
    CosineSchedule,
    CubicSchedule,
    InverseTimeSchedule,
    LinearSchedule,
    OneShotSchedule,
    Schedule,
)

__all__ = [
    "ConstantSchedule",
    "CosineSchedule",
    "CubicSchedule",
    "InverseTimeSchedule",
    "LinearSchedule",
    "OneShotSchedule",
    "Schedule",
    "layer_budgets",
]
