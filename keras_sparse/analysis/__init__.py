"""What a training run looked like."""

from keras_sparse.analysis.plots import plot_history

__all__ = ["plot_history"]
