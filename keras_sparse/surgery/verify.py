"""Checks whether two models compute the same, up to rounding."""

import keras
import numpy as np

from keras_sparse._keras import origin
from keras_sparse.surgery.copying import moving
from keras_sparse.surgery.functional import functional, producer_name
from keras_sparse.surgery.graph import Graph
from keras_sparse.surgery.messages import one_line
from keras_sparse.surgery.samples import candidates
from keras_sparse.variables import layers_of_type, restored

# Allowed rounding error, relative to the outputs' scale: by type, or as a multiple of the noise.
_ALLOWED = {"bfloat16": 1e-1, "float16": 2e-2, "float32": 1e-4, "float64": 1e-12}
_NOISE = 64
# Batch size for the user's samples.
_BATCH = 32
# Number of random inputs to try until all outputs are finite.
_TRIES = 8


def check_verify(verify):
    """Raises a `ValueError` if `verify` is neither a bool nor arrays with finite samples."""
    if isinstance(verify, (bool, np.bool_)):
        return
    leaves = keras.tree.flatten(verify)
    sizes = {len(leaf) if np.ndim(leaf) else None for leaf in leaves if hasattr(leaf, "shape")}
    arrays = leaves and all(hasattr(leaf, "shape") for leaf in leaves)
    if not arrays or len(sizes) != 1 or sizes & {None, 0}:
        raise ValueError(
            "`verify` must be True, False, or inputs for the model: an array, or a list or dict of "
            f"arrays, all with the same number of samples. Received: verify={_described(verify)}"
        )
    if not all(_usable(np.asarray(leaf)) for leaf in leaves):
        raise ValueError(
            f"`verify` must be real and finite in {keras.config.floatx()}: NaN and infinity prove "
            f"nothing. Received: verify={_described(verify)}"
        )


def compare(model, compact, verify=True, graph=None):
    """The difference of two models' outputs, on random or given inputs.

    Args:
        model: a functional `keras.Model`.
        compact: a model that takes the same inputs.
        verify: True for random inputs, or arrays; see `check_verify`.
        graph: the `Graph` of `model`, if there is one already.

    Returns:
        `(difference, noise)`, as in `largest_difference`.

    Raises:
        ValueError: no random inputs were found that `model` takes, or it does not take `verify`.
        RuntimeError: `compact` does not take inputs that `model` takes.
    """
    if isinstance(verify, (bool, np.bool_)):
        inputs, outputs = _random_inputs(model, graph=graph)
        return _largest([_distances(model, compact, inputs, outputs)])
    batch = model.inputs[0].shape[0] or _BATCH
    count = len(keras.tree.flatten(verify)[0])
    if count % (model.inputs[0].shape[0] or 1):
        raise ValueError(
            f"`verify` must hold a multiple of {batch} samples, the batch size that the model is "
            f"built for. Received: verify={_described(verify)}"
        )
    check_names(model, verify)
    rows = []
    for start in range(0, count, batch):
        inputs = _part(verify, start, start + batch)
        try:
            outputs = _outputs(model, inputs)
        except Exception as error:
            raise ValueError(
                "`verify` holds inputs that the model does not take. Received: "
                f"verify={_described(verify)}. The model ended with: {one_line(error)}"
            ) from error
        rows.append(_distances(model, compact, inputs, outputs))
    return _largest(rows)


def check_names(model, inputs, what="`verify`"):
    """Raises a `ValueError` if the names in a dict of inputs are not those of the model's inputs.

    Keras ignores unknown names in a dict.

    Args:
        model: a `keras.Model`; if it is not functional, its inputs have no names to check.
        inputs: the user's inputs.
        what: str, the name of the argument in the message.
    """
    tensors = getattr(model, "inputs", None)
    if not isinstance(inputs, dict) or not tensors:
        return
    names = [{tensor.name, producer_name(tensor)} for tensor in tensors]
    keys = model.input.items() if isinstance(model.input, dict) else ()
    for found, tensor in zip(names, tensors, strict=True):
        found.update(key for key, value in keys if value is tensor)
    ours = ", ".join(tensor.name for tensor in tensors)
    unknown = [str(name) for name in inputs if not any(name in found for found in names)]
    if unknown:
        raise ValueError(
            f"{what} has {', '.join(unknown)}, which is no input of the model. Its inputs are "
            f"{ours}."
        )
    missing = [
        tensor.name
        for tensor, found in zip(tensors, names, strict=True)
        if not (found & set(inputs) or getattr(origin(tensor).operation, "optional", False))
    ]
    if missing:
        raise ValueError(f"{what} has no {', '.join(missing)}. The model's inputs are {ours}.")


def random_inputs(model, seed=0):
    """Random inputs that a model takes; see `samples.candidates`.

    Args:
        model: a built `keras.Model`.
        seed: int.

    Returns:
        Arrays in the structure of the model's inputs: the first that give valid sizes in the whole
        model and finite outputs; if there are none, the first that the model takes.

    Raises:
        ValueError: the model took none of the inputs that were tried.
    """
    return _random_inputs(functional(model), seed)[0]


