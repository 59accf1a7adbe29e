"""Does cutting a wide network beat training a narrow one? Accuracy by latency and by file size."""

import keras

import keras_sparse
from apps.tables import pictures, training
from apps.tables.table import Row, Table
from apps.tables.tflite_files import COLUMNS, file_figures, latencies
from keras_sparse import models, surgery
from keras_sparse.data import crop_and_flip
from keras_sparse.masks.schedules import CosineSchedule

_WIDE = 2.0
_BATCH_SIZE = 128
# A weight decay of 5e-4 in the gradient; that of Keras' L2(c) is 2cw.
_L2 = 2.5e-4
_CLASSIFIER = "logits/"
# Kernels whose channels a residual adds up: one goes only where all that are added are zero.
_ADDED_UP = ("^conv1/", "_conv2/", "_shortcut/")


def _network(width, l2=0.0, gamma_l2=0.0):
    """What makes ResNet-8 at a width, with L2 on all kernels and on batch normalisation's γ."""

    def regularized(layer):
        config = layer.get_config()
        if gamma_l2 and isinstance(layer, keras.layers.BatchNormalization):
            config["gamma_regularizer"] = keras.regularizers.L2(gamma_l2)
        return type(layer).from_config(config)

    def build(dataset):
        regularizer = keras.regularizers.L2(l2) if l2 else None
        model = models.resnet_8(
            dataset.input_shape, dataset.classes, width=width, kernel_regularizer=regularizer
        )
        return keras.models.clone_model(model, clone_function=regularized)

    return build


def _cosine(rate, run):
    return keras.optimizers.schedules.CosineDecay(rate, run.steps)


def _row(method, setting, model, optimizer):
    return Row({"method": method, "setting": setting}, model, optimizer, _BATCH_SIZE)


def _dense(width):
    return _row(
        "dense",
        f"width {width:g}",
        _network(width, _L2),
        lambda run: keras.optimizers.SGD(_cosine(0.1, run), momentum=0.9, nesterov=True),
    )


def _rda_by_channel(run, exclude=(), **arguments):
    return keras_sparse.RDA(
        _cosine(1.0, run), groups="channel", exclude=[_CLASSIFIER, *exclude], **arguments
    )


def _rda(l1):
    return _row(
        "RDA by channel",
        f"λ = {l1:g}",
        _network(_WIDE),
        lambda run: _rda_by_channel(run, l1=l1),
    )


def _rda_target(sparsity, kernels="all", exclude=()):
    return _row(
        "RDA by channel, target",
        f"{100 * sparsity:g}% of {kernels} kernels",
        _network(_WIDE, _L2),
        lambda run: _rda_by_channel(
            run, exclude, target_sparsity=sparsity, ramp_steps=run.part(1, 4)
        ),
    )


def _adam(l2):
    return _row(
        "Adam + L2",
        f"c = {l2:g}",
        _network(_WIDE, l2, l2),
        lambda run: keras.optimizers.Adam(_cosine(1e-2, run)),
    )


def _sparse_momentum(density):
    return _row(
        "sparse momentum",
        f"{100 * density:g}% of the weights",
        _network(_WIDE, _L2),
        lambda run: keras_sparse.SparseMomentum(
            _cosine(0.1, run),
            density=density,
            growth="momentum_by_channel",
            prune_rate=CosineSchedule(0.5, 0.0, end=run.steps),
            update_every="epoch",
            steps_per_epoch=run.steps_per_epoch,
            exclude=_CLASSIFIER,
            seed=run.seed,
        ),
    )


def train_cut_and_convert(table, row, seed, epochs, dataset, folder, on_epoch):
    """Train a row, cut its dead channels out, and leave a float32 and an int8 file.

    What has nearly vanished becomes zero first: channels whose incoming weights have a norm of at
    most 1e-6, or a |γ| of at most 1e-3. Takes what `training.train` takes, and returns what it
    returns.
    """
    model, seconds = training.trained_model(table, row, seed, epochs, dataset, folder, on_epoch)
    return file_figures(_without_dead_channels(model), dataset, folder), seconds


def _without_dead_channels(model):
    model, _ = surgery.zero_channels(model, 1e-6)
    model, _ = surgery.zero_channels(model, 1e-3, criterion="batch_norm")
    smaller, _ = surgery.remove_dead_channels(model)
    return smaller


TABLE = Table(
    title="ResNet-8 on CIFAR-10: wide and cut against narrow, on LiteRT",
    reference="MLPerf Tiny, arXiv 2106.07597; 1807.04222, 1907.04840, 1811.12495",
    # In an order in which a table that is stopped early still compares something.
    rows=(
        _dense(1.0),
        _rda(2e-4),
        _rda_target(0.75, "inner", _ADDED_UP),
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
        _rda_target(0.85, "inner", _ADDED_UP),
    ),
    columns=COLUMNS,
    measure=None,
    epochs=100,
    dataset="cifar10",
    augment=crop_and_flip,
    jit_compile=False,
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
