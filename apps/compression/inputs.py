"""The model and the data of a compression, checked against each other."""

import dataclasses
import importlib
import zipfile

import keras
import numpy as np

from apps import program
from apps.compression.options import HELD_OUT
from export.inputs import check_samples, input_specs
from keras_sparse import _keras
from keras_sparse.loading import load_model

_TRIED = 32
# A mild one: the given model is hardly better than the smaller one.
_TEMPERATURE = 2.0


@dataclasses.dataclass(frozen=True)
class Data:
    """Arrays `(x, y)` to train on, and to judge on.

    Args:
        train, test: tuples of two arrays.
        told: sentence about samples that were held out, or "".
    """

    train: tuple
    test: tuple
    told: str


def load_compiled(path, loss=None):
    """The model of a file, compiled with a loss.

    Args:
        path: the file.
        loss: name of a loss in Keras; None for the file's own.

    Returns:
        `(model, sentence)`; the sentence says what was taken that the file does not hold, or is "".

    Raises:
        ValueError: a file that cannot be read, a model without a loss or without inputs of known
            size.
    """
    model = load_model(path, compile=True)
    input_specs(model)
    if loss is None:
        if not model.compiled or model.loss is None:
            raise program.UsageError(
                f"{path} holds no loss: give the one of its training, such as "
                "--loss=sparse_categorical_crossentropy, or compile the model before it is saved."
            )
        told = ""
        loss = model.loss
    else:
        loss, told = _named_loss(loss, model)
    config = (model.get_compile_config() or {}) if model.compiled else {}
    if told or (not config.get("metrics") and _is_crossentropy(loss)):
        optimizer = model.optimizer if model.compiled else keras.optimizers.Adam()
        if not model.compiled:
            told += " The file holds no optimizer: Adam is taken."
        model.compile(
            optimizer=optimizer, loss=loss, metrics=["accuracy"] if _is_crossentropy(loss) else None
        )
    return model, told


def register_objects(module):
    """Let Keras find the classes and functions that a module defines, by their names.

    Raises:
        UsageError: there is no such module, or it cannot be imported.
    """
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise program.UsageError(
            f"--import={module} cannot be imported: {error}. Run this in the folder where it is."
        ) from error
    for name, value in vars(found).items():
        if callable(value) and getattr(value, "__module__", None) == found.__name__:
            keras.saving.get_custom_objects()[name] = value


def _named_loss(name, model):
    """The loss and a sentence on it; a cross-entropy takes what the last layer gives."""
    try:
        loss = keras.losses.get(name)
    except ValueError as error:
        raise program.UsageError(
            f"--loss={name}: Keras has no such loss, and --import names no module that has it."
        ) from error
    if not _is_crossentropy(name):
        return loss, f"The loss is {name}."
    activation = _last_activation(model)
    probabilities = activation in ("softmax", "sigmoid")
    kind = "probabilities" if probabilities else "logits"
    loss = _CROSSENTROPIES[name](from_logits=not probabilities)
    return loss, f"The loss is {name} of {kind}: the last activation is {activation}."


_CROSSENTROPIES = {
    "sparse_categorical_crossentropy": keras.losses.SparseCategoricalCrossentropy,
    "categorical_crossentropy": keras.losses.CategoricalCrossentropy,
    "binary_crossentropy": keras.losses.BinaryCrossentropy,
}


def _loss_name(loss):
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", None)
    for known, kind in _CROSSENTROPIES.items():
        if isinstance(loss, kind) or name == kind.__name__:
            return known
    return name


def _is_crossentropy(loss):
    return _loss_name(loss) in _CROSSENTROPIES


def distillation(model):
    """What the smaller model learns from the outputs of the given one.

    Raises:
        UsageError: the outputs are no logits of classes.
    """
    activation = _last_activation(model)
    if not _is_crossentropy(model.loss) or activation in ("softmax", "sigmoid"):
        raise program.UsageError(
            f"--distill is for classifiers that give logits, with a cross-entropy as their loss. "
            f"The loss is {_loss_name(model.loss)}, and the last activation {activation}."
        )
    return keras.distillation.LogitsDistillation(temperature=_TEMPERATURE)


