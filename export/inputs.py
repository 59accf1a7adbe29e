"""The inputs of a Keras model: specs with a fixed batch size, and samples."""

import collections.abc
import pathlib

import numpy as np

from export.names import input_names
from export.samples import arrays_of, find_names, shapes_text

DRAWN_SAMPLES = 8
DRAWN_SIZE = 32


def input_specs(model, batch_size=1, input_shape=None):
    """The inputs of a model with a fixed batch size, nested as the model takes them.

    Args:
        model: a built `keras.Model`. A subclassed model must take its inputs in one argument. Keras
            keeps only their shapes, so they count as floats.
        batch_size: int of at least 1.
        input_shape: shapes without the batch, for inputs with unknown sizes: a shape for a single
            input, a list of shapes, or a dict by the inputs' names. None in a shape leaves a size
            open.

    Returns:
        A `keras.InputSpec` with shape `(batch_size, ...)`, dtype and name, or a list, tuple or
        dict of them.

    Raises:
        ValueError: a bad batch size, an unbuilt model, unknown inputs, an unknown dimension other
            than the batch, or a shape that does not fit the model.
    """
    import keras

    specs = open_input_specs(model, batch_size)
    flat = keras.tree.flatten(specs)
    shapes = _given_shapes(input_shape, specs)
    for spec, shape in zip(flat, shapes, strict=True):
        if shape is not None:
            _set_shape(spec, shape)
        elif None in spec.shape[1:]:
            raise ValueError(
                f"`model` has an input with an unknown dimension: {spec.name!r}, shape "
                f"{(None, *spec.shape[1:])}. Give its size without the batch, such as "
                f"input_shape={_example(spec.shape[1:])}; None in it leaves a size open in the "
                "file."
            )
    return specs


def open_input_specs(model, batch_size=1):
    """`input_specs` that may have None for unknown sizes."""
    import keras

    from keras_sparse.validation import check_integer

    if not isinstance(model, keras.Model):
        raise ValueError(f"`model` must be a keras.Model. Received: model={model!r}")
    if not model.built:
        raise ValueError(
            f"`model` ({model.name!r}) is not built: its inputs have no shape yet. Give it a "
            "keras.Input, or call it once on data."
        )
    batch_size = check_integer("batch_size", batch_size, "[1, inf)")
    structure = _symbolic_inputs(model)
    specs = []
    for tensor, (name, names) in zip(
        keras.tree.flatten(structure), input_names(structure), strict=True
    ):
        if "string" in tensor.dtype:
            raise ValueError(
                f"`model` takes text in its input {name!r}, for which LiteRT has no operators. "
                "Convert the part of it that takes numbers, and look words up before."
            )
        spec = keras.InputSpec(shape=(batch_size, *tensor.shape[1:]), dtype=tensor.dtype, name=name)
        spec.names = names
        specs.append(spec)
    return keras.tree.pack_sequence_as(structure, specs)


def _symbolic_inputs(model):
    import keras

    if isinstance(model, keras.Sequential):
        return model.inputs[0]
    # `input` of a functional model is nested, `inputs` is flat.
    if getattr(model, "inputs", None):
        return model.input
    shapes = (model.get_build_config() or {}).get("input_shape")
    if not shapes:
        raise ValueError(
            f"The inputs of `model` ({model.name!r}, a {type(model).__name__}) are not known. "
            "Wrap it in a functional model: keras.Model(inputs, model(inputs))."
        )
    return keras.tree.map_shape_structure(
        lambda shape: keras.KerasTensor(shape, dtype=model.input_dtype), shapes
    )


