"""Train sparse networks in Keras, remove dead channels, and export the compact model."""

from keras_sparse import (
    analysis,
    callbacks,
    channels,
    compression,
    data,
    loading,
    masks,
    models,
    optimizers,
    regularizers,
    shrinking,
    surgery,
)
from keras_sparse.compression import compress, plan
from keras_sparse.initializers import ScaledUniform
from keras_sparse.masks import (
    ConstantSchedule,
    CosineSchedule,
    CubicSchedule,
    InverseTimeSchedule,
    LinearSchedule,
    OneShotSchedule,
)
from keras_sparse.optimizers import *  # noqa: F403 the classes of `optimizers.__all__`
from keras_sparse.shrinking import ShrinkingTrainer
from keras_sparse.surgery import output_layers
from keras_sparse.variables import layers_of_type, prunable_variables, sparsity

__version__ = "0.1.0"

__all__ = [  # noqa: PLE0604 names all the same
    *optimizers.__all__,
    "ConstantSchedule",
    "CosineSchedule",
    "CubicSchedule",
    "InverseTimeSchedule",
    "LinearSchedule",
    "OneShotSchedule",
    "ScaledUniform",
    "ShrinkingTrainer",
    "analysis",
    "callbacks",
    "channels",
    "compress",
    "compression",
    "data",
    "layers_of_type",
    "loading",
    "masks",
    "models",
    "optimizers",
    "output_layers",
    "plan",
    "prunable_variables",
    "regularizers",
    "shrinking",
    "sparsity",
    "surgery",
]
