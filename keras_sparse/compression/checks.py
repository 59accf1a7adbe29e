"""Checks data against a model, before any training."""

import collections.abc
import numbers

import keras
import numpy as np

from keras_sparse.compression.data import first_batch, is_arrays
from keras_sparse.epochs import is_endless
from keras_sparse.surgery.messages import one_line
from keras_sparse.surgery.verify import check_names
from keras_sparse.validation import check_finite_samples

_TRIED = 2
_SPARSE = keras.losses.SparseCategoricalCrossentropy, "sparse_categorical_crossentropy"
_ONE_HOT = keras.losses.CategoricalCrossentropy, "categorical_crossentropy"
_SIDES = ("x", "y", "sample_weight")


def check_data(name, data, model, evaluated=False):
    """Checks the data of a compression against the model.

    Arrays are read as a whole: they must have the same length and be finite, and their classes must
    be those of the outputs. The model and its loss are called on the first samples. Of a data set
    that can be read again, the first batch is checked in the same way.

    Args:
        name: str, the name of the argument.
        data: see `compress`.
        model: a built `keras.Model`.
        evaluated: bool, whether models are evaluated on the data, several times. An infinite
            `PyDataset` and an iterator are then refused too.

    Raises:
        ValueError: the data do not fit; the message names the wrong array and says what it should
            be.
    """
    if is_arrays(data):
        _check_arrays(f"`{name}`", data, model)
    elif not _gives_batches(data):
        raise ValueError(
            f"`{name}` must be (x, y) or (x, y, sample_weight) of arrays, or a data set of "
            f"batches. Received: {name} of type {type(data).__name__}"
        )
    elif is_endless(data) and not isinstance(data, keras.utils.PyDataset):
        raise ValueError(
            f"`{name}` is a tf.data.Dataset without an end, so an epoch has no length. Give "
            f"`{name}.take(n)`, n batches for an epoch, or leave `repeat()` out."
        )
    elif evaluated and is_endless(data):
        raise ValueError(
            f"`{name}` is a {type(data).__name__} without an end, so an evaluation has none. Give "
            "arrays, or a `PyDataset` whose `num_batches` is a number."
        )
    elif evaluated and isinstance(data, collections.abc.Iterator):
        raise ValueError(
            f"`{name}` is evaluated several times, and an iterator gives its batches once. Give "
            f"arrays, a `PyDataset`, a `tf.data.Dataset`, or a list of its batches, `list({name})`."
            f" Received: {name} of type {type(data).__name__}"
        )
    elif _batches(data) == 0:
        raise ValueError(f"`{name}` must hold at least one batch. Received: a data set of none")
    else:
        _check_batch(name, first_batch(data), model)


def _gives_batches(data):
    if isinstance(data, (dict, str, tuple, np.ndarray)):
        return False
    return hasattr(data, "__iter__") or hasattr(data, "__getitem__")


def _batches(data):
    try:
        return len(data)
    except TypeError:
        return None


def _check_batch(name, batch, model):
    if batch is None:
        return
    sides = [side for side in batch if side is not None] if isinstance(batch, (tuple, list)) else ()
    if not 1 < len(sides) < 4:
        number = f" of {len(sides)}" if sides else ""
        raise ValueError(
            f"`{name}` must give batches (x, y) or (x, y, sample_weight). Received: a batch of "
            f"type {type(batch).__name__}{number}"
        )
    shapes = [np.shape(leaf) for leaf in keras.tree.flatten(sides) if hasattr(leaf, "shape")]
    if () in shapes or len({shape[0] for shape in shapes}) > 1:
        raise ValueError(
            f"`{name}` must give batches with as many targets as samples. A `tf.data.Dataset` of "
            f"single samples gives them after `.batch(128)`. Received: {_shapes(sides)}"
        )
    _check_arrays(f"the first batch of `{name}`", sides, model, tried=None)


def _check_arrays(what, data, model, tried=_TRIED):
    for side, arrays in zip(_SIDES, data, strict=False):
        for array in keras.tree.flatten(arrays) or [()]:
            _check_array(f"{side} of {what}", array)
    lengths = {side: _lengths(arrays) for side, arrays in zip(_SIDES, data, strict=False)}
    if len(set().union(*lengths.values())) != 1:
        found = "; ".join(f"{side}: {sorted(each)}" for side, each in lengths.items())
        raise ValueError(f"{what} must have as many targets as samples. Received samples: {found}")
    check_names(model, data[0], f"x of {what}")
    _check_target_names(what, data[1], model)
    _check_classes(what, data[1], model)
    _try(what, data, model, tried)


def _lengths(arrays):
    return {len(array) for array in keras.tree.flatten(arrays)}


def _check_array(what, array):
    if array is None:
        raise ValueError(f"{what} must be an array. Received: None")
    if isinstance(array, (numbers.Number, str)):
        raise ValueError(
            f"{what} must be an array: Keras reads a Python list as one array for each item. Give "
            f"numpy.asarray(…) of it. Received: a list with {array!r}"
        )
    if not np.ndim(array) or not len(array):
        raise ValueError(f"{what} must hold at least one sample. Received: shape {np.shape(array)}")
    array = np.asarray(array)
    if array.dtype.kind == "c":
        raise ValueError(f"{what} must hold real numbers. Received: {array.dtype}")
    # Types of half precision that NumPy does not have, such as bfloat16, are of another kind.
    if array.dtype.kind != "f" and "float" not in array.dtype.name:
        return
    check_finite_samples(what, array)


