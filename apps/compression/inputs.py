"""The model and the data of a compression, checked against each other."""

import dataclasses

import keras
import numpy as np

from apps import program
from apps.compression.options import HELD_OUT
from export.inputs import check_samples, input_specs
from keras_sparse import _keras
from keras_sparse.array_files import read_arrays
from keras_sparse.compression.data import count, take
from keras_sparse.loading import load_model
from keras_sparse.surgery.graph import functional

_TRIED = 2
# A low temperature, because the given model is hardly better than the compact one.
_TEMPERATURE = 2.0


@dataclasses.dataclass(frozen=True)
class Data:
    """Arrays `(x, y)` for training, and for evaluation.

    Args:
        train, test: tuples of two arrays, nested like the inputs and the outputs of the model.
        told: sentence about held-out samples, or "".
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
        `(model, sentence)`; the sentence names defaults for parts that the file does not have, or
        is "".

    Raises:
        ValueError: a file that cannot be read; a model without a loss or without inputs of known
            size.
    """
    try:
        model = load_model(path, compile=True)
    except ValueError:
        if loss is None:
            raise
        model = load_model(path)  # the file's own loss is not needed
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
        model.compile(optimizer=optimizer, loss=loss, metrics=_metrics(loss))
        # A saved model without the optimizer's variables warns when it is loaded.
        model.optimizer.build(model.trainable_variables)
    return model, told


def _metrics(loss):
    """The accuracy, for a cross-entropy."""
    if not _is_crossentropy(loss):
        return None
    if getattr(loss, "from_logits", False) and _loss_name(loss) == "binary_crossentropy":
        # Keras' "accuracy" takes outputs above 0.5 for ones, and logits are ones above 0.
        return [keras.metrics.BinaryAccuracy("accuracy", threshold=0.0)]
    return ["accuracy"]


