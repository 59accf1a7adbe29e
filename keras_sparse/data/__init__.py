"""Image data sets, checked and normalised."""

from keras_sparse.data.datasets import DATASETS, Dataset, load

__all__ = ["DATASETS", "Dataset", "load"]
