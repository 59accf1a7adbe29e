"""Scores the importance of channels; compression removes those with the lowest scores."""

from collections import Counter

import keras
import numpy as np

from keras_sparse import _keras
from keras_sparse.channels import ChannelCriterion
from keras_sparse.compression.data import first_batches, is_arrays
from keras_sparse.compression.probe import probe_model, unchanged, unfrozen
from keras_sparse.configured import Configured
from keras_sparse.validation import check_integer
from keras_sparse.variables import layers_of_type


class Importance(Configured):
    """Base of the importance criteria: one score for each channel of each group.

    Scores are compared between groups, so they must have the same meaning in all of them. A
    subclass defines `scores`. If it needs data, it also has `needs_data = True`. If it has
    arguments, `get_config` returns them: the `folder` of `compress` needs them.

    Example:

    >>> class Width(Importance):
    ...     def scores(self, model, groups, data=None):
    ...         return {group: np.ones(group.size) for group in groups}
    """

    needs_data = False

    def scores(self, model, groups, data=None):
        """Score each channel.

        Args:
            model: a built `keras.Model`.
            groups: list of `surgery.ChannelGroup` of this model.
            data: `(x, y)` or a data set of batches, for criteria that need data.

        Returns:
            `{group: float64 array (channels,)}`; channels with small scores matter least.
        """
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="keras_sparse")
class Taylor(Importance):
    """First-order estimate of how much the loss changes if a channel is removed.

    The score of a channel is the sum of `(sum of w * g)^2` over the weights that compute or
    normalise it, averaged over batches. Here `w` are the entries of one weight that belong to the
    channel, and `g` are their gradients.

    Args:
        batches: int, number of batches. Defaults to 20.
        batch_size: int, for arrays. Defaults to 64.

    Raises:
        ValueError: an argument below 1; the model is not compiled with a loss; there are no data.

    Example:

    >>> scores = Taylor().scores(model, surgery.channel_groups(model), (x_train, y_train))

    Reference:
        Importance Estimation for Neural Network Pruning, arXiv 1906.10771, equation 8; summed over
        coupled channels as in DepGraph, arXiv 2301.12900.
    """

    needs_data = True

    def __init__(self, batches=20, batch_size=64):
        self.batches = check_integer("batches", batches, "[1, inf)")
        self.batch_size = check_integer("batch_size", batch_size, "[1, inf)")

    def scores(self, model, groups, data=None):
        if data is None:
            raise ValueError("`Taylor` needs `data`: (x, y), or a data set of batches.")
        axes = {}
        for group in groups:
            for part in group.members + group.normalizations:
                axes.setdefault(part.path, set()).add(part.axis)
        recorder = _GradientRecorder({path: sorted(own) for path, own in axes.items()})
        probe = probe_model(model, recorder)
        # `fit` also changes statistics of batch normalisation and states of dropout.
        with unchanged(model), unfrozen(model):
            probe.fit(
                **first_batches(data, self.batches, self.batch_size), shuffle=False, verbose=0
            )
        squares = recorder.squares()
        scores = {}
        for group in groups:
            found = np.zeros(group.size)
            for part in group.members + group.normalizations:
                rows = squares.get((part.path, part.axis))
                if rows is not None:
                    own = part.channels >= 0
                    found += np.bincount(part.channels[own], rows[own], minlength=group.size)
            scores[group] = found
        return scores

    def get_config(self):
        return {"batches": self.batches, "batch_size": self.batch_size}