def _check_target_names(what, y, model):
    names, loss = _outputs(model)[0], getattr(model, "loss", None)
    if not isinstance(y, dict) or not names:
        return
    needed = [n for n in names if n in loss] if isinstance(loss, dict) else names
    wrong = {
        "has no": [n for n in needed if n not in y],
        "has an unknown": [str(n) for n in y if n not in names],
    }
    for told, found in wrong.items():
        if found:
            raise ValueError(
                f"y of {what} {told} {', '.join(found)}. The model's outputs are "
                f"{', '.join(names)}. Received: {', '.join(map(str, y))}"
            )


def _check_classes(what, y, model):
    for path, given, loss, output in _by_output(y, model):
        targets, classes = np.asarray(given), output.shape[-1]
        _check_encoding(f"y{path} of {what}", targets, loss, output)
        if _takes_classes(loss):
            fits = _is_real(targets) and (targets == np.floor(targets)).all()
            if not (fits and targets.min() >= 0 and targets.max() < classes):
                span = f" from {targets.min()} to {targets.max()}" if _is_real(targets) else ""
                raise ValueError(
                    f"y{path} of {what} must hold classes from 0 to {classes - 1}. Received: "
                    f"{targets.dtype}{span}"
                )


def _check_encoding(what, targets, loss, output):
    """Refuses class numbers if the loss needs a number for each class, and vice versa."""
    one_hot, classes = np.shape(targets) == (len(targets), *output.shape[1:]), output.shape[-1]
    if _is_loss(loss, *_SPARSE) and one_hot and classes > 1:
        wanted, advice = "the number of a class", "give numpy.argmax(y, axis=-1)"
        other = "CategoricalCrossentropy"
    elif _is_loss(loss, *_ONE_HOT) and np.shape(targets)[1:] in (
        tuple(output.shape[1:-1]),
        (*output.shape[1:-1], 1),
    ):
        wanted, advice = "a number for each class", "give keras.utils.to_categorical(y)"
        other = "SparseCategoricalCrossentropy"
    else:
        return
    raise ValueError(
        f"{what} must hold {wanted} for each sample, as the model's loss needs it: {advice}, or "
        f"compile the model with {other}. Received: shape {np.shape(targets)} for {classes} classes"
    )


def _is_loss(loss, kind, name):
    """Whether a loss is one of Keras', as an object, a function or a string."""
    return isinstance(loss, kind) or getattr(loss, "__name__", loss) == name


def _is_real(array):
    return array.dtype.kind in "biuf"


def _takes_classes(loss):
    if isinstance(loss, keras.losses.SparseCategoricalCrossentropy):
        return loss.get_config().get("ignore_class") is None
    return _is_loss(loss, *_SPARSE)


def _by_output(y, model):
    """`(path, targets, loss, output)` of each output with a loss and targets."""
    (names, outputs), loss = _outputs(model), getattr(model, "loss", None)
    if len(outputs) == 1:
        flat = keras.tree.flatten(y), keras.tree.flatten(loss)
        return [("", ys[0], losses[0], outputs[0]) for ys, losses in [flat] if ys and losses]
    if not isinstance(loss, (dict, list, tuple)):
        loss = [loss] * len(outputs)
    paths = [f"[{name!r}]" for name in names]
    rows = zip(paths, _in_order(y, names), _in_order(loss, names), outputs, strict=True)
    return [row for row in rows if row[1] is not None and row[2] is not None]


def _outputs(model):
    """Names and tensors of a model's outputs; the names of a dict of outputs are its keys."""
    output = getattr(model, "output", None)
    if not isinstance(output, dict):
        outputs = list(getattr(model, "outputs", None) or [])
        return list(getattr(model, "output_names", None) or []), outputs
    if any(map(keras.tree.is_nested, output.values())):
        return [], []
    # In the order in which Keras flattens a dict, so that lists of losses and targets fit.
    return sorted(output), [output[name] for name in sorted(output)]


def _in_order(given, names):
    """An entry for each output, from a dict or list of losses or targets; None for no entry."""
    if isinstance(given, dict):
        return [given.get(name) for name in names]
    if isinstance(given, (list, tuple)) and len(given) == len(names):
        return list(given)
    return [None] * len(names)


def _try(what, data, model, tried):
    """Calls the model and its loss on the first samples, to find shapes that do not fit."""
    x, y, *weights = (_first(side, tried) for side in data)
    try:
        outputs = model(x, training=False)
        if getattr(model, "compiled", False) and getattr(model, "loss", None) is not None:
            model.compute_loss(x, y, outputs, *weights)
    except Exception as error:  # of Keras or of the backend
        raise ValueError(
            f"{what} does not fit the model {model.name!r}, or y its loss and outputs. Received: "
            f"{_shapes(data)}. The model ended with: {one_line(error)}"
        ) from error


def _first(side, tried):
    return keras.tree.map_structure(lambda array: np.asarray(array[:tried]), side)


def _shapes(data):
    shapes = keras.tree.map_structure(lambda array: str(np.shape(array)), tuple(data))
    return ", ".join(f"{side} {each}" for side, each in zip(_SIDES, shapes, strict=False))
