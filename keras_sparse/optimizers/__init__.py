"""Optimizers that train sparse networks: `model.compile(optimizer=RDA())`."""

from keras_sparse.optimizers.grda import GRDA
from keras_sparse.optimizers.prox_sgd import InverseSqrtDecay, ProxSGD
from keras_sparse.optimizers.rda import RDA

__all__ = ["GRDA", "RDA", "InverseSqrtDecay", "ProxSGD"]
