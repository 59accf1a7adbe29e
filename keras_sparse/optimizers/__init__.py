"""Optimizers that train sparse networks: `model.compile(optimizer=RDA())`."""

from keras_sparse.optimizers.accumulated_rda import AccumulatedRDA
from keras_sparse.optimizers.deep_r import DeepR
from keras_sparse.optimizers.dpf import DPF
from keras_sparse.optimizers.dsr import DSR
from keras_sparse.optimizers.grda import GRDA
from keras_sparse.optimizers.magnitude_pruning import MagnitudePruning
from keras_sparse.optimizers.prox_sgd import InverseSqrtDecay, ProxSGD
from keras_sparse.optimizers.published_rda import PublishedRDA, PublishedRDAToTarget
from keras_sparse.optimizers.rda import RDA
from keras_sparse.optimizers.rigl import RigL
from keras_sparse.optimizers.set import SET
from keras_sparse.optimizers.snip import SNIP
from keras_sparse.optimizers.sparse_momentum import SparseMomentum
from keras_sparse.optimizers.static_sparse import StaticSparse

__all__ = [
    "DPF",
    "DSR",
    "GRDA",
    "RDA",
    "SET",
    "SNIP",
    "AccumulatedRDA",
    "DeepR",
    "InverseSqrtDecay",
    "MagnitudePruning",
    "ProxSGD",
    "PublishedRDA",
    "PublishedRDAToTarget",
    "RigL",
    "SparseMomentum",
    "StaticSparse",
]
