"""Figures of the TFLite files of a table's networks."""

from apps.reproduction.table import FILES, Column
from keras_sparse import surgery

_KINDS = ("float32", "int8")
# Numbers of training images for the ranges of the int8 file, and of test images to check the
# float32 file.
_CALIBRATED, _VERIFIED = 200, 500

COLUMNS = {
    "accuracy": Column("test accuracy, %"),
    "accuracy_int8": Column("int8: accuracy, %"),
    "latency": Column("latency, ms", ".3f"),
    "latency_int8": Column("int8: latency, ms", ".3f"),
    "size": Column("file, kB", ".1f"),
    "size_int8": Column("int8: file, kB", ".1f"),
    "macs": Column("MACs, millions"),
    "parameters": Column("parameters", ",.0f"),
}


def file_figures(model, dataset, folder):
    """Convert a trained model, and measure everything except the time.

    Args:
        model: a `keras.Model`.
        dataset: a `keras_sparse.data.Dataset`.
        folder: `pathlib.Path` of the run; `float32.tflite` and `int8.tflite` go into its `FILES`.

    Returns:
        `{column: number}`.
    """
    # Imported here: only tables that measure files need TensorFlow.
    from export import convert
    from export.verify import Tolerance

    files = folder / FILES
    files.mkdir(exist_ok=True)
    exact = convert(model, files / "float32.tflite", samples=dataset.x_test[:_VERIFIED])
    rounded = convert(
        model,
        files / "int8.tflite",
        quantize="int8",
        representative=dataset.x_train[:_CALIBRATED],
        samples=dataset.x_test,
        labels=dataset.y_test,
        # Rounding errors are a result here.
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


def latencies(folders):
    """The fastest inference of each run's files, timed alternately; see `Table.together`."""
    from export import benchmark

    timing = benchmark([path / f"{kind}.tflite" for path in folders.values() for kind in _KINDS])
    fastest = iter([file.min_ms for file in timing.files])
    return {name: {"latency": next(fastest), "latency_int8": next(fastest)} for name in folders}
