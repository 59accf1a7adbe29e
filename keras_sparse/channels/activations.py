"""Activations of a model's channels on data."""

import functools

import keras
import numpy as np

from keras_sparse import _keras
from keras_sparse.channels.names import by_name
from keras_sparse.channels.norms import layers_with_channels
from keras_sparse.epochs import epoch_of

# Layers that do not mix channels, which may come between a layer and its nonlinearity.
_PASSED = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
)
# Names of functions. Without underscores, they match layers and operations too: LeakyReLU, Relu.
# Functions that mix channels, such as softmax, are not included.
_ACTIVATIONS = {name.replace("_", "") for name in dir(keras.activations)} | {"prelu"}
_ACTIVATIONS -= {"linear", "softmax", "logsoftmax", "sparsemax", "glu"}


def activations(model, data, batch_size=128):
    """Activations of the channels of a model's layers, batch by batch, at inference.

    A channel is read after its nonlinearity. This is the layer's own activation, or an activation
    layer (or function of `keras.ops`) that follows, with only normalisations and dropout in
    between. Without a nonlinearity, it is read before channels are mixed: for example, after its
    normalisation and before an addition.

    Args:
        model: a functional or Sequential `keras.Model`, nested or not.
        data: one of: an array of inputs of shape `(images, ...)`, a list or dict of arrays if the
            model has several inputs; a tuple `(x, y)` of those and labels; a `tf.data.Dataset`,
            `keras.utils.PyDataset` or other iterable of batches `x`, `(x, y)` or `(x, y, weights)`.
            Of an infinite `PyDataset`, `len(data)` batches are read.
        batch_size: int, for arrays; data sets come in their own batches.

    Returns:
        An iterator over `({layer name: array (images, positions, channels)}, labels)`, one for each
        batch, for the layers in `layers_with_channels`. The calls of a shared layer become
        additional positions. Labels are None if there are none. Layers inside wrappers
        (`TimeDistributed`) are omitted.

    Raises:
        ValueError: a model without a known graph; a data set without an end and a length.

    Example:

    >>> for found, _ in activations(model, x_test):
    ...     largest = np.abs(found["conv1"]).max((0, 1))
    """
    return read(reader(model), data, batch_size)


def reader(model):
    """A reader of the channels of a model; reuse it, because it is compiled only once."""
    return _Reader(model, {id(v): k for k, v in by_name(layers_with_channels(model)).items()})


def read(reader, data, batch_size=128):
    """`activations` with a `reader` of the model."""
    for x, y in batches(data, batch_size):
        found = {}
        for name, values in reader.read(x):
            found.setdefault(name, []).append(values)
        yield {name: np.concatenate(parts, axis=1) for name, parts in found.items()}, y


def batches(data, batch_size):
    """Batches `(x, y)` of the data that `activations` takes; y is None without labels."""
    if not _is_arrays(data):
        for batch in epoch_of(data):
            x, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
            yield x, None if y is None else keras.tree.map_structure(np.asarray, y)
        return
    for start in range(0, len(keras.tree.flatten(data)[0]), batch_size):
        rows = slice(start, start + batch_size)
        part = keras.tree.map_structure(functools.partial(_rows, rows=rows), data)
        yield part[:2] if isinstance(part, tuple) else (part, None)


def _rows(array, rows):
    return np.asarray(array[rows])


def _is_arrays(data):
    """Whether data is inputs or a tuple of inputs and labels, not an iterable of batches."""
    return all(map(_is_inputs, data)) if isinstance(data, tuple) else _is_inputs(data)


def _is_inputs(data):
    if isinstance(data, (list, dict)):
        data = data.values() if isinstance(data, dict) else data
        return all(hasattr(array, "shape") for array in data)
    return hasattr(data, "shape")


class _Reader:
    """Reads the channels of a model with a second model that shares the layers.

    Nested models have their own readers, because Keras would record a call of them in the user's
    layers.
    """

    def __init__(self, model, names):
        graph = _graph(model)
        if graph is None:
            raise ValueError(
                "Activations are read from built Sequential and functional models. "
                f"Received: model={model.name!r} of type {type(model).__name__}"
            )
        depths = _keras.nodes_by_depth(graph)
        calls = [node for nodes in depths for node in nodes if not node.is_input]
        walk = _Walk(calls, graph.outputs)
        self._taps, self._inner, tensors = [], [], []
        for node in calls:
            layer = node.operation
            if id(layer) in names:
                self._taps.append((names[id(layer)], _channel_axis(layer)))
                tensors.append(walk.behind_nonlinearity(node))
        for node in calls:
            if _graph(node.operation) is not None:
                ends = len(tensors) + len(node.input_tensors)
                self._inner.append((_Reader(node.operation, names), slice(len(tensors), ends)))
                tensors += node.input_tensors
        # `graph.input` is nested, so that Keras finds the inputs in a dict by their names.
        self._inputs = graph.input
        self._features = keras.Model(graph.input, tensors) if tensors else None

    def read(self, inputs):
        """Pairs of a layer's name and its activations."""
        if self._features is None:
            return
        # Keras returns a single output without a list.
        outputs = keras.tree.flatten(self._features.predict_on_batch(inputs))
        for (name, axis), output in zip(self._taps, outputs, strict=False):
            values = np.moveaxis(_as_float32(output), axis, -1)
            yield name, values.reshape(len(values), -1, values.shape[-1])
        for reader, where in self._inner:
            yield from reader.read_flat(outputs[where])

    def read_flat(self, inputs):
        """As `read`, for a flat list of inputs."""
        return self.read(keras.tree.pack_sequence_as(self._inputs, inputs))


def _as_float32(output):
    """An array; float16 could not be compared with the thresholds of criteria."""
    values = np.asarray(output)
    return values.astype("float32") if values.dtype.itemsize < 4 else values


class _Walk:
    """Follows a channel from its layer to its nonlinearity."""

    def __init__(self, calls, outputs):
        self._outputs = {id(tensor) for tensor in outputs}
        self._readers = {}
        for node in calls:
            for tensor in node.input_tensors:
                self._readers.setdefault(id(tensor), []).append(node)

    def behind_nonlinearity(self, node):
        """The tensor from which the channels of a call are read."""
        (tensor,) = node.output_tensors
        if getattr(node.operation, "activation", None) not in (None, keras.activations.linear):
            return tensor
        while id(tensor) not in self._outputs and len(self._readers.get(id(tensor), ())) == 1:
            (reader,) = self._readers[id(tensor)]
            if not _is_activation(reader.operation) and not isinstance(reader.operation, _PASSED):
                break
            (tensor,) = reader.output_tensors
            if _is_activation(reader.operation):
                break
        return tensor


def _is_activation(operation):
    if isinstance(operation, keras.layers.Activation):
        operation = operation.activation
        return getattr(operation, "__name__", "").replace("_", "") in _ACTIVATIONS
    return type(operation).__name__.lower() in _ACTIVATIONS


def _channel_axis(layer):
    return 1 if getattr(layer, "data_format", None) == "channels_first" else -1


def _graph(model):
    """The functional model inside a model, None if there is none."""
    if isinstance(model, keras.Sequential):
        return _keras.functional_of(model)
    return model if isinstance(model, keras.Function) else None
