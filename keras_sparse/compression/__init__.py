"""Turns a trained model into a compact model that meets a budget."""

from keras_sparse.compression.allocation import BudgetError
from keras_sparse.compression.budget import Budget
from keras_sparse.compression.compressing import Compressed, compress
from keras_sparse.compression.cost import CostModel
from keras_sparse.compression.importance import GroupNorm, Importance, Random, Taylor
from keras_sparse.compression.planning import Plan, plan
from keras_sparse.compression.schedules import Growing, Iterative
from keras_sparse.compression.scratch import reinitialized

__all__ = [
    "Budget",
    "BudgetError",
    "Compressed",
    "CostModel",
    "GroupNorm",
    "Growing",
    "Importance",
    "Iterative",
    "Plan",
    "Random",
    "Taylor",
    "compress",
    "plan",
    "reinitialized",
]
