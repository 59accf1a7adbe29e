"""Names of a model's inputs and outputs in a TFLite file."""

import keyword
import re

# TensorFlow quietly renames an argument with any other name.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
# Keras numbers these, so they differ in another process and after loading.
_COUNTED = re.compile(r"(input_layer|keras_tensor)(_\d+)?")
_MODELS = ("functional", "sequential", "model")


def input_names(structure):
    """The name of each input in a file, and all names that users may use for it.

    Args:
        structure: the model's symbolic inputs, nested as it takes them.

    Returns:
        A list of `(name, names)`, flattened: the keys of a flat dict, otherwise the user's names of
        the inputs; `input_0`, ... by position if TensorFlow would not keep the name, or if Keras
        generated it.
    """
    import keras

    paths = keras.tree.flatten_with_path(structure)
    flat = all(len(path) == 1 and isinstance(path[0], str) for path, _ in paths)
    found = []
    for path, tensor in paths:
        operation = _operation(tensor)
        found.append([*path * flat, tensor.name, *([operation.name] if operation else [])])
    first = [
        # TensorFlow uses each as the name of a function's parameter.
        "" if keyword.iskeyword(names[0]) or names[0] == "self" else names[0]
        for names in found
    ]
    plain = _plain([(name, f"input_{index}") for index, name in enumerate(first)])
    return [(name, (*names, name)) for name, names in zip(plain, found, strict=True)]


def output_names(model, count):
    """The names of a model's outputs in a file.

    Args:
        model: a built `keras.Model` that returns no dict.
        count: number of its outputs, flattened.

    Returns:
        A list of the user's names of the layers that compute the outputs; `output_0`, ... by
        position if Keras generated the name.
    """
    by_position = [f"output_{index}" for index in range(count)]
    tensors = getattr(model, "outputs", None) or []
    if len(tensors) != count:
        return by_position
    operations = [_operation(tensor) for tensor in tensors]
    names = getattr(model, "output_names", None) or [operation.name for operation in operations]
    return _plain(
        [
            ("" if _is_made_up(name, operation) else name, other)
            for name, operation, other in zip(names, operations, by_position, strict=True)
        ]
    )


def gives_dict(model):
    """True if a functional model returns its outputs as a dict."""
    import keras

    functional = getattr(model, "outputs", None) and not isinstance(model, keras.Sequential)
    return isinstance(getattr(model, "output", None), dict) if functional else False


def with_named_outputs(model):
    """A model of the same layers that returns a dict by `output_names`, if possible.

    Subclassed models, whose outputs have no names, are returned as they are.
    """
    import keras

    # A class with its own `call` may return something else than its symbolic outputs.
    own_call = not type(model).call.__module__.startswith("keras.")
    if own_call or not getattr(model, "outputs", None) or gives_dict(model):
        return model
    names = output_names(model, len(model.outputs))
    inputs = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    return keras.Model(inputs, dict(zip(names, model.outputs, strict=True)), name=model.name)


def by_name(model, outputs):
    """The outputs of a model, as a dict by the names in a file."""
    import keras

    if isinstance(outputs, dict):
        return outputs
    flat = keras.tree.flatten(outputs)
    return dict(zip(output_names(model, len(flat)), flat, strict=True))


def _operation(tensor):
    history = getattr(tensor, "_keras_history", None)
    return history.operation if history else None


def _is_made_up(name, operation):
    """True for `dense_3` of a `Dense`, and for an input that is also an output."""
    import keras

    word = re.sub(r"_\d+$", "", name).replace("_", "")
    return (
        isinstance(operation, keras.layers.InputLayer)
        or word == type(operation).__name__.lower()
        or word in _MODELS
    )


def _plain(names):
    """Names; those that are not plain by position, or all by position if two are equal."""
    plain = [
        name if _PLAIN.fullmatch(name) and not _COUNTED.fullmatch(name) else other
        for name, other in names
    ]
    return plain if len(set(plain)) == len(plain) else [other for _, other in names]
