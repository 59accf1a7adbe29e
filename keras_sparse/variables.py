"""Prunable variables, and their sparsity."""

import contextlib
import re
import warnings

import keras
import numpy as np

from keras_sparse import _keras
from keras_sparse._types import Exclude
from keras_sparse.names import free_name

# Names of weights that multiply an input; they are prunable with any shape.
_KERNEL = re.compile(r"kernel|(^|_)embeddings?(_|$)")
# Names of weights that are added, or that scale or normalise.
_DENSE = re.compile(
    r"(^|_)(alpha|beta|bias|biases|gamma|scale|temperature|tokens?|mean|variance)(_|\d|$)"
    r"|^moving_|_history$"
)
_POSITION = re.compile(r"(^|_)pos(ition(al|s)?)?(_|\d|$|emb|enc)")


def path_patterns(exclude):
    """Regular expressions for `variable.path` of the variables to keep dense.

    Args:
        exclude: None, or one or a list of: a string, a regular expression searched for in
            `variable.path` (`"conv1/"`, `"kernel$"`); a built `keras.Layer`, all of its kernels
            (see `layers_of_type` to name a type); a `keras.Variable`.

    Returns:
        A tuple of regular expressions; strings, so that they can be saved in a config.

    Raises:
        ValueError: a pattern that does not compile, a layer without weights, another type.

    Example:

    >>> path_patterns(["stem/", model.get_layer("head")])
    ("stem/", "^head/kernel$")
    """
    if exclude is None:
        return ()
    items = exclude if isinstance(exclude, (list, tuple, set)) else [exclude]
    patterns = []
    for item in items:
        if isinstance(item, str):
            _check_pattern(item)
            patterns.append(item)
        elif isinstance(item, keras.Layer):
            if not item.weights:
                raise ValueError(
                    f"`exclude` names the layer {item.name!r}, which has no weights yet. Build the "
                    "model first, or give a pattern for the path of its weights."
                )
            patterns += [exact_pattern(w.path) for w in item.weights if is_prunable(w)]
        elif isinstance(item, keras.Variable):
            patterns.append(exact_pattern(item.path))
        else:
            raise ValueError(
                "`exclude` takes regular expressions over variable paths, built layers and "
                f"variables. Received: exclude={exclude!r}"
            )
    return tuple(patterns)


def _check_pattern(pattern):
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"`exclude` has a pattern that is no regular expression ({error}). "
            f"Received: {pattern!r}"
        ) from error


class _ExactPattern(str):
    """A pattern for the path of one layer or variable, which must not match another."""


def exact_pattern(path):
    """The regular expression that matches one path."""
    return _ExactPattern(f"^{re.escape(path)}$")


def frozen_patterns(exclude):
    """The patterns of `path_patterns(exclude)` that match a weight that is not trained now."""
    items = exclude if isinstance(exclude, (list, tuple, set)) else [exclude]
    weights = [
        weight
        for item in items
        if isinstance(item, (keras.Layer, keras.Variable))
        for weight in getattr(item, "weights", [item])
    ]
    return frozenset(exact_pattern(weight.path) for weight in weights if not weight.trainable)


def check_patterns_match(patterns, paths):
    """Raise a ValueError for patterns of `exclude` that match none of the paths.

    Also for a layer or variable whose path another one has too, unless `exclude` names them all.
    """
    useless = [p for p in patterns if not any(re.search(p, path) for path in paths)]
    if useless:
        raise ValueError(
            f"`exclude` names what is not there: {', '.join(map(repr, useless))}. The paths are: "
            f"{', '.join(paths)}"
        )
    for pattern in patterns:
        found = [path for path in paths if re.search(pattern, path)]
        if isinstance(pattern, _ExactPattern) and len(found) > patterns.count(pattern):
            raise ValueError(
                f"`exclude` names a layer or variable with the path {found[0]!r}, which "
                f"{len(found)} variables have, because layers of different nested models have the "
                "same name. Give them different names, or exclude all of them by the pattern "
                f"{str(pattern)!r}."
            )


def numbered(names):
    """A list of the names with numbers added to the second and later of equal ones.

    Args:
        names: iterable of str, such as paths, which nested models may have twice.

    Example:

    >>> numbered(["c", "out", "c"])
    ["c", "out", "c_1"]
    """
    names = list(names)
    taken, found = set(names), {}
    for name in names:
        own = free_name(name, is_taken=taken.__contains__) if name in found else name
        taken.add(own)
        found[own] = None
    return list(found)


def by_path(variables):
    """`{path: variable}`, in order; equal paths are numbered."""
    return dict(zip(numbered(v.path for v in variables), variables, strict=True))


def numbered_paths(model):
    """`{id of a variable: path}` of a model; equal paths are numbered.

    The trained variables come first, as in `optimizer.build(model.trainable_variables)`: they have
    the same numbers there.
    """
    variables = [*model.trainable_variables, *model.non_trainable_variables]
    return {id(variable): path for path, variable in by_path(variables).items()}


def copied(variable):
    """A copy of a variable's value as an array.

    On PyTorch, `keras.ops.convert_to_numpy` returns a view of the variable.
    """
    return np.array(keras.ops.convert_to_numpy(variable))


