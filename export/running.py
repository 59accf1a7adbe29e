"""The outputs of a TFLite file and of its Keras model on the same samples."""

import contextlib

import numpy as np

from export.errors import ExportError
from export.inputs import DRAWN_SIZE, check_samples, draw_samples
from export.names import by_name
from export.tflite_file import Runner

_KERAS_BATCH = 32
_OPEN_SIZES = (DRAWN_SIZE, 16, 8, 4, 1)


def run_file(path, specs, inputs):
    """Outputs of a file by name, `(n, ...)` each, and its batch size.

    Args:
        path: a `.tflite` file.
        specs: the result of `input_specs`.
        inputs: samples from `check_samples`.
    """
    runner = Runner(path)
    names = _file_names(path, runner, specs)
    # A file whose batch is open runs one sample at a time.
    size = runner.input_shapes[names[0]][0] or 1
    batches = _batches(inputs, size)
    outputs = [runner(dict(zip(names, batch, strict=True))) for batch in batches]
    return _stack(outputs, len(inputs[0]), size), size


def _file_names(path, runner, specs):
    """The name of each input in the file; an ExportError if they do not match the model."""
    import keras

    shapes, flat = runner.input_shapes, keras.tree.flatten(specs)
    names = [
        next((name for name in getattr(spec, "names", (spec.name,)) if name in shapes), None)
        for spec in flat
    ]
    one_size = len({shape[:1] for shape in shapes.values()}) == 1
    fits = set(names) == set(shapes) and all(
        _fits(spec.shape[1:], shapes[name][1:]) for spec, name in zip(flat, names, strict=True)
    )
    if not fits or not one_size:
        known = {spec.name: spec.shape for spec in flat}
        raise ExportError(f"{path} has the inputs {shapes}, the model {known}.")
    return names


def _fits(shape, other):
    return len(shape) == len(other) and all(
        size == own or None in (size, own) for size, own in zip(shape, other, strict=True)
    )


def fix_sizes(specs, path):
    """Replace unknown sizes of the model by the sizes of the file, which may be open too."""
    import keras

    runner = Runner(path)
    flat = keras.tree.flatten(specs)
    for spec, name in zip(flat, _file_names(path, runner, specs), strict=True):
        sizes = zip(spec.shape[1:], runner.input_shapes[name][1:], strict=True)
        spec.shape = (spec.shape[0], *(size if own is None else own for own, size in sizes))


def checked_again(samples, specs):
    """Check samples again, against the sizes that the file has fixed."""
    import keras

    return check_samples(keras.tree.pack_sequence_as(specs, samples), specs)


def drawn(model, specs):
    """Random samples; open sizes get a value that the model accepts."""
    import keras

    if _takes_ids(model, specs):
        with contextlib.suppress(Exception):  # the model cannot be traced
            return _drawn_for_layers(model, specs)
    if not any(None in spec.shape for spec in keras.tree.flatten(specs)):
        return draw_samples(specs)
    for size in _OPEN_SIZES:
        inputs = draw_samples(specs, size=size)
        try:
            _call(model, specs, [array[:1] for array in inputs])
        except Exception:  # layers raise any error for a wrong size
            continue
        return inputs
    raise ValueError(
        "`samples` are needed: the model's sizes are open, and it takes none of "
        f"{', '.join(map(str, _OPEN_SIZES))}."
    )


def _takes_ids(model, specs):
    import keras

    from keras_sparse.variables import layers_of_type

    integers = any("float" not in spec.dtype for spec in keras.tree.flatten(specs))
    return integers or bool(layers_of_type(model, keras.layers.Embedding))


def _drawn_for_layers(model, specs):
    """Samples with ids that the model's layers accept, at the sizes of the file."""
    import keras

    from keras_sparse.surgery.verify import random_inputs

    inputs = keras.tree.map_structure(
        lambda spec: keras.Input(spec.shape[1:], dtype=spec.dtype), specs
    )
    samples = random_inputs(keras.Model(inputs, model(inputs)))
    return check_samples(keras.tree.flatten(samples), keras.tree.flatten(specs))


def _batches(inputs, size):
    """The samples in batches of equal size; the last one wraps around."""
    rows = [np.arange(start, start + size) for start in range(0, len(inputs[0]), size)]
    return [[value.take(row, axis=0, mode="wrap") for value in inputs] for row in rows]


def _stack(batches, count, size):
    """`{output name: array over all samples}`, in float64 or integers."""
    return {
        name: np.concatenate([_rows(batch[name], size) for batch in batches])[:count]
        for name in batches[0]
    }


def _rows(value, size):
    """A value as rows; a value without a batch axis is one row."""
    value = np.asarray(value)
    value = value if value.dtype.kind in "biu" else value.astype("float64")
    return value if value.shape[:1] == (size,) else value[np.newaxis]


def run_keras(model, specs, inputs, batch_size):
    """Outputs of the model by their names in a file, `(n, ...)` each."""

    outputs = getattr(model, "outputs", None) or []
    # If an output depends on the whole batch, the model must use the file's batch.
    each = bool(outputs) and all(output.shape[:1] == (None,) for output in outputs)
    size = _KERAS_BATCH if each else batch_size
    first, *others = _batches(inputs, size)
    found = _call(model, specs, first)
    if size != batch_size and any(value.shape[:1] != (size,) for value in found.values()):
        # An output has other axes than the batch in its first one.
        size = batch_size
        first, *others = _batches(inputs, size)
        found = _call(model, specs, first)
    found = [found, *(_call(model, specs, batch) for batch in others)]
    return _stack(found, len(inputs[0]), size)


def _call(model, specs, batch):
    import keras

    outputs = model(keras.tree.pack_sequence_as(specs, list(batch)), training=False)
    return {
        name: keras.ops.convert_to_numpy(value) for name, value in by_name(model, outputs).items()
    }
