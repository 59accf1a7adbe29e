"""Writing the folder of a run: models, files and a report."""

import contextlib
import csv
import dataclasses
import importlib.metadata
import json
import pathlib
import platform
import tempfile

import numpy as np
import rich
from rich.markup import escape

from export import page, run_report
from export.benchmark import benchmark
from export.machine import processor
from export.quantize import variants
from keras_sparse.files import remove_left_behind, replacing

# Number of samples for accuracies of files; each runs at batch size 1.
_COMPARED_SAMPLES = 1000
_CALIBRATED_SAMPLES = 200


@dataclasses.dataclass(frozen=True)
class TestSet:
    """The test images for the models.

    Attributes:
        x: images in the form that the model takes.
        y: int labels of shape `(images,)`.
    """

    __test__ = False  # not for pytest

    x: np.ndarray
    y: np.ndarray


def prepare(path):
    """Make the folder of a run, or raise a ValueError before hours of training.

    Half-written files of a killed process are removed.
    """
    path = pathlib.Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise ValueError(f"`out` cannot be written: {error}") from error
    remove_left_behind(path)
    return path


def deliver(model, history, test, folder, facts, *, quantize=(), x_train=None, dense=None):
    """Save, convert, time and report a trained classifier and its compact model.

    Writes `model.keras`, `compact.keras`, `model.tflite`, `compact.tflite`, `history.csv`,
    `report.json`, `report.md`, `report.html`, `accuracy.png` and `channels.png`, and for each kind
    of quantization `model-KIND.tflite` and `compact-KIND.tflite`. Each file is written completely
    or not at all. With a dense network it also writes `dense.keras`, `dense.tflite` and
    `dense-KIND.tflite`.

    Args:
        model: the trained `keras.Model`; its outputs are one value per class.
        history: dict from a log's name to its values by epoch.
        test: a `TestSet`.
        folder: a folder, as `prepare` returns it.
        facts: dict of further entries of the report: `seed`, `command`, and `missed_target`, a dict
            with the sparsity that was `asked`, the sparsity `reached`, and `why`.
        quantize: any of `"float16"`, `"dynamic"`, `"int8"`. If a kind fails, the report has the
            error, and the others continue.
        x_train: images in the form that the model takes; `"int8"` is calibrated on the first 200.
        dense: `(model, history)` of the same network trained dense, for comparison, or None.

    Returns:
        The report, as in `report.json`.

    Raises:
        ExportError: a model that cannot be converted.
    """
    from keras_sparse.analysis import plot_history
    from keras_sparse.surgery import remove_dead_channels

    save_model(model, folder / "model.keras")
    write_history(history, folder / "history.csv")
    compact, surgery = remove_dead_channels(model)
    save_model(compact, folder / "compact.keras")
    networks = {"trained": model, "compact": compact}
    if dense:
        save_model(dense[0], folder / "dense.keras")
        networks = {"dense": dense[0], **networks}
    outputs = {name: m.predict(test.x, batch_size=256, verbose=0) for name, m in networks.items()}
    files = variants.write_variants(
        {"model" if name == "trained" else name: m for name, m in networks.items()},
        folder,
        quantize,
        samples=test.x[:_COMPARED_SAMPLES],
        labels=test.y[:_COMPARED_SAMPLES],
        representative=None if x_train is None else x_train[:_CALIBRATED_SAMPLES],
    )
    timing = benchmark(variants.paths(files))
    report = {
        **facts,
        "test_images": len(test.x),
        **_sparsity(model),
        **{
            name: _figures(m, outputs[name], test, file.verification, timed)
            for (name, m), file, timed in zip(networks.items(), files, timing.files, strict=False)
        },
        **_difference(outputs["trained"], outputs["compact"]),
        "channels": {name: list(pair) for name, pair in surgery.channels.items()},
        "versions": versions("keras-sparse", "keras", "tensorflow", "ai-edge-litert", "numpy"),
        "processor": processor(),
        "num_threads": 1,
        "latency_ratio": timing.ratios[len(networks) - 1],
        "latency_note": run_report.latency_note(timing.to_dict(), len(networks)),
        "files": variants.rows(files, timing),
        "benchmark": timing.to_dict(),
        "surgery": surgery.to_dict(),
    }
    dense_history = dense[1] if dense else None
    write_picture(plot_history(history, dense_history), folder / "accuracy.png")
    surgery.plot(folder / "channels.png")
    write_text(json.dumps(report, indent=1), folder / "report.json")
    write_text(run_report.markdown(report), folder / "report.md")
    if page.available():
        write_text(run_report.html(report, history, dense_history), folder / "report.html")
    run_report.show(report, folder)
    return report


