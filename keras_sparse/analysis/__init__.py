"""Plots of a training run, and measures of its sparsity."""

from keras_sparse.analysis.channels import plot_by_layer, plot_channel_scores, plot_dead_channels
from keras_sparse.analysis.masks import mask_overlap, plot_mask_overlap
from keras_sparse.analysis.plots import plot_history
from keras_sparse.analysis.responses import Specialization, class_specialization, selectivity
from keras_sparse.analysis.speedups import LayerTime, Speedup, speedup

__all__ = [
    "LayerTime",
    "Specialization",
    "Speedup",
    "class_specialization",
    "mask_overlap",
    "plot_by_layer",
    "plot_channel_scores",
    "plot_dead_channels",
    "plot_history",
    "plot_mask_overlap",
    "selectivity",
    "speedup",
]
