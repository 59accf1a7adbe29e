"""What a Keras model takes in: specs with a fixed batch size, and samples to try it on."""

import pathlib
import re
import zipfile

import numpy as np

# TensorFlow quietly renames an argument with any other name.
PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
DRAWN_SAMPLES = 8


def input_specs(model, batch_size=1):
    """The inputs of a model with a fixed batch size, nested as the model takes them.

    Args:
        model: a built `keras.Model`. One that is neither functional nor `Sequential` may have one
            input tensor only, as Keras keeps no more than its shape.
        batch_size: int of at least 1.

    Returns:
        A `keras.InputSpec` with shape `(batch_size, ...)`, dtype and name, or a list, tuple or
        dict of them.

    Raises:
        ValueError: a bad batch size, an unbuilt model, inputs that cannot be told, or an unknown
            dimension other than the batch.
    """
    import keras

    if not isinstance(model, keras.Model):
        raise ValueError(f"`model` must be a keras.Model. Received: model={model!r}")
    if not model.built:
        raise ValueError(
            f"`model` ({model.name!r}) is not built: its inputs have no shape yet. Give it a "
            "keras.Input, or call it once on data."
        )
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(
            f"`batch_size` must be an integer of 1 or more. Received: batch_size={batch_size!r}"
        )
    structure = _symbolic_inputs(model)
    specs = [
        _spec(tensor, index, batch_size)
        for index, tensor in enumerate(keras.tree.flatten(structure))
    ]
    return keras.tree.pack_sequence_as(structure, specs)


def _symbolic_inputs(model):
    import keras

    if isinstance(model, keras.Sequential):
        return model.inputs[0]
    # A functional model's `input` keeps the nesting that `inputs` flattens.
    if getattr(model, "inputs", None):
        return model.input
    shape = (model.get_build_config() or {}).get("input_shape")
    if not shape or not all(size is None or isinstance(size, int) for size in shape):
        raise ValueError(
            f"The inputs of `model` ({model.name!r}, a {type(model).__name__}) cannot be told. "
            "Wrap it in a functional model: keras.Model(inputs, model(inputs))."
        )
    return keras.KerasTensor(shape, dtype=model.input_dtype, name="inputs")


def _spec(tensor, index, batch_size):
    import keras

    if None in tensor.shape[1:]:
        raise ValueError(
            f"`model` has an input with an unknown dimension: {tensor.name!r}, shape "
            f"{tuple(tensor.shape)}. Only the batch may be unknown; build the model with a fixed "
            "shape."
        )
    name = tensor.name if PLAIN_NAME.fullmatch(tensor.name) else f"input_{index}"
    return keras.InputSpec(shape=(batch_size, *tensor.shape[1:]), dtype=tensor.dtype, name=name)


def check_samples(samples, specs, name="samples"):
    """Samples as one array per input, checked against the model's inputs.

    Args:
        samples: what `model.predict` takes: an array of shape `(n, ...)`, or for several inputs
            a list, tuple or dict of arrays that share `n`.
        specs: what `input_specs` returned.
        name: of the argument, for the messages.

    Returns:
        A list of arrays in the flattened order of `specs`, each with the input's dtype.

    Raises:
        ValueError: another number of arrays or another shape than the model's, or no samples.
    """
    import keras

    flat_specs = keras.tree.flatten(specs)
    # A bare input may be given as nested lists of numbers; elsewhere lists are structure.
    bare = isinstance(specs, keras.InputSpec)
    arrays = [np.asarray(array) for array in ([samples] if bare else keras.tree.flatten(samples))]
    wanted = [("n", *spec.shape[1:]) for spec in flat_specs]
    got = [array.shape for array in arrays]
    counts = {shape[:1] for shape in got}
    fits = [shape[1:] for shape in got] == [shape[1:] for shape in wanted]
    if not fits or len(counts) != 1 or counts <= {(), (0,)}:
        raise ValueError(
            f"`{name}` must have the shapes of the model's inputs, {_shapes(wanted)} with the "
            f"same n >= 1. Received: {_shapes(got)}"
        )
    return [array.astype(spec.dtype) for array, spec in zip(arrays, flat_specs, strict=True)]


def _shapes(shapes):
    return ", ".join("(" + ", ".join(map(str, shape)) + ")" for shape in shapes)


def draw_samples(specs, seed=0):
    """Samples from a seeded generator: standard normal floats, integers that are 0 or 1.

    Small integers, because what an integer input may hold (the rows of an embedding) is not known.

    Args:
        specs: what `input_specs` returned.
        seed: of `numpy.random.default_rng`.

    Returns:
        A list of `DRAWN_SAMPLES` samples per input, as `check_samples` returns them.
    """
    import keras

    rng = np.random.default_rng(seed)
    arrays = []
    for spec in keras.tree.flatten(specs):
        shape = (DRAWN_SAMPLES, *spec.shape[1:])
        is_float = "float" in spec.dtype
        drawn = rng.standard_normal(shape) if is_float else rng.integers(0, 2, shape)
        arrays.append(drawn.astype(spec.dtype))
    return arrays


def read_samples(path, specs):
    """Samples and labels from a file that `numpy.save` or `numpy.savez` wrote.

    Args:
        path: a `.npy` file with the samples of the one input, or a `.npz` file with an array for
            each input by its name (`x` will do for a single one), and, if there are labels, `y`.
        specs: what `input_specs` returned.

    Returns:
        `(samples, labels)`: samples as the model takes them, labels of shape `(n,)` or None.

    Raises:
        ValueError: a file that is missing, damaged or lacks an input.
    """
    import keras

    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = {"x": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{pathlib.Path(path)} cannot be read as arrays: {reason}") from error
    names = [spec.name for spec in keras.tree.flatten(specs)]
    if len(names) == 1 and "x" in arrays:
        names = ["x"]
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(
            f"{path} has no array {', '.join(missing)}: give one array for each input of the "
            f"model, by its name. Received: {', '.join(arrays) or 'no arrays'}"
        )
    samples = keras.tree.pack_sequence_as(specs, [arrays[name] for name in names])
    check_samples(samples, specs, f"arrays of {path}")
    labels = arrays.get("y")
    # CIFAR's labels are a column.
    return samples, labels[:, 0] if np.ndim(labels) == 2 and labels.shape[1] == 1 else labels
