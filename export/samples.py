"""Converting samples of any form to one array per input."""

import collections.abc
import contextlib
import functools
import itertools
import operator

import numpy as np

# A stream with more samples is assumed to be endless, or too large for the memory.
_MOST_SAMPLES = 100_000
_MOST_BYTES = 4 * 2**30


class _OtherShapesError(ValueError):
    """Samples with another nesting or another shape than the model's inputs."""


def arrays_of(samples, specs, name):
    """One array of shape `(n, ...)` per input, in the flattened order of the specs.

    Args:
        samples, specs, name: see `export.inputs.check_samples`.

    Raises:
        ValueError: names or a shape that do not fit the model, no samples, or an endless stream.
    """
    if callable(samples) and not _is_array(samples):
        samples = samples()
    if _is_stream(samples):
        return _joined(_each(samples), specs, name)
    try:
        return _arrays(samples, specs, name)
    except _OtherShapesError:
        if isinstance(samples, tuple) and 2 <= len(samples) <= 3:  # inputs and targets
            with contextlib.suppress(_OtherShapesError):
                return _arrays(samples[0], specs, name)
        # A list with another nesting may be a list of batches, like the batches of a generator.
        if isinstance(samples, (list, tuple)) and samples and not np.isscalar(samples[0]):
            try:
                return _joined(samples, specs, name)
            except _OtherShapesError:
                pass
        raise


def shapes_text(specs):
    """The required shapes of samples, for a message."""
    import keras

    return ", ".join(_text(("n", *spec.shape[1:])) for spec in keras.tree.flatten(specs))


def _text(shape):
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"


def spread(size, number):
    """Indices of at most `number` samples, spread evenly: a file may be sorted by class."""
    return np.unique(np.linspace(0, size - 1, number).astype(int))


def _is_array(value):
    return hasattr(value, "__array__")


def _is_stream(value):
    import keras

    if isinstance(value, keras.utils.PyDataset):
        return True
    known = (list, tuple, str, bytes, collections.abc.Mapping)
    return hasattr(value, "__iter__") and not _is_array(value) and not isinstance(value, known)


def _each(stream):
    import keras

    if not isinstance(stream, keras.utils.PyDataset):
        return stream
    count = stream.num_batches
    return map(stream.__getitem__, itertools.count() if count is None else range(count))


def _joined(stream, specs, name):
    """Concatenates the batches, or single samples, of a stream."""
    batches, samples, size = [], 0, 0
    for element in stream:
        batches.append(_batch(element, specs, name))
        samples += len(batches[-1][0])
        size += sum(array.nbytes for array in batches[-1])
        if samples > _MOST_SAMPLES or size > _MOST_BYTES:
            raise ValueError(
                f"`{name}` gave {samples} samples and did not end. Give fewer: "
                "dataset.take(...), or itertools.islice of a generator."
            )
    if not batches:
        raise ValueError(
            f"`{name}` gave no samples. A generator gives them once: give the function that makes "
            "it."
        )
    try:
        return [np.concatenate(parts) for parts in zip(*batches, strict=True)]
    except ValueError as error:
        raise ValueError(f"`{name}` must give samples of one size. {error}") from error


def _batch(element, specs, name):
    """The arrays of an element of a stream: inputs, or a tuple (or list) of inputs and targets."""
    forms = [element]
    if isinstance(element, (list, tuple)) and 1 <= len(element) <= 3:
        # As in `fit`, a tuple is inputs and targets. A list is too, if it does not match the
        # inputs.
        forms.insert(0 if isinstance(element, tuple) else 1, element[0])
    errors = []
    for form in forms:
        try:
            return _arrays(form, specs, name, single=True)
        except _OtherShapesError as error:
            errors.append(error)
    raise errors[0]


def _arrays(samples, specs, name, single=False):
    """Arrays of the specs' shapes; with `single`, arrays without a batch axis get one."""
    import keras

    flat = keras.tree.flatten(specs)
    arrays = _nested(samples, specs, name)
    if single and all(_fits(a.shape, s.shape[1:]) for a, s in zip(arrays, flat, strict=True)):
        return [array[np.newaxis] for array in arrays]
    if not all(
        array.ndim and _fits(array.shape[1:], spec.shape[1:])
        for array, spec in zip(arrays, flat, strict=True)
    ):
        raise _other_shapes(specs, name, [array.shape for array in arrays])
    return arrays


