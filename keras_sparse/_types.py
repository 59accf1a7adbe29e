"""Types in public signatures."""

import os
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import keras

from keras_sparse.masks.schedules import Schedule

Groups: TypeAlias = Literal["weight", "channel"]
LearningRate: TypeAlias = (
    float | keras.optimizers.schedules.LearningRateSchedule | Callable[[], Any]
)
# A number that may follow a schedule over the steps: a prune rate or a sparsity.
Share: TypeAlias = float | Schedule
# The number of steps between updates of masks; None for `update_masks()` only.
UpdateEvery: TypeAlias = int | Literal["epoch"] | None
_Excluded: TypeAlias = str | keras.Layer | keras.Variable
Exclude: TypeAlias = _Excluded | Sequence[_Excluded]
# Layers of a model, or their names.
Layers: TypeAlias = str | keras.Layer | Sequence[str | keras.Layer] | None
Path: TypeAlias = str | os.PathLike[str]
# Arrays, nested as a model's inputs are, or True for random ones, or False.
Verify: TypeAlias = bool | Any