class _GradientRecorder(keras.optimizers.Optimizer):
    """Sums `(sum of w * g)^2` for each index of the given axes, and changes no weight.

    Because it is an optimizer, it works on every backend, with any loss and in mixed precision. All
    sums are in one variable: hundreds of small variables would take longer to trace than the model.
    """

    def __init__(self, axes):
        super().__init__(learning_rate=1.0, name="gradient_recorder")
        self._axes = axes

    def build(self, variables):
        """Creates the variable for the sums."""
        if self.built:
            return
        super().build(variables)
        self._slices, size = {}, 0
        for variable in variables:
            for axis in self._axes.get(variable.path, ()):
                self._slices[variable.path, axis] = slice(size, size + variable.shape[axis])
                size += variable.shape[axis]
        self._sums = self.add_variable((size,), dtype="float32", name="squares")

    def apply(self, grads, trainable_variables=None):
        """Adds the values of this batch."""
        variables = list(trainable_variables or _keras.variables_of(self))
        if not self.built:
            self.build(variables)
        products = {
            variable.path: _product(variable, gradient)
            for variable, gradient in zip(variables, grads, strict=True)
            if variable.path in self._axes and gradient is not None
        }
        scale = self.loss_scale_factor
        rows = [
            _sums_along(axis, products[path])
            if path in products
            else keras.ops.zeros((own.stop - own.start,), "float32")
            for (path, axis), own in self._slices.items()
        ]
        if rows:
            rows = keras.ops.concatenate(rows)
            rows = rows if scale is None else rows / scale
            self._sums.assign_add(keras.ops.square(rows))
        _keras.batches(self).assign_add(1)

    def squares(self):
        """`{(path, axis): mean over batches}`."""
        steps = max(int(keras.ops.convert_to_numpy(self.iterations)), 1)
        sums = keras.ops.convert_to_numpy(self._sums).astype(np.float64) / steps
        return {place: sums[own] for place, own in self._slices.items()}


def _product(variable, gradient):
    product = keras.ops.multiply(keras.ops.convert_to_tensor(variable), gradient)
    return keras.ops.cast(product, "float32")


def _sums_along(axis, product):
    """Sums over all axes but one."""
    others = [a for a in range(len(product.shape)) if a != axis]
    return keras.ops.sum(product, axis=others) if others else product


@keras.saving.register_keras_serializable(package="keras_sparse")
class GroupNorm(Importance):
    """Norm of the weights that compute a channel, in all layers of its group.

    The norm is divided by its mean over the group, so that wide and narrow layers can be compared.

    Args:
        order: 1 or 2. Defaults to 2.

    Example:

    >>> scores = GroupNorm().scores(model, surgery.channel_groups(model))

    Reference:
        DepGraph: Towards Any Structural Pruning, arXiv 2301.12900, section 3.4.
    """

    def __init__(self, order=2):
        if order not in (1, 2):
            raise ValueError(f"`order` must be 1 or 2. Received: order={order!r}")
        self.order = order

    def scores(self, model, groups, data=None):
        weights = {weight.path: weight for weight in model.weights}
        scores = {}
        for group in groups:
            found = np.zeros(group.size)
            for part in group.members:
                value = keras.ops.convert_to_numpy(weights[part.path]).astype(np.float64)
                found += part.sums(np.abs(value) ** self.order, group.size)
            scores[group] = _over_mean(found ** (1 / self.order))
        return scores

    def get_config(self):
        return {"order": self.order}


@keras.saving.register_keras_serializable(package="keras_sparse")
class Random(Importance):
    """A random score for each channel, as a baseline for criteria.

    Args:
        seed: int. Defaults to 0.
    """

    def __init__(self, seed=0):
        self.seed = seed

    def scores(self, model, groups, data=None):
        rng = np.random.default_rng(self.seed)
        return {group: rng.random(group.size) for group in groups}

    def get_config(self):
        return {"seed": self.seed}


_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)


