"""Reading model files, also those that Keras 2 wrote and Keras 3 refuses or misreads."""

from keras_sparse.loading.files import load_model

__all__ = ["load_model"]
