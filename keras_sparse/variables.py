"""Which variables may be made sparse, and how sparse they are."""

import re
import warnings

import keras
import numpy as np

# Weights that cost next to nothing and whose zeros mean something else than "cut".
DENSE_NAMES = frozenset({"alpha", "beta", "bias", "gamma", "moving_mean", "moving_variance"})


def path_patterns(exclude):
    """Regular expressions over `variable.path` for what a user asked to keep dense.

    Args:
        exclude: None, or one or a list of: a string, a regular expression searched for in
            `variable.path` (`"conv1/"`, `"kernel$"`); a built `keras.Layer`, all of its weights
            (see `layers_of_type` to name a type); a `keras.Variable`.

    Returns:
        A tuple of regular expressions; plain strings, so that they can be saved in a config.

    Raises:
        ValueError: a pattern that does not compile, a layer without weights, another type.

    Example:

    >>> path_patterns(["stem/", model.get_layer("head")])
    ("stem/", "^head/kernel$", "^head/bias$")
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
            patterns += [_exactly(weight) for weight in item.weights]
        elif isinstance(item, keras.Variable):
            patterns.append(_exactly(item))
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


def _exactly(variable):
    return f"^{re.escape(variable.path)}$"


def layers_of_type(model, layer_types):
    """The layers of `model`, nested ones included, that are instances of `layer_types`.

    Args:
        model: a `keras.Model`.
        layer_types: a layer class or a tuple of them.

    Returns:
        A list of layers, for the `exclude` of an optimizer.

    Example:

    >>> SparseMomentum(exclude=layers_of_type(model, keras.layers.DepthwiseConv2D))
    """
    return [layer for layer in model._flatten_layers() if isinstance(layer, layer_types)]


def is_prunable(variable, exclude=()):
    """Whether a variable is a weight matrix or kernel that a method may make sparse.

    Prunable is what has two or more axes and is neither a bias nor a parameter of a normalisation
    or an activation (`DENSE_NAMES`), and matches none of the patterns.

    Args:
        variable: a `keras.Variable`; its `path` is read, so not TensorFlow's own variable.
        exclude: regular expressions, as `path_patterns` makes them.

    Returns:
        A bool.
    """
    name = variable.path.rsplit("/", 1)[-1]
    if len(variable.shape) < 2 or name in DENSE_NAMES:
        return False
    return not any(re.search(pattern, variable.path) for pattern in exclude)


def check_any_prunable(optimizer, variables):
    """Raise a ValueError if the `exclude` of an optimizer leaves it nothing to make sparse."""
    if not any(is_prunable(v, optimizer.exclude) for v in variables):
        raise ValueError(
            f"{type(optimizer).__name__} finds no weight to make sparse: kernels and embeddings "
            f"that `exclude` does not match. Received: exclude={optimizer.exclude}, variables="
            f"{[v.path for v in variables]}"
        )


def prunable_variables(model, exclude=()):
    """The prunable weights of a model, frozen ones included, in the order of `model.weights`."""
    return [weight for weight in model.weights if is_prunable(weight, exclude)]


def sparsity(model, exclude=()):
    """Share of exact zeros among the prunable weights of a model.

    Args:
        model: a built `keras.Model`.
        exclude: regular expressions, as `path_patterns` makes them.

    Returns:
        A float in [0, 1]; 0.0 for a model without prunable weights.
    """
    weights = [keras.ops.convert_to_numpy(w) for w in prunable_variables(model, exclude)]
    size = sum(weight.size for weight in weights)
    return 1.0 - sum(np.count_nonzero(weight) for weight in weights) / size if size else 0.0


def dead_layers(variables):
    """Paths of the variables that hold nothing but zeros: behind them the network is dead."""
    return [v.path for v in variables if not np.any(keras.ops.convert_to_numpy(v))]


def warn_of_dead_layers(paths):
    """Warn that weight matrices are all zero, and say what to change; nothing for no paths."""
    if paths:
        warnings.warn(
            f"All weights of {', '.join(paths)} are zero: the network is dead there and cannot "
            "recover. Lower `l1` (or `target_sparsity`), or raise the scale of the initializer "
            "(`ScaledUniform(scale)`).",
            stacklevel=3,
        )