@contextlib.contextmanager
def restored(variables):
    """Restores the values of variables at the end of the block."""
    before = [(variable, copied(variable)) for variable in variables]
    try:
        yield
    finally:
        for variable, value in before:
            variable.assign(value)


def layers_of_type(model: keras.Model, layer_types: type | tuple[type, ...]) -> list[keras.Layer]:
    """The layers of `model`, nested ones included, that are instances of `layer_types`.

    Args:
        model: a `keras.Model`.
        layer_types: a layer class or a tuple of them.

    Returns:
        A list of layers, for the `exclude` of an optimizer.

    Example:

    >>> SparseMomentum(exclude=layers_of_type(model, keras.layers.DepthwiseConv2D))
    """
    return [layer for layer in _keras.flatten_layers(model) if isinstance(layer, layer_types)]


def is_prunable(variable, exclude=(), path=None):
    """Whether a variable is a kernel or an embedding, which a method may make sparse.

    Variables that multiply an input are prunable. In Keras they are named kernels and embeddings. A
    variable with another name is prunable if it has two axes longer than one, unless its first axis
    has length one, as in `(1, 1, 8)`: such a variable is broadcast over a batch. Not prunable are
    biases, scales, tokens and positions (by their names), parameters of a normalisation or an
    activation, and variables that Keras overwrites with their gradient.

    Args:
        variable: a `keras.Variable`, not a TensorFlow variable, because its `path` is read.
        exclude: regular expressions, as `path_patterns` makes them.
        path: str, used instead of `variable.path`.

    Returns:
        A bool.
    """
    path = path or variable.path
    if getattr(variable, "overwrite_with_gradient", False) or len(variable.shape) < 2:
        return False
    return _is_kernel(path, variable.shape) and not any(re.search(p, path) for p in exclude)


def _is_kernel(path, shape):
    layer, _, name = path.lower().rpartition("/")
    if _DENSE.search(name) or _POSITION.search(name):
        return False
    if name.startswith("embedding") and _POSITION.search(layer.rsplit("/", 1)[-1]):
        return False
    if _KERNEL.search(name):
        return True
    return shape[0] != 1 and sum(size != 1 for size in shape) >= 2


def check_any_prunable(optimizer, paths, prunable):
    """Raise a ValueError if an optimizer's `exclude` leaves no variable to make sparse."""
    if not any(prunable):
        raise ValueError(
            f"{type(optimizer).__name__} finds no weight to make sparse: kernels and embeddings "
            f"that `exclude` does not match. Received: exclude={tuple(optimizer.exclude)}, "
            f"variables={list(paths)}"
        )


def prunable_variables(
    model: keras.Model, exclude: Exclude | None = None, include_frozen: bool = False
) -> list[keras.Variable]:
    """The prunable weights of a model, in the order of `model.weights`.

    Args:
        model: a built `keras.Model`.
        exclude: variables to leave out; see `path_patterns`.
        include_frozen: bool, whether to include weights that are not trained. Defaults to False.

    Returns:
        A list of `keras.Variable`s; see `is_prunable`.

    Raises:
        ValueError: a model that is not built, or `exclude` matches nothing.
    """
    if not isinstance(model, keras.Layer) or not model.built:
        raise ValueError(f"`model` must be a built keras.Model. Received: model={model!r}")
    patterns = path_patterns(exclude)
    check_patterns_match(patterns, [weight.path for weight in model.weights])
    return prunable_by_patterns(model, patterns, include_frozen)


def prunable_by_patterns(model, patterns, include_frozen=False):
    """`prunable_variables` for patterns that need not match: surgery changes paths."""
    weights = model.weights if include_frozen else model.trainable_weights
    return [weight for weight in weights if is_prunable(weight, patterns)]


def sparsity(
    model: keras.Model, exclude: Exclude | None = None, include_frozen: bool = False
) -> float:
    """Share of exact zeros among the kernels and embeddings that are trained.

    Biases, normalisation, positions and frozen layers do not count; see `is_prunable`.

    Args:
        model: a built `keras.Model`.
        exclude: more variables to leave out: a regular expression for `variable.path`, a built
            layer, a variable, or a list of those.
        include_frozen: bool, whether to include weights that are not trained. Defaults to False.

    Returns:
        A float in [0, 1]; 0.0 for a model without prunable weights.

    Raises:
        ValueError: a model that is not built, or `exclude` matches nothing.

    Example:

    >>> sparsity(model, exclude="logits/")
    0.9
    """
    return share_of_zeros(prunable_variables(model, exclude, include_frozen))


def share_of_zeros(variables):
    """The share of exact zeros in variables; 0.0 for none."""
    values = [keras.ops.convert_to_numpy(v) for v in variables]
    size = sum(value.size for value in values)
    return 1.0 - sum(int(np.count_nonzero(value)) for value in values) / size if size else 0.0


def dead_layers(variables):
    """Paths of the variables that are all zero; the network is dead after such a layer."""
    return [v.path for v in variables if not np.any(keras.ops.convert_to_numpy(v))]


def warn_of_dead_layers(paths):
    """Warn that all weights of these variables are zero, and say what to change."""
    if paths:
        warnings.warn(
            f"All weights of {', '.join(paths)} are zero: the network is dead there and cannot "
            "recover. Lower `l1` (or `target_sparsity`), or raise the scale of the initializer "
            "(`ScaledUniform(scale)`).",
            stacklevel=3,
        )