def _given_shapes(input_shape, specs):
    """A shape or None for each flattened spec."""
    import keras

    flat = keras.tree.flatten(specs)
    if input_shape is None:
        return [None] * len(flat)
    if isinstance(input_shape, collections.abc.Mapping):
        places = {name: i for i, spec in enumerate(flat) for name in spec.names}
        unknown = [str(name) for name in input_shape if name not in places]
        if unknown:
            raise ValueError(
                f"`input_shape` names {', '.join(unknown)}; the inputs of the model are "
                f"{', '.join(spec.name for spec in flat)}."
            )
        shapes = [None] * len(flat)
        for name, shape in input_shape.items():
            shapes[places[name]] = shape
        return shapes
    shapes = [input_shape] if len(flat) == 1 and not _is_shapes(input_shape) else input_shape
    if not _is_shapes(shapes) or len(shapes) != len(flat):
        raise ValueError(
            f"`input_shape` must hold a shape for each of the {len(flat)} inputs of the model, as "
            f"a list or as a dict by name. Received: input_shape={input_shape!r}"
        )
    return list(shapes)


def _is_shapes(value):
    return (
        isinstance(value, (list, tuple))
        and all(isinstance(shape, (list, tuple)) or shape is None for shape in value)
        and any(isinstance(shape, (list, tuple)) for shape in value)
    )


def _set_shape(spec, shape):
    known = spec.shape[1:]
    good = (
        isinstance(shape, (list, tuple))
        and len(shape) == len(known)
        and all(
            size is None or (isinstance(size, int) and not isinstance(size, bool) and size >= 1)
            for size in shape
        )
    )
    if not good or any(
        own is not None and size != own for own, size in zip(known, shape, strict=True)
    ):
        raise ValueError(
            f"`input_shape` must fit the shape {known} of the input {spec.name!r}, without the "
            f"batch, in integers of 1 or more and None for what stays open. Received: {shape!r}"
        )
    spec.shape = (spec.shape[0], *shape)


def _example(sizes):
    return tuple(DRAWN_SIZE if size is None else size for size in sizes)


def check_samples(samples, specs, name="samples"):
    """Samples as one array per input, checked against the model's inputs.

    Args:
        samples: what `model.predict` takes: an array of shape `(n, ...)`, or for several inputs
            a list, tuple or dict by name of arrays that share `n`. Or a stream of batches or single
            samples: a generator, a `tf.data.Dataset`, a `keras.utils.PyDataset`, a list of batches,
            or a function that returns any of these. From a tuple `(x, y)` only `x` is used.
        specs: the result of `input_specs`.
        name: the name of the argument, for messages.

    Returns:
        A list of arrays in the flattened order of `specs`, each with the input's dtype.

    Raises:
        ValueError: the number of arrays, the names or a shape does not fit the model; no samples;
            NaN, infinity, or numbers that do not fit the input's dtype.
    """
    import keras

    arrays = arrays_of(samples, specs, name)
    if len({len(array) for array in arrays}) != 1 or not len(arrays[0]):
        raise ValueError(
            f"`{name}` must have the shapes of the model's inputs, {shapes_text(specs)} with the "
            f"same n >= 1. Received: {', '.join(str(array.shape) for array in arrays)}"
        )
    return [
        _cast(array, spec, name)
        for array, spec in zip(arrays, keras.tree.flatten(specs), strict=True)
    ]


def _cast(array, spec, name):
    """The array in the dtype of an input; a ValueError if the cast does more than round."""
    dtype = array.dtype
    what = f"`{name}` for the input {spec.name!r}"
    if dtype.kind not in "biuf" and "float" not in dtype.name:
        advice = " A cast would lose their imaginary part." * (dtype.kind == "c")
        raise ValueError(f"{what} must hold real numbers.{advice} Received: {dtype}")
    # Imported here, because it imports Keras, which is slow.
    from keras_sparse.validation import check_finite_samples

    check_finite_samples(what, array)
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(spec.dtype)
    lost = ~np.isfinite(cast) if "float" in spec.dtype else cast != array
    if lost.any():
        kind = "numbers" if "float" in spec.dtype else "whole numbers"
        raise ValueError(
            f"{what} must hold {kind} that {spec.dtype} can hold. Received: {dtype} from "
            f"{array.min()} to {array.max()}"
        )
    return cast


