"""Reading model files, including files of Keras 2 that Keras 3 refuses or misreads."""

from keras_sparse.loading.files import load_model

__all__ = ["load_model"]
