"""Quantization-aware training: fine-tuning with the rounding of the int8 file."""

import importlib.util
import json
import os
import pathlib
import subprocess
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from export.child import command, environment, how_it_ended
from export.compare import compare
from export.content import check_content
from export.convert.litert import checked_model, real_name
from export.errors import ExportError
from export.inputs import check_samples
from export.kinds import Tolerance
from export.names import gives_dict, output_names
from export.running import run_file
from export.verification import Verification
from export.verify import as_tolerance, check_labels

if TYPE_CHECKING:
    import keras

_WORKER = "export.quantize.worker"
_MOST_SAMPLES = 200


def quantization_aware(
    model: "keras.Model",
    path: str | os.PathLike,
    x: Any,
    y: Any,
    *,
    loss: Any = None,
    epochs: int = 1,
    batch_size: int = 32,
    learning_rate: float = 1e-4,
    input_output: Literal["float32", "int8", "uint8"] = "float32",
    samples: Any = None,
    labels: Any = None,
    tolerance: Tolerance | float | None = None,
    seed: int = 0,
    verbose: int = 0,
) -> Verification:
    """Fine-tunes a model for static int8 and writes it as a TFLite file with batch size 1.

    In a separate process, the model is rebuilt in tf_keras with equal outputs. TensorFlow Model
    Optimization wraps it, so that weights and activations are rounded in the forward pass. Then it
    is trained with Adam, and converted. Weights that are zero do not stay zero, so remove dead
    channels before. `convert(quantize="int8")` needs no training; try it first.

    Args:
        model: a built functional or `Sequential` `keras.Model` of layers that tf_keras and
            TensorFlow Model Optimization know; it is not changed. Nested models are inlined.
        path: the file to write, ending in `.tflite`.
        x: inputs to train on, as `model.fit` takes them: an array of shape `(n, ...)`, or a list,
            tuple or dict of them.
        y: array of `n` targets, the same for all outputs.
        loss: a loss as for `model.compile`; one of your own must be at the top of a module, not in
            a notebook. Default: the loss of the compiled model.
        epochs: int, passes over the data.
        batch_size: int, samples a step.
        learning_rate: float, the learning rate of Adam.
        input_output: the type of the file's inputs and outputs: `"float32"`, `"int8"` or `"uint8"`.
        samples: samples to compare the file on, in the form of `x`. Default: the first 200 of `x`.
        labels: integer classes of `samples`. With them, `keras_accuracy` is the accuracy of the
            fine-tuned model, and `accuracy` the accuracy of the file.
        tolerance: as in `convert`, between the file and the fine-tuned model.
        seed: int, seed for the order of the samples.
        verbose: 0, 1 or 2, as `model.fit` takes it.

    Returns:
        The `Verification` of the file against the fine-tuned model.

    Raises:
        ValueError: a bad argument, such as classes that the model does not have, or the extra
            `qat` is not installed.
        ExportError: a layer that cannot be rebuilt or quantized, or a file that is wrong.

    Example:

    >>> quantization_aware(model, "qat.tflite", x_train, y_train, epochs=2).agreement
    1.0

    Reference:
        Jacob et al., 2018, Quantization and Training of Neural Networks for Efficient
        Integer-Arithmetic-Only Inference, section 3.
    """
    from keras_sparse.files import replacing
    from keras_sparse.validation import check_integer, check_number

    path = pathlib.Path(path)
    model, specs = checked_model(model, path)
    tolerance = as_tolerance(tolerance, "int8")
    inputs = check_samples(x, specs, "x")
    y = _checked_targets(y, len(inputs[0]))
    loss = loss or getattr(model, "loss", None)
    settings = _settings(model, specs, loss, input_output)
    _check_layers(model)
    _check_targets(model, inputs, y, loss)
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        check_integer(name, value, "[1, inf)")
    check_number("learning_rate", learning_rate, "(0, inf)")
    check_integer("seed", seed)
    samples = None if samples is None else check_samples(samples, specs)
    if labels is not None:
        labels = check_labels(labels, samples, model)
    if samples is None:
        samples = [value[:_MOST_SAMPLES] for value in inputs]
    _check_installed()
    settings |= {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": float(learning_rate),
        "seed": seed,
        "verbose": verbose,
    }
    with replacing(path) as temporary:
        _train(model, inputs, y, samples, settings, temporary.parent)
        with np.load(temporary.parent / "reference.npz") as file:
            wanted = {name: file[name].astype("float64") for name in file}
        os.replace(temporary.parent / "model.tflite", temporary)
        with real_name(temporary, path):
            counts = check_content(model, temporary, "int8", input_output=input_output)
            got, _ = run_file(temporary, specs, samples)
            figures = compare(temporary, wanted, got, labels, tolerance, drawn=False)
        size = temporary.stat().st_size
    return Verification(path, "int8", size, counts, len(samples[0]), **figures)


