"""The layers that compute the outputs of a model."""

import keras

from keras_sparse.surgery.graph import Graph
from keras_sparse.variables import is_prunable


def output_layers(model: keras.Model) -> list[keras.Layer]:
    """The layers with the last kernel before an output of the model.

    Their channels are the classes or values that the model predicts, so exclude these layers when
    you remove channels.

    Args:
        model: a built `keras.Model`.

    Returns:
        A list of layers, in the order of the outputs, for the `exclude` of an optimizer.

    Raises:
        ValueError: the model cannot be traced.

    Example:

    >>> RDA(target_sparsity=0.5, groups="channel", exclude=output_layers(model))
    """
    found, seen, values = [], set(), list(Graph(model).outputs)
    while values:
        value = values.pop(0)
        if id(value) in seen or value.producer is None:
            continue
        seen.add(id(value))
        layer = value.producer.operation
        if any(is_prunable(weight) for weight in getattr(layer, "weights", ())):
            if not any(layer is other for other in found):
                found.append(layer)
        else:
            values += value.producer.inputs
    return found
