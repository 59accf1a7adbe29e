"""The whole way from a trained model to a folder that a person can read."""

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
import rich.table
from rich.markup import escape

from export.benchmark import benchmark
from export.quantize import variants
from keras_sparse.files import remove_left_behind, replacing

# Enough for an accuracy; each runs alone, at batch size 1.
_COMPARED_SAMPLES = 1000
_CALIBRATED_SAMPLES = 200


@dataclasses.dataclass(frozen=True)
class TestSet:
    """What the models are judged on.

    Attributes:
        x: images as the model takes them.
        y: int labels of shape `(images,)`.
    """

    __test__ = False  # not for pytest

    x: np.ndarray
    y: np.ndarray


def prepare(path):
    """Make the folder of a run, or raise a ValueError before hours of training.

    What a killed process left half written there is removed.
    """
    path = pathlib.Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise ValueError(f"`out` cannot be written: {error}") from error
    remove_left_behind(path)
    return path


def deliver(model, history, test, folder, facts, *, quantize=(), x_train=None):
    """Save, cut, convert, time and report a trained classifier.

    Writes `model.keras`, `compact.keras`, `model.tflite`, `compact.tflite`, `history.csv`,
    `report.json`, `report.md`, `accuracy.png` and `channels.png`, each whole or not at all, and
    for each kind of quantization `model-KIND.tflite` and `compact-KIND.tflite`.

    Args:
        model: the trained `keras.Model`; its outputs are one value per class.
        history: dict from a log's name to its values by epoch.
        test: a `TestSet`.
        folder: a folder, as `prepare` returns it.
        facts: dict of what else belongs into the report: `seed`, `command`, and `missed_target`, a
            dict of the sparsity that was `asked`, the one `reached`, and `why`.
        quantize: any of `"float16"`, `"dynamic"`, `"int8"`. A kind that fails is told in the
            report and stops nothing.
        x_train: images as the model takes them; `"int8"` is calibrated on the first 200.

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
    outputs = [m.predict(test.x, batch_size=256, verbose=0) for m in (model, compact)]
    files = variants.write_variants(
        {"model": model, "compact": compact},
        folder,
        quantize,
        samples=test.x[:_COMPARED_SAMPLES],
        labels=test.y[:_COMPARED_SAMPLES],
        representative=None if x_train is None else x_train[:_CALIBRATED_SAMPLES],
    )
    report = {
        **facts,
        "test_images": len(test.x),
        **_sparsity(model),
        "trained": _figures(model, outputs[0], test, files[0].verification),
        "compact": _figures(compact, outputs[1], test, files[1].verification),
        **_difference(*outputs),
        "channels": {name: list(pair) for name, pair in surgery.channels.items()},
        "versions": versions("keras-sparse", "keras", "tensorflow", "ai-edge-litert", "numpy"),
    }
    timing = benchmark(variants.paths(files))
    for name, file in zip(("trained", "compact"), timing.files, strict=False):
        report[name]["latency_ms_median"] = file.median_ms
    report["latency_ratio"] = timing.ratios[1]
    report["files"] = variants.rows(files, timing)
    report["benchmark"] = timing.to_dict()
    report["surgery"] = surgery.to_dict()
    write_picture(plot_history(history), folder / "accuracy.png")
    surgery.plot(folder / "channels.png")
    write_text(json.dumps(report, indent=1), folder / "report.json")
    write_text(_markdown(report), folder / "report.md")
    _print_table(report, folder)
    return report


def save(model, history, test, folder, facts):
    """Save and report a trained classifier as it is: what needs no TensorFlow.

    Writes `model.keras`, `history.csv`, `accuracy.png` and `report.json`, each whole or not at all.

    Args:
        model, history, test, folder, facts: see `deliver`.

    Returns:
        The report, as in `report.json`.
    """
    from keras_sparse.analysis import plot_history

    save_model(model, folder / "model.keras")
    write_history(history, folder / "history.csv")
    outputs = model.predict(test.x, batch_size=256, verbose=0)
    report = {
        **facts,
        "test_images": len(test.x),
        **_sparsity(model),
        "accuracy": float(np.mean(outputs.argmax(-1) == test.y)),
        "parameters": model.count_params(),
        "versions": versions("keras-sparse", "keras", "tensorflow", "jax", "numpy"),
    }
    write_picture(plot_history(history), folder / "accuracy.png")
    write_text(json.dumps(report, indent=1), folder / "report.json")
    text = (
        f"Test accuracy {report['accuracy']:.4f}, {report['sparsity']:.1%} of the "
        f"{report['prunable_weights']:,} prunable weights are zero. {_missed(report)}"
        f"Everything is in {folder}."
    )
    rich.print(escape(text))
    return report


def save_model(model, path):
    """Save a model, whole or not at all."""
    with replacing(path) as temporary:
        model.save(temporary)


def write_text(text, path):
    """Write a text file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_history(history, path):
    """Write a table with a row for each epoch.

    Args:
        history: dict from a log's name to its values by epoch.
        path: of the CSV file.
    """
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", *history])
        for epoch, row in enumerate(zip(*history.values(), strict=True), 1):
            writer.writerow([epoch, *row])