def _fits(shape, wanted):
    return len(shape) == len(wanted) and all(
        size in (None, own) for own, size in zip(shape, wanted, strict=True)
    )


def _other_shapes(specs, name, shapes):
    return _OtherShapesError(
        f"`{name}` must have the shapes of the model's inputs, {shapes_text(specs)} with the "
        f"same n >= 1. Received: {', '.join(map(_text, shapes))}"
    )


def _nested(samples, specs, name):
    """Arrays in the flattened order of specs, matched by name if there are names."""
    import keras

    if isinstance(specs, (list, tuple)) and len(specs) == 1 and _is_array(samples):
        samples = [samples]
    if _is_like(samples, specs):
        return [
            _array(functools.reduce(operator.getitem, path, samples), spec, name)
            for path, spec in keras.tree.flatten_with_path(specs)
        ]
    if isinstance(samples, collections.abc.Mapping):
        return _by_name(samples, keras.tree.flatten(specs), name)
    leaves = keras.tree.flatten(samples)
    if len(leaves) == len(keras.tree.flatten(specs)) and all(map(_is_array, leaves)):
        names = keras.tree.map_structure(lambda spec: spec.name, specs)
        raise _OtherShapesError(
            f"`{name}` must be nested as the model's inputs are, {names}, or be a dict by these "
            f"names. Received: a {type(samples).__name__} of {len(leaves)} arrays"
        )
    raise _other_shapes(specs, name, [np.shape(each) for each in leaves if _is_array(each)])


def _is_like(samples, specs):
    """True if samples are nested like specs; an array may be nested lists of numbers."""
    if isinstance(specs, dict):
        return (
            isinstance(samples, collections.abc.Mapping)
            and set(samples) == set(specs)
            and all(_is_like(samples[key], specs[key]) for key in specs)
        )
    if isinstance(specs, (list, tuple)):
        return (
            isinstance(samples, (list, tuple))
            and len(samples) == len(specs)
            and all(map(_is_like, samples, specs))
        )
    return not isinstance(samples, collections.abc.Mapping)


def _by_name(samples, flat, name):
    found, missing, unknown = find_names(samples, flat)
    if missing or unknown:
        fault = "no array" if missing else "an unknown array"
        raise ValueError(
            f"`{name}` has {fault} {', '.join(missing or unknown)}: give one array for each input "
            f"of the model, by its name, {', '.join(spec.name for spec in flat)}. Received: "
            f"{', '.join(map(str, samples)) or 'no arrays'}"
        )
    return [_array(samples[key], spec, name) for key, spec in zip(found, flat, strict=True)]


def find_names(samples, flat):
    """Match the keys of a dict with the inputs.

    Args:
        samples: dict by name.
        flat: list of specs.

    Returns:
        `(keys, missing, unknown)`: the key of each input, or None; names of inputs without a key;
        keys that name no input, or an input that already has a key.
    """
    places = {}
    names = [getattr(spec, "names", (spec.name,)) for spec in flat]
    # Try the first name of each input, which `model.predict` uses, before all second names.
    for rank in itertools.zip_longest(*names):
        for place, each in enumerate(rank):
            places.setdefault(each, place)
    keys, unknown = [None] * len(flat), []
    for key in samples:
        place = places.get(key)
        if place is None or keys[place] is not None:
            unknown.append(str(key))
        else:
            keys[place] = key
    missing = [spec.name for key, spec in zip(keys, flat, strict=True) if key is None]
    return keys, missing, unknown


def _array(value, spec, name):
    """A NumPy array from a leaf; a list with a single array gives that array."""
    try:
        array = np.asarray(value)
    except ValueError as error:  # parts of different shapes
        shapes = [np.shape(each) for each in value if _is_array(each)]
        raise _other_shapes(spec, name, shapes) from error
    alone = isinstance(value, (list, tuple)) and len(value) == 1 and _is_array(value[0])
    if alone and array.ndim > len(spec.shape):
        return array[0]
    return array
