"""The networks of the papers, as functions that return functional Keras models."""

from keras_sparse.models.lenet import lenet_5, lenet_300_100
from keras_sparse.models.small_cnn import small_cnn

__all__ = ["lenet_5", "lenet_300_100", "small_cnn"]