class FromCriterion(Importance):
    """A criterion of `keras_sparse.channels` as an importance.

    The score of a channel is the sum of the criterion's scores over all layers of its group,
    divided by the mean over the group. A group without scores of the criterion gets equal scores.

    Args:
        criterion: a `channels.ChannelCriterion`, such as `channels.BatchNormScale()`.
    """

    def __init__(self, criterion):
        self.criterion = criterion
        self.needs_data = criterion.needs_data

    def get_config(self):
        return {"criterion": self.criterion}

    def scores(self, model, groups, data=None):
        if is_arrays(data):
            # The criterion reads a list as inputs, and a tuple in a tuple as a batch.
            data = tuple(list(side) if isinstance(side, tuple) else side for side in data)
        by_weight = _by_weight(model, self.criterion.scores(model, data))
        scores = {}
        for group in groups:
            found = np.zeros(group.size)
            for part in _first_weights(group):
                rows = by_weight.get(part.path)
                if rows is not None and len(rows) == len(part.channels):
                    own = part.channels >= 0
                    found += np.bincount(part.channels[own], rows[own], minlength=group.size)
            scores[group] = _over_mean(found)
        return scores


def _first_weights(group):
    """The first `WeightSlice` of each layer of a group."""
    found = {}
    for part in group.members + group.normalizations:
        found.setdefault(part.layer, part)
    return found.values()


def _by_weight(model, by_layer):
    """The scores of layers, by the paths of their weights.

    A criterion names a layer by its path if several have its name; see `channels.names`.
    """
    layers = [
        layer for layer in layers_of_type(model, keras.Layer) if not isinstance(layer, keras.Model)
    ]
    counts = Counter(layer.name for layer in layers if layer.path not in by_layer)
    found = {}
    for layer in layers:
        named = by_layer.get(layer.name) if counts[layer.name] == 1 else None
        rows = by_layer.get(layer.path, named)
        found |= {weight.path: rows for weight in layer.weights if rows is not None}
        if rows is not None and isinstance(layer, _DEPTHWISE):
            # Its kernel has one entry for each channel, which makes several outputs.
            found[layer.kernel.path] = rows.reshape(-1, layer.depth_multiplier).sum(1)
    return found


def _over_mean(scores):
    return scores / scores.mean() if scores.any() else scores + 1.0


def as_importance(importance):
    """The `Importance` of the argument `importance`."""
    if isinstance(importance, ChannelCriterion):
        return FromCriterion(importance)
    if not isinstance(importance, Importance):
        raise ValueError(
            "`importance` must be an `Importance`, such as `compression.Taylor()`, or a criterion "
            f"of `channels`. Received: importance={importance!r}"
        )
    return importance


def checked_scores(scores, groups, importance):
    """The scores as arrays, if they fit the groups.

    Args:
        scores: what `importance.scores` returned for `groups`.
        groups: list of `surgery.ChannelGroup`.
        importance: an `Importance`, for the message.

    Returns:
        `{group: float64 array (channels,)}`.

    Raises:
        ValueError: scores are missing for a group, have another length, or are not finite.
    """
    keys = list(scores) if isinstance(scores, dict) else []
    lacking = [group for group in groups if group not in keys]
    if lacking:
        found = f"keys such as {keys[0]!r}" if keys else f"a {type(scores).__name__} without keys"
        raise ValueError(
            f"{importance!r} must give a dict of scores with each group of `groups` as a key: the "
            f"group itself, not its name. Received: {found}, and no scores of {len(lacking)} of "
            f"{len(groups)} groups, such as {lacking[0]!r}"
        )
    scores = {group: np.asarray(scores[group], np.float64) for group in groups}
    for group, own in scores.items():
        if own.shape != (group.size,):
            raise ValueError(
                f"{importance!r} must give a score for each of the {group.size} channels of the "
                f"group {group.name!r}, an array of shape ({group.size},). Received: shape "
                f"{own.shape}"
            )
    bad = sum(not np.isfinite(own).all() for own in scores.values())
    if bad:
        raise ValueError(
            f"{importance!r} gives scores that are NaN or infinite in {bad} of {len(scores)} "
            "groups of channels: `data`, the weights of the model, or its loss on the data are not "
            "finite."
        )
    return scores
