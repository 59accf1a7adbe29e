"""A trained wide network cut to a latency, against the networks that are trained narrow."""

import dataclasses

import keras

from apps.tables import pictures, training
from apps.tables.edge_frontier import latencies
from apps.tables.table import FILES, Column, Row, Table
from keras_sparse import models, surgery
from keras_sparse.data import crop_and_flip

_WIDE = 2.0
_BATCH_SIZE = 128
_RATE = 0.1
# A weight decay of 5e-4 in the gradient; that of Keras' L2(c) is 2cw.
_L2 = 2.5e-4
_MODEL = "model.keras"
# The ranges of the int8 file are read from so many training images; and so many test images show
# that the float32 file is the network.
_CALIBRATED, _VERIFIED = 200, 500


def _network(width):
    def build(dataset):
        return models.resnet_8(
            dataset.input_shape,
            dataset.classes,
            width=width,
            kernel_regularizer=keras.regularizers.L2(_L2),
        )

    return build


def _optimizer(run):
    rate = keras.optimizers.schedules.CosineDecay(_RATE, run.steps)
    return keras.optimizers.SGD(rate, momentum=0.9, nesterov=True)


def _dense(width):
    labels = {"budget": "", "network": f"width {width:g}", "start": "scratch"}
    return Row(labels, _network(width), _optimizer, _BATCH_SIZE)


def train_and_convert(table, row, seed, epochs, dataset, folder, on_epoch):
    """Train a row, and leave the model, a float32 and an int8 file.

    Takes what `training.train` takes, and returns what it returns.
    """
    model, seconds = training.trained_model(table, row, seed, epochs, dataset, folder, on_epoch)
    return measured(model, dataset, folder), seconds


def measured(model, dataset, folder):
    """The figures of a trained model, which is left in `folder` with its files."""
    # Imported here: only tables that measure files need TensorFlow.
    from export import convert
    from export.verify import Tolerance

    files = folder / FILES
    files.mkdir(exist_ok=True)
    model.save(files / _MODEL)
    exact = convert(model, files / "float32.tflite", samples=dataset.x_test[:_VERIFIED])
    rounded = convert(
        model,
        files / "int8.tflite",
        quantize="int8",
        representative=dataset.x_train[:_CALIBRATED],
        samples=dataset.x_test,
        labels=dataset.y_test,
        # What rounding costs is a result here, not an error.
        tolerance=Tolerance(error=1.0, agreement=0.0, accuracy=1.0),
    )
    return {
        "accuracy": 100 * rounded.keras_accuracy,
        "accuracy_int8": 100 * rounded.accuracy,
        "macs": surgery.count_macs(model).total / 1e6,
        "parameters": model.count_params(),
        "size": exact.bytes / 1000,
        "size_int8": rounded.bytes / 1000,
    }


TABLE = Table(
    title="ResNet-8 on CIFAR-10: compressed to a latency against trained narrow",
    reference="MLPerf Tiny, arXiv 2106.07597",
    rows=(_dense(_WIDE), _dense(1.0), _dense(1.25)),
    columns={
        "accuracy": Column("test accuracy, %"),
        "accuracy_int8": Column("int8: accuracy, %"),
        "latency": Column("latency, ms", ".3f"),
        "latency_int8": Column("int8: latency, ms", ".3f"),
        "size": Column("file, kB", ".1f"),
        "size_int8": Column("int8: file, kB", ".1f"),
        "macs": Column("MACs, millions"),
        "parameters": Column("parameters", ",.0f"),
    },
    measure=None,
    epochs=30,
    dataset="cifar10",
    augment=crop_and_flip,
    jit_compile=False,
    experiment=train_and_convert,
    together=latencies,
    backend="tensorflow",
)
