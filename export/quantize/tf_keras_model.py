"""A Keras 3 model rebuilt in tf_keras (Keras 2), which TensorFlow Model Optimization needs."""

import inspect

import keras
import numpy as np

from keras_sparse.names import free_name

# Arguments that inference does not need; the weights are copied.
_LEFT_AWAY = ("initializer", "regularizer", "constraint")
_LAYERS = {kind: kind for kind in ("Add", "Subtract", "Multiply", "Maximum", "Minimum")}
_LAYERS["Relu"] = "ReLU"
_RENAMED = {"LeakyReLU": {"negative_slope": "alpha"}}


def to_tf_keras(model):
    """Rebuilds a functional or `Sequential` model in tf_keras, with its weights.

    Nested models are inlined, because TensorFlow Model Optimization quantizes only flat models.

    Args:
        model: a built `keras.Model` in float32.

    Returns:
        A `tf_keras.Model` with the inputs and outputs of `model`, both flattened.

    Raises:
        ValueError: a subclassed model, or a layer that tf_keras does not have.
    """
    import tf_keras

    inputs = [
        tf_keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=tensor.name)
        for tensor in model.inputs
    ]
    copies = _Copies(tensor.name for tensor in model.inputs)
    outputs = _apply(model, inputs, copies)
    rebuilt = tf_keras.Model(inputs, outputs, name=model.name)
    for layer, copy in copies.pairs.values():
        copy.set_weights(layer.get_weights())
    return rebuilt


def check_equal(model, rebuilt, inputs):
    """A ValueError if the two models' outputs differ on arrays of a few samples."""
    structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    wanted = keras.tree.flatten(model(keras.tree.pack_sequence_as(structure, inputs)))
    got = keras.tree.flatten(rebuilt(inputs if len(inputs) > 1 else inputs[0]))
    for expected, value in zip(map(keras.ops.convert_to_numpy, wanted), got, strict=True):
        error = np.abs(expected - np.asarray(value)).max()
        if not error <= 1e-4 * max(np.abs(expected).max(), 1e-30):
            raise ValueError(
                f"tf_keras computes something else than Keras 3 for {model.name!r}: the outputs "
                f"differ by {error:.2g}."
            )


class _Copies:
    """The copies of layers in tf_keras, each with a name of its own.

    Layers of different nested models may have the same name.

    Args:
        names: names that no copy may have.

    Attributes:
        pairs: `{id of a layer: (layer, copy)}`.
    """

    def __init__(self, names):
        self.pairs = {}
        self._names = set(names)

    def of(self, layer):
        """The copy of a layer."""
        if id(layer) not in self.pairs:
            self.pairs[id(layer)] = (layer, _copy(layer, self.free_name(layer.name)))
        return self.pairs[id(layer)][1]

    def free_name(self, name):
        """The name, with a number if it is taken."""
        free = free_name(name, is_taken=self._names.__contains__)
        self._names.add(free)
        return free


def _apply(model, inputs, copies):
    """The model's outputs for flat tensors of tf_keras; `copies` is a `_Copies`."""
    if isinstance(model, keras.Sequential):
        for layer in model.layers:
            inputs = _call(layer, inputs, {}, copies)
        return inputs
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise ValueError(
            f"{model.name!r} is neither functional nor Sequential: tf_keras cannot rebuild it."
        )
    config = model.get_config()
    operations = {operation.name: operation for operation in model.operations}
    tensors = {
        (name, node, index): tensor
        for (name, node, index), tensor in zip(_flat(config["input_layers"]), inputs, strict=True)
    }
    waiting = [
        (layer["name"], node, call)
        for layer in config["layers"]
        for node, call in enumerate(layer["inbound_nodes"])
    ]
    while waiting:
        # Layers are listed in the order of their first call, so later calls may have to wait.
        ready = [call for call in waiting if set(_sources(call[2]["args"])) <= set(tensors)]
        for name, node, call in ready:
            arguments = [tensors[source] for source in _sources(call["args"])]
            results = _call(operations[name], arguments, call["kwargs"], copies)
            tensors.update({(name, node, i): result for i, result in enumerate(results)})
        waiting = [call for call in waiting if call not in ready]
    # There, the calls of a functional model are counted from 1.
    first = {name: int(_is_functional(operation)) for name, operation in operations.items()}
    outputs = _flat(config["output_layers"])
    return [tensors[name, node - first[name], index] for name, node, index in outputs]


def _is_functional(operation):
    return isinstance(operation, keras.Model) and not isinstance(operation, keras.Sequential)


def _flat(keys):
    """`[name, node, index]` of each input or output of a model, in order."""
    if isinstance(keys, dict):
        keys = _by_key(keys)
    elif keys and isinstance(keys[0], str):
        return [tuple(keys)]
    return [flat for key in keys for flat in _flat(key)]


def _by_key(values):
    """The values of a dict in the order of `keras.tree.flatten`."""
    return [values[key] for key in sorted(values)]


def _sources(arguments):
    """The origins of the tensors in a call's arguments."""
    if isinstance(arguments, dict):
        if arguments.get("class_name") == "__keras_tensor__":
            return [tuple(arguments["config"]["keras_history"])]
        arguments = _by_key(arguments)
    if isinstance(arguments, (list, tuple)):
        return [source for argument in arguments for source in _sources(argument)]
    return []


def _call(layer, inputs, kwargs, copies):
    """Outputs of a layer's copy, as a list."""
    if isinstance(layer, keras.Model):
        return _apply(layer, inputs, copies)
    if not isinstance(layer, keras.Layer):
        return [_operation(layer, inputs, copies.free_name(layer.name))]
    if _sources(kwargs):
        raise ValueError(f"Layer {layer.name!r} takes a tensor by keyword, which is not rebuilt.")
    outputs = copies.of(layer)(inputs if len(inputs) > 1 else inputs[0])
    return outputs if isinstance(outputs, list) else [outputs]


def _operation(operation, inputs, name):
    """The result of an operation such as `x + y`, computed by a layer of tf_keras."""
    import tf_keras

    kind = _LAYERS.get(type(operation).__name__)
    if kind == "ReLU":
        return tf_keras.layers.ReLU(name=name)(inputs[0])
    if kind is None or len(inputs) != 2 or inputs[0].shape != inputs[1].shape:
        raise ValueError(
            f"The operation {operation.name!r} is no layer, and quantization-aware training knows "
            "layers only. Leave constants to the bias of a Dense or convolution before it, or to "
            "the data; of keras.ops it knows relu, and add, subtract, multiply, maximum and "
            "minimum of two tensors of one shape."
        )
    return getattr(tf_keras.layers, kind)(name=name)(inputs)


def _copy(layer, name):
    import tf_keras

    kind_name = type(layer).__name__
    kind = getattr(tf_keras.layers, kind_name, None)
    if kind is None or getattr(keras.layers, kind_name, None) is not type(layer):
        raise ValueError(
            f"{layer.name!r} is a {kind_name}, which tf_keras does not have: quantization-aware "
            "training knows the layers that both have."
        )
    renamed = _RENAMED.get(kind_name, {})
    known = inspect.signature(kind.__init__).parameters
    config = {
        renamed.get(key, key): value
        for key, value in layer.get_config().items()
        if renamed.get(key, key) in known and not key.endswith(_LEFT_AWAY)
    }
    try:
        return kind.from_config({**config, "name": name})
    except (ValueError, TypeError) as error:
        raise ValueError(f"tf_keras cannot rebuild layer {layer.name!r}: {error}") from error