def _random_inputs(model, seed=0, graph=None):
    """As `random_inputs`, for a functional model; returns `(inputs, outputs)`."""
    first, last, taken = None, None, 0
    for inputs in candidates(graph or Graph(model), seed):
        try:
            outputs = _outputs(model, inputs)
        except Exception as error:
            last = error
            continue
        first, taken = first or (inputs, outputs), taken + 1
        if all(map(_finite, outputs)) and _fits(model, inputs):
            return inputs, outputs
        if taken == _TRIES:
            break
    if first is None:
        raise ValueError(
            f"The check that compares outputs could not run: the model {model.name!r} takes none "
            "of the random inputs that were tried. Nothing is known to be wrong. Give inputs of "
            "your own, `verify=x` with arrays as for `model.predict`, or `verify=False` to go "
            f"without. The last try ended with: {one_line(last)}"
        ) from last
    return first


def _fits(model, inputs):
    """Whether open axes have sizes that suit the model.

    TensorFlow computes a meaningless result if an image is too small for a convolution. Keras
    refuses such an image when it infers shapes.
    """
    if not any(None in tensor.shape[1:] for tensor in model.inputs):
        return True

    def specify(tensor, array):
        return keras.KerasTensor(array.shape, tensor.dtype)

    try:
        model.compute_output_spec(keras.tree.map_structure(specify, model.input, inputs))
    except Exception:
        return False
    return True


def largest_difference(model, compact, inputs):
    """The difference of two models' outputs.

    Args:
        model, compact: models that take the same inputs.
        inputs: arrays in the structure of the models' inputs.

    Returns:
        `(difference, noise)` of the worst output, both relative to the output's scale. `noise` is
        the change of `model`'s output if its input changes by one unit in the last place. If both
        models give NaN or the same infinity, the difference is 0; if only one does, it is infinite.
    """
    return _largest([_distances(model, compact, inputs, _outputs(model, inputs))])


def allowed_difference(model, noise):
    """The largest difference that rounding explains, for a model with this noise."""
    dtypes = {layer.compute_dtype for layer in layers_of_type(model, keras.Layer)}
    if not _computes_float64():
        dtypes.add("float32")
    by_type = max((_ALLOWED[dtype] for dtype in dtypes if dtype in _ALLOWED), default=1e-4)
    return max(by_type, _NOISE * noise)


def _computes_float64():
    """Other backends compute products, means and normalisations in float32 at best."""
    return keras.backend.backend() == "tensorflow"


def _largest(rows):
    """The difference and noise of the worst output, from the `_distances` of several batches."""
    pairs = []
    for row in zip(*rows, strict=True):
        scale, difference, noise = np.max(row, axis=0)
        pairs.append((difference / (scale or 1.0), noise / (scale or 1.0)))
    return max(pairs)


def _distances(model, compact, inputs, expected):
    """For each output: its scale, its distance to `compact`'s output, and its change by noise."""
    noisy = _outputs(model, keras.tree.map_structure(_nudge, inputs))
    try:
        found = _outputs(compact, inputs)
    except Exception as error:
        raise RuntimeError(
            "The compact model does not take the inputs that the model takes, so it is not "
            f"returned. It ended with: {one_line(error)}"
        ) from error
    rows = []
    for a, b, c in zip(expected, found, noisy, strict=True):
        numbers = a if a.dtype.kind in "fc" else np.zeros(0)
        scale = np.max(np.abs(numbers), initial=0.0, where=np.isfinite(numbers))
        rows.append((scale, _distance(a, b), _distance(a, c)))
    return rows


def _outputs(model, inputs):
    with _as_it_was(model):
        outputs = keras.tree.flatten(model(inputs, training=False))
        return [_array(output) for output in outputs]


def _as_it_was(model):
    """Restores the state that calls change: seeds, recurrent states, counters.

    This keeps the user's model unchanged, and lets both models draw the same random numbers.
    """
    return restored([*model.non_trainable_weights, *moving(model)])


def _array(output):
    """An output as float64 or complex128; strings are unchanged."""
    array = keras.ops.convert_to_numpy(output)
    if array.dtype.kind in "OSU":
        return array
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _usable(array):
    """Whether an array is real, and finite in the type that models compute in."""
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return bool(np.isfinite(array.astype(keras.config.floatx())).all())
    return array.dtype.kind != "c"


def _finite(array):
    return array.dtype.kind not in "fc" or bool(np.isfinite(array).all())


def _nudge(array):
    """Increases the magnitude of each number by one unit in the last place.

    The last place depends on the type in which the backend computes.
    """
    if getattr(array, "dtype", None) in (object, "string"):
        return array
    array = keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(array))
    if array.dtype.kind != "f":
        return array
    if array.dtype == "float64" and not _computes_float64():
        array = array.astype("float32")
    return np.nextafter(array, np.copysign(np.inf, array), dtype=array.dtype)


def _distance(a, b):
    if a.shape != b.shape:
        return np.inf
    if a.dtype.kind in "OSU":
        return 0.0 if np.array_equal(a, b) else np.inf
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(a - b))
    return float(np.max(np.where(np.isnan(difference), np.inf, difference), initial=0.0))


def _part(inputs, start, stop):
    return keras.tree.map_structure(lambda array: array[start:stop], inputs)


def _described(inputs):
    """The structure with shapes and types, short enough for a message."""

    def describe(leaf):
        if hasattr(leaf, "shape"):
            return f"{getattr(leaf, 'dtype', '')}{tuple(leaf.shape)}"
        return f"{leaf!r:.60}"

    return f"{keras.tree.map_structure(describe, inputs)!s:.300}"
