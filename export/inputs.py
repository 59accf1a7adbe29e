"""What a Keras model takes in: specs with batch size 1, and samples to try it on."""

import re

import numpy as np

# TensorFlow quietly renames an argument with any other name.
PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
DRAWN_SAMPLES = 8


def input_specs(model):
    """The inputs of a model with batch size 1, nested as the model takes them.

    Args:
        model: a built `keras.Model`. One that is neither functional nor `Sequential` may have one
            input tensor only, as Keras keeps no more than its shape.

    Returns:
        A `keras.InputSpec` with shape `(1, ...)`, dtype and name, or a list, tuple or dict of them.

    Raises:
        ValueError: an unbuilt model, inputs that cannot be told, or an unknown dimension other
            than the batch.
    """
    import keras

    if not isinstance(model, keras.Model):
        raise ValueError(f"`model` must be a keras.Model. Received: model={model!r}")
    if not model.built:
        raise ValueError(
            f"`model` ({model.name!r}) is not built: its inputs have no shape yet. Give it a "
            "keras.Input, or call it once on data."
        )
    structure = _symbolic_inputs(model)
    specs = [_spec(tensor, index) for index, tensor in enumerate(keras.tree.flatten(structure))]
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


def _spec(tensor, index):
    import keras

    if None in tensor.shape[1:]:
        raise ValueError(
            f"`model` has an input with an unknown dimension: {tensor.name!r}, shape "
            f"{tuple(tensor.shape)}. Only the batch may be unknown; build the model with a fixed "
            "shape."
        )
    name = tensor.name if PLAIN_NAME.fullmatch(tensor.name) else f"input_{index}"
    return keras.InputSpec(shape=(1, *tensor.shape[1:]), dtype=tensor.dtype, name=name)


def check_samples(samples, specs):
    """Samples as one array per input, checked against the model's inputs.

    Args:
        samples: what `model.predict` takes: an array of shape `(n, ...)`, or for several inputs
            a list, tuple or dict of arrays that share `n`.
        specs: what `input_specs` returned.

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
            f"`samples` must have the shapes of the model's inputs, {_shapes(wanted)} with the "
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
