"""Training that removes channels as they die, and continues with the compact model."""

from keras_sparse.shrinking.estimate import Estimate
from keras_sparse.shrinking.trainer import Shrink, ShrinkingTrainer

__all__ = ["Estimate", "Shrink", "ShrinkingTrainer"]
