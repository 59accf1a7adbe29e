"""Train sparse networks in Keras, cut out what died, and ship what is left."""

from keras_sparse import callbacks, channels, surgery
from keras_sparse.initializers import ScaledUniform
from keras_sparse.optimizers import GRDA, RDA, InverseSqrtDecay, ProxSGD
from keras_sparse.variables import layers_of_type, prunable_variables, sparsity

__version__ = "0.1.0"

__all__ = [
    "GRDA",
    "RDA",
    "InverseSqrtDecay",
    "ProxSGD",
    "ScaledUniform",
    "callbacks",
    "channels",
    "layers_of_type",
    "prunable_variables",
    "sparsity",
    "surgery",
]
