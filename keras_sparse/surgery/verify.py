"""Whether two models compute the same, up to what rounding explains."""

import keras
import numpy as np

from keras_sparse.surgery.graph import functional
from keras_sparse.variables import layers_of_type

# What rounding may explain, relative to the outputs' scale: by type, or times the noise floor.
_ALLOWED = {"bfloat16": 1e-1, "float16": 2e-2, "float32": 1e-4, "float64": 1e-12}
_NOISE = 64
# The size an open axis (height, time steps) gets, and the number of samples.
_OPEN, _BATCH = 64, 2


def largest_difference(model, smaller, inputs):
    """How far the outputs of two models are apart.

    Args:
        model, smaller: models that take the same inputs.
        inputs: arrays in the structure of the models' inputs.

    Returns:
        `(difference, noise)` of the worst output, both relative to that output's scale; `noise` is
        how far `model`'s output moves when its input moves by one unit in the last place. Where
        both models give NaN or the same infinity there is no difference; where only one does, it
        is infinite.
    """
    expected = _outputs(model, inputs)
    noisy = _outputs(model, keras.tree.map_structure(_nudge, inputs))
    pairs = []
    for a, b, c in zip(expected, _outputs(smaller, inputs), noisy, strict=True):
        scale = np.max(np.abs(a), initial=0.0, where=np.isfinite(a)) or 1.0
        pairs.append((_distance(a, b) / scale, _distance(a, c) / scale))
    return max(pairs)


def allowed_difference(model, noise):
    """The difference that rounding explains in a model with this noise floor."""
    dtypes = {layer.compute_dtype for layer in layers_of_type(model, keras.Layer)}
    if keras.backend.backend() != "tensorflow":
        # Elsewhere Keras computes means and normalisations in float32 at best.
        dtypes.add("float32")
    by_type = max((_ALLOWED[dtype] for dtype in dtypes if dtype in _ALLOWED), default=1e-4)
    return max(by_type, _NOISE * noise)


def random_inputs(model, seed=0):
    """Random inputs for a model: normal numbers, or ones and zeros where it takes integers."""
    rng = np.random.default_rng(seed)

    def draw(tensor):
        shape = (_BATCH, *(_OPEN if size is None else size for size in tensor.shape[1:]))
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        if "float" in dtype:
            return rng.standard_normal(shape).astype("float64" if dtype == "float64" else "float32")
        return rng.integers(0, 2, shape).astype(dtype)

    return keras.tree.map_structure(draw, functional(model).input)


def _outputs(model, inputs):
    outputs = keras.tree.flatten(model(inputs, training=False))
    return [keras.ops.convert_to_numpy(output).astype(np.float64) for output in outputs]


def _nudge(array):
    """The array with each number one unit in the last place further out.

    In the type that the backend computes in: JAX makes float32 of float64.
    """
    array = keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(array))
    if array.dtype.kind != "f":
        return array
    return np.nextafter(array, np.copysign(np.inf, array), dtype=array.dtype)


def _distance(a, b):
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(a - b))
    return float(np.max(np.where(np.isnan(difference), np.inf, difference), initial=0.0))
