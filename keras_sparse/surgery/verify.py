"""Whether two models compute the same, up to what rounding explains."""

import keras
import numpy as np

from keras_sparse.surgery.graph import functional

# Units in the last place of the outputs' scale; 1e-5 in float32.
_ULPS = 84
# Times what rounding the input moves the outputs by.
_NOISE = 64
# The size an open axis (height, time steps) gets, and the number of samples.
_OPEN, _BATCH = 64, 2
_EPS = {"bfloat16": 2**-8, "float16": 2**-10, "float32": 2**-23, "float64": 2**-52}


def largest_difference(model, smaller, inputs):
    """How far the outputs of two models are apart, and how far they may be.

    Args:
        model, smaller: models that take the same inputs.
        inputs: arrays in the structure of the models' inputs.

    Returns:
        `(difference, allowed)`, the worst output's, both relative to that output's scale. Where
        both models give NaN or the same infinity there is no difference; where only one does, it
        is infinite.
    """
    expected = _outputs(model, inputs)
    precision = _precision(model)
    noisy = _outputs(model, keras.tree.map_structure(_nudge, inputs))
    worst = (0.0, 1.0)
    for a, b, c in zip(expected, _outputs(smaller, inputs), noisy, strict=True):
        scale = np.max(np.abs(a), initial=0.0, where=np.isfinite(a)) or 1.0
        allowed = max(_ULPS * precision, _NOISE * _distance(a, c) / scale)
        difference = _distance(a, b) / scale
        if difference / allowed >= worst[0] / worst[1]:
            worst = (difference, allowed)
    return worst


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
    """The array with each number one unit in the last place further out."""
    if array.dtype.kind != "f":
        return array
    return np.nextafter(array, np.copysign(np.inf, array), dtype=array.dtype)


def _precision(model):
    """The relative precision of the coarsest type in which a model computes."""
    dtypes = {layer.compute_dtype for layer in model._flatten_layers()}
    if "float64" in dtypes:
        # JAX computes in float32 unless it is told otherwise.
        dtypes.add(keras.backend.standardize_dtype(keras.ops.zeros((), "float64").dtype))
    return max((_EPS[dtype] for dtype in dtypes if dtype in _EPS), default=_EPS["float32"])


def _distance(a, b):
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(a - b))
    return float(np.max(np.where(np.isnan(difference), np.inf, difference), initial=0.0))
