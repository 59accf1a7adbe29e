"""Common parts of the tables on removing channels: methods at several strengths."""

import pathlib
import tempfile

import keras
import numpy as np

import keras_sparse
from apps.reproduction import training
from apps.reproduction.table import Column, Row
from keras_sparse import channels, regularizers, surgery
from keras_sparse.variables import copied, layers_of_type

# A channel is removed if its size is at most this share of the layer's largest channel.
NEGLIGIBLE = 1e-2
COLUMNS = {
    "accuracy": Column("test accuracy, %"),
    "whole": Column("before the cut, %"),
    "channels": Column("channels left, %", ".1f"),
    "parameters": Column("parameters", ",.0f"),
    "macs": Column("MACs, thousands", ",.0f"),
    "latency": Column("latency, ms", ".4f"),
}
ADAM_L2, GROUP_LASSO, COMBINED, SLIMMING, RDA, FILTER_NORM = METHODS = (
    "Adam + L2",
    "group lasso",
    "group and exclusive",
    "network slimming",
    "RDA by channel",
    "filter norm, fine-tuned",
)
_CLASSIFIER = "logits"
# One in so many epochs is for fine-tuning.
_FINE_TUNING = 3
_VERIFIED = 100

REFERENCE = (
    "Adam induces implicit weight sparsity in rectifier networks, arXiv 1812.08119; On implicit "
    "filter level sparsity in convolutional networks, arXiv 1811.12495"
)
NOTES = f"""\
The rate by a cosine to 0: from 0.01 for Adam, from 1 for RDA, which has no momentum. Adam
+ L2 has Keras' L2(c) on all kernels; group lasso and RDA leave the classifier alone; of group and
exclusive sparsity the first layer has the group's term alone and the classifier the exclusive one;
network slimming is L1 on the scales of batch normalisation. After training a channel is cut whose
norm (network slimming: scale) is at most {NEGLIGIBLE:g} of the largest of its layer, and nothing is
trained again. Filter norm takes two thirds of the epochs, keeps the filters with the largest norms,
the same share in each layer, and is trained again for the last third. Its strength is the share of
the parameters that stays. Latency is that of the fastest inference, one thread. The papers' own
figures are lost. In words Adam + L2 is on par with the others or better, and falls less
suddenly."""


class FilterNormRow(Row):
    """A row that removes filters by their norm after two thirds of the epochs."""

    def first_training(self, config):
        epochs = config.training.epochs
        return config.replace(epochs=epochs - epochs // _FINE_TUNING)


def rows(network, build, strengths):
    """A row for each method and strength.

    Args:
        network: its name, for the labels.
        build: function like those of `keras_sparse.models`, of `input_shape`, `classes` and
            `kernel_regularizer`; the last layer is `"logits"`.
        strengths: `{method: numbers}`: c of Adam + L2, the factor of a regularizer, λ of RDA, or,
            for filter norm, the share of the parameters to keep.
    """
    return tuple(
        (FilterNormRow if method == FILTER_NORM else Row)(
            labels={"network": network, "method": method, "strength": f"{strength:g}"},
            changes={"model": regularized(build, method, strength), **_optimizer(method, strength)},
        )
        for method, numbers in strengths.items()
        for strength in numbers
    )


def regularized(build, method, strength):
    """A function that builds the network with the regularizer of a method, if it has one."""

    def made(input_shape, classes):
        regularizer = {
            ADAM_L2: keras.regularizers.L2,
            GROUP_LASSO: regularizers.GroupLasso,
        }.get(method)
        model = build(
            input_shape, classes, kernel_regularizer=regularizer and regularizer(strength)
        )
        if method == GROUP_LASSO:
            head = model.get_layer(_CLASSIFIER)
            head.kernel_regularizer = head.kernel.regularizer = None
        if method == COMBINED:
            regularizers.set_combined_sparsity(model, strength)
        if method == SLIMMING:
            regularizers.set_network_slimming(model, strength)
        return model

    return made


def _optimizer(method, strength):
    if method == RDA:
        channelwise = {"groups": "channel", "exclude": f"{_CLASSIFIER}/"}
        return {"optimizer": "rda", "learning_rate": 1.0, "l1": strength, **channelwise}
    return {"optimizer": "adam", "learning_rate": 1e-2}


def train_and_cut(table, row, config, task, folder, on_epoch):
    """Train a row, remove negligible channels, and measure the compact model.

    Filter norm trains for two thirds of the epochs, keeps the same share of filters with the
    largest norms in each layer, and trains for the last third. Arguments and results are those of
    `training.train`.
    """
    first = row.first_training(config)
    fine_tuning = config.training.epochs - first.training.epochs
    model, seconds = training.trained_model(first, task, folder, on_epoch)
    whole = training.accuracy(model, task.judged)
    if fine_tuning:
        compact = _fine_tuned(model, row, config, task, fine_tuning, folder)
        for _ in range(fine_tuning):
            on_epoch()
    else:
        compact = without_negligible(model, row.labels["method"])
        compact.compile(loss=model.loss, metrics=["accuracy"])
    return _figures(model, compact, whole, task.judged), seconds


def _fine_tuned(model, row, config, task, epochs, folder):
    return keras_sparse.compress(
        model,
        (task.dataset.x_train, task.dataset.y_train),
        target={"parameters": float(row.labels["strength"])},
        importance=channels.IncomingNorm(),
        allocation="uniform",
        epochs=epochs,
        batch_size=config.training.batch_size,
        folder=folder / "fine_tuning",
        verbose=0,
    ).model


def without_negligible(model, method):
    """The model without channels that are small compared with the largest of their layer."""
    if method == SLIMMING:
        kind = keras.layers.BatchNormalization
        found = [(x.gamma, np.abs(copied(x.gamma))) for x in layers_of_type(model, kind)]
    else:
        hidden = [x for x in channels.layers_with_channels(model) if x.name != _CLASSIFIER]
        found = [(channels.channel_weight(x)[0], channels.channel_norms(x)) for x in hidden]
    for weight, sizes in found:
        weight.assign(np.where(sizes > NEGLIGIBLE * sizes.max(), copied(weight), 0.0))
    return surgery.remove_dead_channels(model)[0]


def _figures(model, compact, whole, dataset):
    """`{column: number}` for the trained model and the compact one."""
    # Imported here: only tables that measure files need TensorFlow.
    from export import benchmark, convert

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "smaller.tflite"
        convert(compact, path, samples=dataset.x_test[:_VERIFIED])
        latency = benchmark([path]).files[0].min_ms
    return {
        "accuracy": 100 * training.accuracy(compact, dataset),
        "whole": 100 * whole,
        "channels": 100 * _width(compact) / _width(model),
        "parameters": compact.count_params(),
        "macs": surgery.count_macs(compact).total / 1e3,
        "latency": latency,
    }


def _width(model):
    hidden = [x for x in channels.layers_with_channels(model) if x.name != _CLASSIFIER]
    return sum(len(channels.channel_norms(layer)) for layer in hidden)
