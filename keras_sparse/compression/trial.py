"""Computes the loss of a model without some of its channels, before they are removed."""

import contextlib

import keras

from keras_sparse.compression.data import first_batches
from keras_sparse.compression.probe import loss_arguments, probe_model, unchanged
from keras_sparse.surgery.functional import functional
from keras_sparse.surgery.group_zeroing import finalize_normalizations, zero_slices
from keras_sparse.variables import layers_of_type

# Batches on which candidates are compared.
TRIAL_BATCHES = 20
# Batch normalisation replaces its statistics within this many batches.
_BATCHES = 20
_MOMENTUM = 0.8


class _Frozen(keras.optimizers.Optimizer):
    """An optimizer that changes no weights; only statistics of batch normalisation change."""

    def __init__(self):
        super().__init__(learning_rate=0.0, name="frozen")

    def update_step(self, gradient, variable, learning_rate):
        """Does nothing."""


class _InTraining(keras.Model):
    """Computes as in training, where batch normalisation uses the statistics of the batch."""

    def __init__(self, graph):
        super().__init__(name=graph.name)
        self.graph = graph
        # The names in a dict of losses or targets.
        self.output_names = graph.output_names

    def call(self, inputs):
        """The outputs of the graph."""
        return self.graph(inputs, training=True)


class Trial:
    """Sets channels of a model to zero temporarily, and evaluates it.

    Batch normalisation uses the statistics of each batch, because its moving averages belong to the
    model with all channels.

    Args:
        model: a compiled `keras.Model`; each trial restores it.
        data: training data, see `compress`. Its first batches are read once, for all trials.
        batch_size: int, for arrays.
    """

    def __init__(self, model, data, batch_size=64):
        self._probe = _InTraining(functional(model))
        self._probe.compile(**loss_arguments(model))
        self._batches = first_batches(data, TRIAL_BATCHES, batch_size)
        self._weights = {weight.path: weight for weight in model.weights}

    def loss(self, masks):
        """The loss on training data without the channels of `{group: bool array}`."""
        try:
            with unchanged(self._probe.graph):
                zero_slices(masks, self._weights)
                finalize_normalizations(self._probe.graph)
                return self._probe.evaluate(**self._batches, verbose=0, return_dict=True)["loss"]
        finally:
            finalize_normalizations(self._probe.graph)


def recalibrate(model, data, batch_size=64):
    """Computes the statistics of batch normalisation again, after channels were removed.

    Args:
        model: a compiled `keras.Model`; its moving averages change.
        data: training data, see `compress`.
        batch_size: int, for arrays.
    """
    if layers_of_type(model, keras.layers.BatchNormalization):
        with _forgetting(model):
            batches = first_batches(data, _BATCHES, batch_size)
            probe_model(model, _Frozen()).fit(**batches, shuffle=False, verbose=0)


@contextlib.contextmanager
def _forgetting(model):
    """Lowers the momentum in the block, so that moving averages follow the last batches."""
    norms = layers_of_type(model, keras.layers.BatchNormalization)
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = min(layer.momentum, _MOMENTUM)
    try:
        yield
    finally:
        for layer, momentum in zip(norms, momenta, strict=True):
            layer.momentum = momentum