def write_picture(figure, path):
    """Write a `matplotlib` figure, whole or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _sparsity(model):
    from keras_sparse.variables import prunable_variables, sparsity

    weights = prunable_variables(model)
    return {
        "sparsity": sparsity(model),
        "prunable_weights": sum(int(np.prod(weight.shape)) for weight in weights),
    }


def _figures(model, outputs, test, file):
    from keras_sparse.surgery import count_macs

    return {
        "accuracy": float(np.mean(outputs.argmax(-1) == test.y)),
        "parameters": model.count_params(),
        "macs": count_macs(model).total,
        "tflite_bytes": file.bytes,
        "tflite_max_abs_error": file.max_abs_error,
    }


def _difference(trained, compact):
    return {
        "surgery_max_abs_error": float(np.max(np.abs(trained - compact))),
        "outputs_scale": float(np.max(np.abs(trained))),
        "same_predictions": float(np.mean(trained.argmax(-1) == compact.argmax(-1))),
    }


def versions(*packages):
    """`{package: version}` of Python and of those packages that are installed."""
    found = {"python": platform.python_version()}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


_ROWS = (
    ("test accuracy", "accuracy", "{:.4f}"),
    ("parameters", "parameters", "{:,}"),
    ("multiply-accumulates", "macs", "{:,}"),
    ("TFLite file, bytes", "tflite_bytes", "{:,}"),
    ("TFLite latency, median ms", "latency_ms_median", "{:.4f}"),
    ("TFLite error to Keras, largest", "tflite_max_abs_error", "{:.1e}"),
)


def _rows(report):
    """Label, trained, compact and their ratio, as text."""
    for label, key, pattern in _ROWS:
        before, after = report["trained"][key], report["compact"][key]
        counts = key not in ("accuracy", "tflite_max_abs_error")
        ratio = report["latency_ratio"] if key == "latency_ms_median" else after / (before or 1)
        yield label, pattern.format(before), pattern.format(after), f"{ratio:.3f}" * counts


def _missed(report):
    missed = report.get("missed_target")
    if not missed:
        return ""
    return (
        f"The target is not met: a sparsity of {missed['asked']:.3g} was asked for, and "
        f"{missed['reached']:.3g} is reached. {missed['why']} "
    )


def _summary(report):
    return (
        f"{_missed(report)}"
        f"{report['sparsity']:.1%} of the {report['prunable_weights']:,} prunable weights are "
        f"zero. The two networks agree on {report['same_predictions']:.2%} of "
        f"{report['test_images']:,} test images; their outputs differ by at most "
        f"{report['surgery_max_abs_error']:.1e}, where the largest is "
        f"{report['outputs_scale']:.3g}."
    )


def _print_table(report, folder):
    table = rich.table.Table(title="Trained network, and without its dead channels")
    for column in ("", "trained", "compact", "ratio"):
        table.add_column(column, justify="right" if column else "left")
    for row in _rows(report):
        table.add_row(*row)
    rich.print(table)
    rich.print(escape(_summary(report)))
    if _quantized(report):
        variants.show(report["files"])
    rich.print(escape(f"Everything is in {folder}; start with {folder / 'report.md'}."))


def _markdown(report):
    lines = [
        f"# {report['model']} on {report['dataset']}",
        "",
        f"`{report['command']}`",
        "",
        _summary(report),
        "",
        "| | trained | compact | ratio |",
        "| --- | ---: | ---: | ---: |",
        *(f"| {' | '.join(row)} |" for row in _rows(report)),
        "",
        "Latency: one sample, one thread, both files timed in turns in one run; its ratio is that "
        "of the fastest inferences.",
        "",
        *(_files(report) if _quantized(report) else ()),
        "![Accuracy and sparsity by epoch](accuracy.png)",
        "",
        "![Channels kept by layer](channels.png)",
        "",
        "| layer | channels before | after |",
        "| --- | ---: | ---: |",
        *(f"| {name} | {a} | {b} |" for name, (a, b) in report["channels"].items()),
        "",
        "Versions: " + ", ".join(f"{k} {v}" for k, v in report["versions"].items()) + ".",
        "",
    ]
    return "\n".join(lines)


def _quantized(report):
    return any(row["quantize"] != "float32" for row in report["files"])


def _files(report):
    count = report["files"][0]["samples"]
    return [
        *variants.markdown(report["files"]),
        "",
        f"Errors, predictions and accuracy of a file: on the first {count} test images, beside the "
        "network in Keras. Ratios are to `model.tflite`; gzip is about what is downloaded.",
        "",
    ]