def _last_activation(model):
    """Name of the activation that gives the outputs."""
    last = model
    while isinstance(last, keras.Model):
        last = _keras.origin(last.outputs[0]).operation
    activation = getattr(last, "activation", None)
    return getattr(activation, "__name__", type(last).__name__.lower())


def load_data(path, model, seed):
    """The arrays of a .npz file, as they fit a model.

    Args:
        path: the file, see `--data`.
        model: a compiled `keras.Model`.
        seed: int, decides which samples are held out.

    Raises:
        ValueError: a file that cannot be read, arrays that are missing or do not fit.
    """
    arrays = _arrays(path)
    names = [("x_train", "y_train")] if "x_train" in arrays else [("x", "y")]
    if "x_test" in arrays or "y_test" in arrays:
        names.append(("x_test", "y_test"))
    missing = [name for pair in names for name in pair if name not in arrays]
    if missing:
        raise program.UsageError(
            f"--data={path} has no array {' or '.join(missing)}: give x_train, y_train, x_test and "
            f"y_test, or x and y. Received: {', '.join(arrays) or 'no arrays'}"
        )
    pairs = [_checked(arrays, *pair, model) for pair in names]
    if len(pairs) == 2:
        return Data(*pairs, "")
    (x, y), found = pairs[0], len(pairs[0][0])
    count = max(round(HELD_OUT * found), 1)
    if found < 2:
        raise program.UsageError(f"--data={path} has one sample: none is left to judge on.")
    order = np.random.default_rng(seed).permutation(found)
    test, train = np.sort(order[:count]), np.sort(order[count:])
    told = (
        f"There is no x_test in {path}: {count:,} of the {found:,} samples are held out to judge "
        "on, and not trained on."
    )
    return Data((x[train], y[train]), (x[test], y[test]), told)


def _arrays(path):
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise program.UsageError(
            f"--data={path} cannot be read as a .npz file of arrays: {error}"
        ) from error


def _checked(arrays, x_name, y_name, model):
    x, y = arrays[x_name], arrays[y_name]
    [x] = check_samples(x, input_specs(model), x_name)
    if not y.ndim or len(y) != len(x):
        raise program.UsageError(
            f"{y_name} must have a row for each of the {len(x):,} samples of {x_name}. "
            f"Received: shape {y.shape}"
        )
    if y.dtype.kind not in "biuf" or not np.isfinite(y).all():
        raise program.UsageError(f"{y_name} must hold finite numbers. Received: {y.dtype}")
    if _loss_name(model.loss) == "sparse_categorical_crossentropy":
        classes = model.output_shape[-1]
        if y.min() < 0 or y.max() >= classes or (y != np.floor(y)).any():
            raise program.UsageError(
                f"{y_name} must hold classes from 0 to {classes - 1}. Received: {y.dtype} from "
                f"{y.min()} to {y.max()}"
            )
    try:
        model.compute_loss(y=y[:_TRIED], y_pred=model(x[:_TRIED], training=False))
    except Exception as error:  # of Keras or of the backend
        raise program.UsageError(
            f"{y_name} of shape {y.shape} does not fit the model's loss and its outputs of shape "
            f"{model.output_shape}: {str(error).strip().splitlines()[0]}"
        ) from error
    return x, y


def classes(data, model):
    """Integer classes of the samples to judge on, or None where the model is no classifier."""
    y, shape = data.test[1], model.output_shape
    if not isinstance(shape, tuple) or len(shape) != 2 or shape[1] < 2:
        return None
    name = _loss_name(model.loss)
    if name == "categorical_crossentropy":
        return y.argmax(-1)
    return y.reshape(-1).astype("int64") if name == "sparse_categorical_crossentropy" else None