def save(model, history, test, folder, facts, *, dense=None):
    """Save and report a trained classifier without surgery and conversion; needs no TensorFlow.

    Writes `model.keras`, `history.csv`, `accuracy.png` and `report.json`, and `dense.keras` for a
    dense network. Each file is written completely or not at all.

    Args:
        model, history, test, folder, facts, dense: see `deliver`.

    Returns:
        The report, as in `report.json`.
    """
    from keras_sparse.analysis import plot_history

    save_model(model, folder / "model.keras")
    write_history(history, folder / "history.csv")
    report = {
        **facts,
        "test_images": len(test.x),
        **_sparsity(model),
        "accuracy": _accuracy(model.predict(test.x, batch_size=256, verbose=0), test),
        "parameters": model.count_params(),
        "versions": versions("keras-sparse", "keras", "tensorflow", "jax", "numpy"),
    }
    compared = ""
    if dense:
        save_model(dense[0], folder / "dense.keras")
        outputs = dense[0].predict(test.x, batch_size=256, verbose=0)
        report["dense"] = {"accuracy": _accuracy(outputs, test)}
        compared = f" (dense {report['dense']['accuracy']:.4f})"
    write_picture(plot_history(history, dense and dense[1]), folder / "accuracy.png")
    write_text(json.dumps(report, indent=1), folder / "report.json")
    text = (
        f"Test accuracy {report['accuracy']:.4f}{compared}, {report['sparsity']:.1%} of the "
        f"{report['prunable_weights']:,} prunable weights are zero. {run_report.missed(report)} "
        f"Everything is in {folder}."
    )
    rich.print(escape(text))
    return report


def save_model(model, path):
    """Save a model completely or not at all."""
    with replacing(path) as temporary:
        model.save(temporary)


def write_text(text, path):
    """Write a text file completely or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_history(history, path):
    """Write a table with a row for each epoch.

    Args:
        history: dict from a log's name to its values by epoch.
        path: path of the CSV file.
    """
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", *history])
        for epoch, row in enumerate(zip(*history.values(), strict=True), 1):
            writer.writerow([epoch, *row])


def write_picture(figure, path):
    """Write a `matplotlib` figure completely or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _sparsity(model):
    from keras_sparse.variables import prunable_variables, sparsity

    weights = prunable_variables(model)
    return {
        "sparsity": sparsity(model),
        "prunable_weights": sum(int(np.prod(weight.shape)) for weight in weights),
    }


def _figures(model, outputs, test, file, timed):
    from keras_sparse.surgery import count_macs

    return {
        "accuracy": _accuracy(outputs, test),
        "parameters": model.count_params(),
        "macs": count_macs(model).total,
        "tflite_bytes": file.bytes,
        "tflite_max_abs_error": file.max_abs_error,
        "latency_ms_median": timed.median_ms,
        "latency_ms_min": timed.min_ms,
    }


def _accuracy(outputs, test):
    return float(np.mean(outputs.argmax(-1) == test.y))


def _difference(trained, compact):
    return {
        "surgery_max_abs_error": float(np.max(np.abs(trained - compact))),
        "outputs_scale": float(np.max(np.abs(trained))),
        "same_predictions": float(np.mean(trained.argmax(-1) == compact.argmax(-1))),
    }


def versions(*packages):
    """`{package: version}` of Python and of the packages that are installed."""
    found = {"python": platform.python_version()}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
