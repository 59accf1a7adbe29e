"""Does cutting a wide network beat training a narrow one? Accuracy by latency and by file size."""

import keras

from apps.reproduction import pictures, training
from apps.reproduction.table import Row, Table
from apps.reproduction.tflite_files import COLUMNS, file_figures, latencies
from keras_sparse import models, surgery

_WIDE = 2.0
_BATCH_SIZE = 128
# A weight decay of 5e-4 in the gradient; Keras' L2(c) adds 2cw.
_L2 = 2.5e-4
_CLASSIFIER = "logits/"
# Kernels with channels that a residual adds: a channel is removed only if all its addends are zero.
_ADDED_UP = "^conv1/|_conv2/|_shortcut/"


def _regularized_resnet_8(kernel_regularizer, **arguments):
    """ResNet-8 with the kernel regularizer on γ of batch normalisation too."""

    def regularized(layer):
        config = layer.get_config()
        if isinstance(layer, keras.layers.BatchNormalization):
            config["gamma_regularizer"] = kernel_regularizer
        return type(layer).from_config(config)

    model = models.resnet_8(kernel_regularizer=kernel_regularizer, **arguments)
    return keras.models.clone_model(model, clone_function=regularized)


def _row(method, setting, optimizer, **changes):
    changes = {"optimizer": optimizer, "schedule": "cosine", "width": _WIDE, **changes}
    return Row({"method": method, "setting": setting}, changes)


def _dense(width):
    momentum = {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True}
    return _row("dense", f"width {width:g}", "sgd", width=width, l2=_L2, **momentum)


def _rda_by_channel(method, setting, exclude=_CLASSIFIER, **changes):
    changes = {"groups": "channel", "learning_rate": 1.0, "exclude": exclude, **changes}
    return _row(method, setting, "rda", **changes)


def _rda(l1):
    return _rda_by_channel("RDA by channel", f"λ = {l1:g}", l1=l1)


def _rda_target(sparsity, kernels="all", exclude=_CLASSIFIER):
    setting = f"{100 * sparsity:g}% of {kernels} kernels"
    target = {"target_sparsity": sparsity, "ramp_steps": 0.25, "l2": _L2}
    return _rda_by_channel("RDA by channel, target", setting, exclude, **target)


def _adam(l2):
    changes = {"model": _regularized_resnet_8, "l2": l2, "learning_rate": 1e-2}
    return _row("Adam + L2", f"c = {l2:g}", "adam", **changes)


def _sparse_momentum(density):
    return _row(
        "sparse momentum",
        f"{100 * density:g}% of the weights",
        "sparse_momentum",
        density=density,
        growth="momentum_by_channel",
        prune_rate=0.5,
        prune_schedule="cosine",
        update_every="epoch",
        exclude=_CLASSIFIER,
        learning_rate=0.1,
        l2=_L2,
    )


def train_cut_and_convert(table, row, config, task, folder, on_epoch):
    """Train a row, remove its dead channels, and write a float32 and an int8 file.

    Before that, channels are set to zero if the norm of their incoming weights is at most 1e-6, or
    if |γ| is at most 1e-3. Arguments and results are those of `training.train`.
    """
    model, seconds = training.trained_model(config, task, folder, on_epoch)
    return file_figures(_without_dead_channels(model), task.judged, folder), seconds


def _without_dead_channels(model):
    model, _ = surgery.zero_channels(model, 1e-6)
    model, _ = surgery.zero_channels(model, 1e-3, criterion="batch_norm")
    compact, _ = surgery.remove_dead_channels(model)
    return compact


TABLE = Table(
    title="ResNet-8 on CIFAR-10: wide and cut against narrow, on LiteRT",
    reference="MLPerf Tiny, arXiv 2106.07597; 1807.04222, 1907.04840, 1811.12495",
    settings={
        **{"dataset": "cifar10", "augment": True, "batch_size": _BATCH_SIZE, "epochs": 100},
        **{"model": "resnet_8", "jit_compile": "false"},
    },
    # In this order, a table that is stopped early still has rows to compare.
    rows=(
        _dense(1.0),
        _rda(2e-4),
        _rda_target(0.75, "inner", f"{_CLASSIFIER}|{_ADDED_UP}"),
        _adam(1e-4),
        _dense(0.5),
        _sparse_momentum(0.02),
        _dense(0.75),
        _dense(_WIDE),
        _rda(1e-4),
        _rda(5e-4),
        _adam(5e-4),
        _sparse_momentum(0.05),
        _rda_target(0.5),
        _rda_target(0.85, "inner", f"{_CLASSIFIER}|{_ADDED_UP}"),
    ),
    columns=COLUMNS,
    measure=None,
    experiment=train_cut_and_convert,
    together=latencies,
    picture=pictures.frontier(
        y="accuracy",
        panels=("latency", "size"),
        variants={"float32": "", "int8": "_int8"},
        series="method",
        line="dense",
    ),
    backend="tensorflow",
    notes=f"""\
The sparse rows are ResNet-8 at width {_WIDE:g}, cut after training. Batch {_BATCH_SIZE},
reflect-pad 4, crop and flip, the rate by a cosine from its start to 0: 0.1 with Nesterov momentum
0.9 for the dense rows and sparse momentum, 1 for RDA, which has no momentum, 0.01 for Adam.
Weight decay of 5e-4 in the gradient of kernels for the dense rows, sparse momentum and RDA with a
target, which it reaches in a quarter of the steps; inner kernels are those whose channels no
residual adds up, the first of each block. Adam has
Keras' L2(c) on kernels and on γ. Accuracy is that of the cut network on all test images, for int8
that of the file in LiteRT. Latency is that of the fastest inference, one thread, all files timed in
turns.""",
)