def draw_samples(specs, seed=0, size=DRAWN_SIZE):
    """Samples from a seeded generator: standard normal floats, integers that are 0 or 1.

    The integers are small, because the valid range of an integer input (the rows of an embedding)
    is unknown.

    Args:
        specs: what `input_specs` returned.
        seed: of `numpy.random.default_rng`.
        size: int, used for open sizes.

    Returns:
        A list of `DRAWN_SAMPLES` samples per input, like the result of `check_samples`.
    """
    import keras

    rng = np.random.default_rng(seed)
    arrays = []
    for spec in keras.tree.flatten(specs):
        sizes = (size if each is None else each for each in spec.shape[1:])
        shape = (DRAWN_SAMPLES, *sizes)
        is_float = "float" in spec.dtype
        drawn = rng.standard_normal(shape) if is_float else rng.integers(0, 2, shape)
        arrays.append(drawn.astype(spec.dtype))
    return arrays


def _training_part(arrays, names):
    """The arrays of a file; of a file for `apps.compress` those to train on, by the inputs' names.

    Args:
        arrays: dict by name.
        names: names of the model's inputs, which are no parts.
    """
    part = "_train" if any(key.startswith("x_train") for key in arrays.keys() - names) else ""
    whole = {f"x_{name}" for name in names}
    if not part and (names & arrays.keys() or not whole & arrays.keys()):
        return arrays
    found = {}
    for key, array in arrays.items():
        side, _, rest = key.partition(part or "_")
        if side == "x":
            found[rest.removeprefix("_") or "x"] = array
    labels = {"y": arrays[f"y{part}"]} if f"y{part}" in arrays else {}
    return labels | found


def read_samples(path, specs):
    """Samples and labels from a file that `numpy.save` or `numpy.savez` wrote.

    Args:
        path: a `.npy` file with the samples of a single input, or a `.npz` file with an array for
            each input by name (or `x` for a single input), and, if there are labels, `y`. A file
            for `apps.compress` is one too: its `x_train`, or for each of several inputs
            `x_train_NAME` or `x_NAME`, and `y_train` or `y` are read.
        specs: what `input_specs` returned.

    Returns:
        `(samples, labels)`: samples nested like the model's inputs, labels of shape `(n,)` or None.

    Raises:
        ValueError: a file that is missing, damaged, lacks an input or has unknown arrays.
    """
    import keras

    from keras_sparse.array_files import read_arrays

    try:
        loaded = read_arrays(path)
    except ValueError as error:
        raise ValueError(f"{pathlib.Path(path)} cannot be read as arrays: {error}") from error
    arrays = loaded if isinstance(loaded, dict) else {"x": loaded}
    flat = keras.tree.flatten(specs)
    names = {name for spec in flat for name in getattr(spec, "names", (spec.name,))}
    arrays = _training_part(arrays, names)
    inputs = {name: array for name, array in arrays.items() if name != "y" or "y" in names}
    if len(flat) == 1 and "x" in inputs:
        inputs[flat[0].name] = inputs.pop("x")
    _, missing, _ = find_names(inputs, flat)
    if missing:
        wanted = (
            f"x with samples for the model's input, or {missing[0]}"
            if len(flat) == 1
            else f"{', '.join(missing)}: give one array for each input of the model, by its name"
        )
        raise ValueError(
            f"{path} has no array {wanted}. Received: {', '.join(arrays) or 'no arrays'}"
        )
    check_samples(inputs, specs, f"arrays of {path}")
    samples = arrays_of(inputs, specs, f"arrays of {path}")
    labels = None if "y" in names else arrays.get("y")
    # The labels of CIFAR are a column.
    labels = labels[:, 0] if np.ndim(labels) == 2 and labels.shape[1] == 1 else labels
    return keras.tree.pack_sequence_as(specs, samples), labels
