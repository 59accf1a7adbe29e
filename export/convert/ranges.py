"""Finding a tensor with NaN, or with numbers that are too large for int8."""

import keras
import numpy as np

from export.integers import about_a_wide_range
from keras_sparse.surgery.graph import Graph

# A mask may have the smallest float, -3.4e38, which is too large for any int8 scale.
_EXTREME = 1e30
_SAMPLES = 8


def about_extreme_ranges(model, samples):
    """A sentence about the first tensor with NaN or numbers beyond 1e30, or "".

    Args:
        model: a built `keras.Model`.
        samples: list of arrays `(n, ...)`, one for each input.
    """
    try:
        for name, array in _tensors(Graph(model), samples):
            if array.dtype.kind != "f":
                continue
            if np.isnan(array).any():
                return f"The Keras model itself gives NaN in {name!r}."
            if np.abs(array).max() > _EXTREME:
                return about_a_wide_range(name, array.min(), array.max())
    except Exception:  # any layer may fail; it must not replace the original error
        return ""
    return ""


def _tensors(graph, samples):
    """Name and value of the outputs of each call, in order."""
    values = {
        value: keras.ops.convert_to_tensor(array[:_SAMPLES], value.dtype)
        for value, array in zip(graph.inputs, samples, strict=True)
    }
    for call in graph.calls:
        args, kwargs = call.arguments(values.__getitem__)
        results = keras.tree.flatten(call.operation(*args, **kwargs))
        values.update(zip(call.outputs, results, strict=True))
        for result in results:
            yield call.operation.name, keras.ops.convert_to_numpy(result)