def _named_loss(name, model):
    """The loss and a sentence on it; a cross-entropy matches the outputs of the last layer."""
    try:
        loss = keras.losses.get(name)
    except ValueError as error:
        raise program.UsageError(
            f"--loss={name}: Keras has no such loss, and --import names no module that has it."
        ) from error
    outputs = _output_names(functional(model))
    if len(outputs) > 1:
        raise program.UsageError(
            f"--loss={name} is for models with one output. This one has "
            f"{', '.join(outputs)}: compile it with a loss for each, and save it."
        )
    if not _is_crossentropy(name):
        return loss, f"The loss is {name}."
    activation = _last_activation(model)
    probabilities = activation in ("softmax", "sigmoid")
    kind = "probabilities" if probabilities else "logits"
    loss = _CROSSENTROPIES[_loss_name(name)](from_logits=not probabilities)
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
    """The loss with which the compact model learns from the outputs of the given model.

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
    """Name of the activation of the outputs, before layers that keep their values."""
    graph = functional(model)
    calls = [node for nodes in _keras.nodes_by_depth(graph) for node in nodes]
    origins = {id(tensor): node for node in calls for tensor in node.output_tensors}
    node = origins[id(graph.outputs[0])]
    while _keeps_values(node.operation):
        node = origins[id(node.input_tensors[0])]
    last = node.operation
    if isinstance(last, keras.Model):
        return _last_activation(last)
    activation = getattr(last, "activation", None)
    return getattr(activation, "__name__", type(last).__name__.lower())


def _keeps_values(layer):
    linear = getattr(layer, "activation", None) is keras.activations.linear
    return isinstance(layer, _KEEPING) or (isinstance(layer, keras.layers.Activation) and linear)


# Layers that do not change values at inference.
_KEEPING = (keras.layers.Dropout, keras.layers.Flatten, keras.layers.Reshape)


def load_data(path, model, seed):
    """The arrays of a .npz file, checked against a model.

    Args:
        path: the file, see `--data`.
        model: a compiled `keras.Model`.
        seed: int, chooses the held-out samples.

    Raises:
        ValueError: a file that cannot be read; arrays that are missing or do not fit.
    """
    arrays = _arrays(path)
    graph = functional(model)
    pairs = [_checked(arrays, keys, model, graph) for keys in _parts(arrays, graph, path)]
    if len(pairs) == 2:
        return Data(*pairs, "")
    found = count(pairs[0])
    held_out = max(round(HELD_OUT * found), 1)
    if found < 2:
        raise program.UsageError(f"--data={path} has one sample: none is left to judge on.")
    order = np.random.default_rng(seed).permutation(found)
    test, train = (take(pairs[0], np.sort(own)) for own in np.split(order, [held_out]))
    told = (
        f"There is no x_test in {path}: {held_out:,} of the {found:,} samples are held out to "
        "judge on, and not trained on."
    )
    return Data(train, test, told)


def _arrays(path):
    unreadable = f"--data={path} cannot be read as a .npz file of arrays"
    try:
        arrays = read_arrays(path)
    except ValueError as error:
        raise program.UsageError(f"{unreadable}: {error}") from error
    if not isinstance(arrays, dict):
        raise program.UsageError(f"{unreadable}: it is a .npy file.")
    return arrays


def _output_names(graph):
    """The names of the outputs for `compile(loss=...)`, in their flattened order."""
    if isinstance(graph.output, dict):
        return [path[-1] for path, _ in keras.tree.flatten_with_path(graph.output)]
    return graph.output_names


def _keys(graph, part):
    """`(keys of inputs, keys of outputs)`: x_train, or x_train_NAME for several inputs."""
    sides = {
        "x": [spec.name for spec in keras.tree.flatten(input_specs(graph))],
        "y": _output_names(graph),
    }
    return tuple(
        ["_".join(filter(None, (side, part, name if len(names) > 1 else ""))) for name in names]
        for side, names in sides.items()
    )


def _parts(arrays, graph, path):
    """The keys for training, and the keys for evaluation if the file has any of them."""
    whole, train, test = (_keys(graph, part) for part in ("", "train", "test"))
    found = [sum(key in arrays for side in keys for key in side) for keys in (whole, train, test)]
    parts = [train if found[1] >= max(found[0], 1) else whole, *([test] if found[2] else [])]
    missing = [key for keys in parts for side in keys for key in side if key not in arrays]
    if missing:
        split = ", ".join(key for side in (*train, *test) for key in side)
        raise program.UsageError(
            f"--data={path} has no array {' or '.join(missing)}: give {split}; or "
            f"{', '.join([*whole[0], *whole[1]])}. "
            f"Received: {', '.join(arrays) or 'no arrays'}"
        )
    return parts


def _checked(arrays, keys, model, graph):
    """`(x, y)` for these keys, nested like the model's inputs and outputs."""
    specs, output = input_specs(model), graph.output
    xs = [
        check_samples(arrays[key], spec, key)[0]
        for key, spec in zip(keys[0], keras.tree.flatten(specs), strict=True)
    ]
    ys = [arrays[key] for key in keys[1]]
    for key, array in zip([*keys[0], *keys[1]], (*xs, *ys), strict=True):
        if not array.ndim or len(array) != len(xs[0]):
            raise program.UsageError(
                f"{key} must have a row for each of the {len(xs[0]):,} samples of {keys[0][0]}. "
                f"Received: shape {array.shape}"
            )
    tensors = keras.tree.flatten(output)
    losses = _losses(model.loss, _output_names(graph))
    for key, y, loss, tensor in zip(keys[1], ys, losses, tensors, strict=True):
        _check_targets(key, y, loss, tensor.shape[-1])
    x, y = keras.tree.pack_sequence_as(specs, xs), keras.tree.pack_sequence_as(output, ys)
    few_x, few_y = take((x, y), slice(_TRIED))
    try:
        model.compute_loss(y=few_y, y_pred=model(few_x, training=False))
    except Exception as error:  # an error of Keras or of the backend
        shapes = [own.shape for own in ys]
        raise program.UsageError(
            f"{', '.join(keys[1])} of shape {', '.join(map(str, shapes))} does not fit the "
            f"model's loss and its outputs of shape "
            f"{', '.join(str(tuple(own.shape)) for own in tensors)}: "
            f"{str(error).strip().splitlines()[0]}"
        ) from error
    return x, y


def _losses(loss, names):
    """The loss of each output, in the outputs' flattened order."""
    if isinstance(loss, dict):
        return [loss.get(name) for name in names]
    return loss if isinstance(loss, (list, tuple)) else [loss] * len(names)


def _check_targets(key, y, loss, size):
    if y.dtype.kind not in "biuf" or not np.isfinite(y).all():
        raise program.UsageError(f"{key} must hold finite numbers. Received: {y.dtype}")
    if _loss_name(loss) == "sparse_categorical_crossentropy" and (
        y.min() < 0 or y.max() >= size or (y != np.floor(y)).any()
    ):
        raise program.UsageError(
            f"{key} must hold classes from 0 to {size - 1}. Received: {y.dtype} from "
            f"{y.min()} to {y.max()}"
        )
    if _loss_name(loss) == "binary_crossentropy" and (y.min() < 0 or y.max() > 1):
        raise program.UsageError(
            f"{key} must hold numbers from 0 to 1 for binary_crossentropy. Received: {y.dtype} "
            f"from {y.min()} to {y.max()}"
        )


def classes(data, model):
    """Integer classes of the evaluation samples; None if the model is no classifier."""
    y = data.test[1]
    if not isinstance(y, np.ndarray):
        return None
    shape = model.output_shape
    if len(shape) != 2 or shape[1] < 2:
        return None
    name = _loss_name(model.loss)
    if name == "categorical_crossentropy":
        return y.argmax(-1)
    return y.reshape(-1).astype("int64") if name == "sparse_categorical_crossentropy" else None
