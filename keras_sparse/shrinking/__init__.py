"""Training that cuts out the channels that die on the way, and goes on with what is left."""

from keras_sparse.shrinking.estimate import Estimate
from keras_sparse.shrinking.trainer import Shrink, ShrinkingTrainer

__all__ = ["Estimate", "Shrink", "ShrinkingTrainer"]
