"""Which weights a network has: schedules, budgets by layer, and the engine that chooses them.

A method with masks has three parts. The engine (`packing`, `selection`, `allocation`, `digits`,
`scores`, `backend`) chooses exact numbers of weights in all layers at once. The method, a class of
`keras_sparse.optimizers`, says by which scores and how many. The step trains what is inside the
masks by any optimizer of Keras.
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
