"""Image data sets, checked and normalised, and their augmentation."""

from keras_sparse.data.augmentation import crop_and_flip
from keras_sparse.data.batches import Batches
from keras_sparse.data.datasets import DATASETS, Dataset, load
from keras_sparse.data.image_folder import ImageFolder
from keras_sparse.data.image_stream import ImageStream
from keras_sparse.data.tensorflow_datasets import TensorFlowDataset

__all__ = [
    "DATASETS",
    "Batches",
    "Dataset",
    "ImageFolder",
    "ImageStream",
    "TensorFlowDataset",
    "crop_and_flip",
    "load",
]