def _checked_targets(y, count):
    y = np.asarray(y)
    if y.shape[:1] != (count,):
        raise ValueError(
            f"`y` must hold one target for each of the {count} samples of `x`. Received: shape "
            f"{y.shape}"
        )
    return y


def _settings(model, specs, loss, input_output):
    import keras

    from export.quantize.losses import to_settings

    if input_output not in ("float32", "int8", "uint8"):
        raise ValueError(
            "`input_output` must be 'float32', 'int8' or 'uint8'. "
            f"Received: input_output={input_output!r}"
        )
    if loss is None:
        raise ValueError("`loss` is needed, as the model is not compiled. Received: loss=None")
    if not getattr(model, "outputs", None):
        raise ValueError(
            f"`model` must be functional or Sequential. Received: a {type(model).__name__}"
        )
    # The keys of a dict in the order of `keras.tree.flatten`.
    names = sorted(model.output) if gives_dict(model) else output_names(model, len(model.outputs))
    return to_settings(loss) | {
        "input_output": input_output,
        "inputs": [[s.name, list(s.shape), str(s.dtype)] for s in keras.tree.flatten(specs)],
        "output_names": names,
    }


def _check_layers(model):
    """A ValueError for layers that are none of Keras, which the training's process cannot load."""
    import keras

    from keras_sparse.variables import layers_of_type

    for layer in layers_of_type(model, keras.Layer):
        module = type(layer).__module__
        if not isinstance(layer, keras.Model) and not module.startswith("keras."):
            raise ValueError(
                f"The layer {layer.name!r} is a {type(layer).__name__} of {module}, which tf_keras "
                "does not have: quantization-aware training knows only layers of Keras. Use "
                "convert with quantize='int8', which needs no training."
            )


def _check_targets(model, inputs, y, loss):
    """A ValueError for targets that do not fit the outputs or the loss, such as unknown classes."""
    import keras

    from keras_sparse.compression.checks import check_data

    # Shares the layers, and leaves the model as it is.
    compiled = keras.Model(_alone(model.inputs), _alone(model.outputs), name=model.name)
    compiled.compile(loss=loss)
    check_data("(x, y)", (_alone(inputs), _alone([y] * len(model.outputs))), compiled)


def _alone(values):
    """The values, or the only one."""
    return values if len(values) > 1 else values[0]


def _check_installed():
    missing = [
        name
        for name in ("tensorflow_model_optimization", "tf_keras")
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise ValueError(
            f"Quantization-aware training needs {' and '.join(missing)}: "
            "pip install 'keras-sparse[qat]'"
        )


def _train(model, inputs, y, samples, settings, folder):
    """Runs the worker, which leaves `model.tflite` and `reference.npz` in the folder."""
    model.save(folder / "model.keras")
    for name, arrays in (("x", inputs), ("sample", samples)):
        for i, array in enumerate(arrays):
            np.save(folder / f"{name}{i}.npy", array)
    np.save(folder / "y.npy", y)
    (folder / "settings.json").write_text(json.dumps(settings))
    done = subprocess.run(
        command(_WORKER, folder),
        env=environment(TF_USE_LEGACY_KERAS="1"),
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        error = folder / "error.txt"
        if error.exists():
            reason = " ".join(error.read_text().split())[:500]
        else:
            reason = how_it_ended(done.returncode, done.stderr)[:500]
        raise ExportError(f"Quantization-aware training of {model.name!r} failed: {reason}")
