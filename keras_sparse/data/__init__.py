"""Image data sets, checked and normalised, and how they are varied."""

from keras_sparse.data.augmentation import crop_and_flip
from keras_sparse.data.batches import Batches
from keras_sparse.data.datasets import DATASETS, Dataset, load

__all__ = ["DATASETS", "Batches", "Dataset", "crop_and_flip", "load"]
