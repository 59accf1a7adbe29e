"""Regularizers that push whole channels, or the inputs of a channel, towards zero."""

import keras
from keras import ops

from keras_sparse.channels import channel_weight, layers_with_channels
from keras_sparse.validation import check_integer, check_number
from keras_sparse.variables import check_patterns_match, is_prunable, layers_of_type, path_patterns

# Below this the square root is constant, so that the gradient of a group of zeros is zero.
_SMALLEST_SQUARE = 1e-24
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)


class _OfGroups(keras.regularizers.Regularizer):
    """Base of the regularizers whose groups are the slices of a weight along some axes."""

    def __init__(self, factor, axis):
        self.factor = float(check_number("factor", factor, "[0, inf)"))
        axes = axis if isinstance(axis, (list, tuple)) else (axis,)
        self.axis = tuple(check_integer("axis", each) for each in axes)

    def _others(self, x):
        rank = len(x.shape)
        outside = [axis for axis in self.axis if not -rank <= axis < rank]
        if outside or not self.axis:
            raise ValueError(
                f"`axis` must name axes of the weight, which has {rank}. Received: "
                f"axis={self.axis}, weight of shape {tuple(x.shape)}"
            )
        kept = {axis % rank for axis in self.axis}
        return tuple(axis for axis in range(rank) if axis not in kept)

    def get_config(self):
        return {"factor": self.factor, "axis": list(self.axis)}


@keras.saving.register_keras_serializable(package="keras_sparse")
class GroupLasso(_OfGroups):
    """Group lasso: `factor` times the sum over channels of √n · ‖w‖₂.

    w are the n incoming weights of one channel. The penalty pulls all weights of a channel towards
    zero together, and the pull does not weaken when they are small. Gradient steps make them small,
    but not zero: use the threshold of `surgery.zero_channels`, or the channel-wise step of
    `RDA(groups="channel")`.

    Args:
        factor: float, 0 or more. Defaults to 1e-3.
        axis: int or tuple of int, the channel axes of the weight. Defaults to -1, for dense layers
            and convolutions. Use -2 for transposed and (-2, -1) for depthwise convolutions.

    Raises:
        ValueError: a factor below 0, axes that the weight does not have.

    Example:

    >>> keras.layers.Conv2D(16, 3, kernel_regularizer=GroupLasso(1e-3))

    Reference:
        Learning structured sparsity in deep neural networks, arXiv 1608.03665, equation 4; Group
        sparse regularization for deep neural networks, arXiv 1607.00485, with the √n.
    """

    def __init__(self, factor=1e-3, axis=-1):
        super().__init__(factor, axis)

    def __call__(self, x):
        """The penalty of a weight."""
        return self.factor * _group_lasso(x, self._others(x))


@keras.saving.register_keras_serializable(package="keras_sparse")
class ExclusiveSparsity(_OfGroups):
    """Exclusive sparsity: `factor` times the sum over groups of ½ · ‖w‖₁².

    A group is the incoming weights of one channel. The weights of a group compete, so each channel
    keeps few inputs, and different channels keep different inputs. No channel dies.

    Args:
        factor: float, 0 or more. Defaults to 1e-3.
        axis: int or tuple of int, the axes of the weight that index the groups; see `GroupLasso`.

    Raises:
        ValueError: a factor below 0, axes that the weight does not have.

    Example:

    >>> keras.layers.Dense(100, kernel_regularizer=ExclusiveSparsity(1e-4))

    Reference:
        Yoon and Hwang, Combined group and exclusive sparsity for deep neural networks, ICML 2017,
        section 3.
    """

    def __init__(self, factor=1e-3, axis=-1):
        super().__init__(factor, axis)

    def __call__(self, x):
        """The penalty of a weight."""
        return self.factor * _exclusive(x, self._others(x))


@keras.saving.register_keras_serializable(package="keras_sparse")
class CombinedSparsity(_OfGroups):
    """Group lasso and exclusive sparsity, in the shares 1 − `share` and `share`.

    In the paper the share rises with depth, because early features are shared by many channels and
    late ones by few; see `set_combined_sparsity`.

    Args:
        factor: float, 0 or more. Defaults to 1e-3.
        share: float in [0, 1], the share of exclusive sparsity; the paper's μ. Defaults to 0.5.
        axis: int or tuple of int, the channel axes of the weight; see `GroupLasso`.

    Raises:
        ValueError: a factor below 0, a share out of its range, axes that the weight does not have.

    Example:

    >>> keras.layers.Dense(100, kernel_regularizer=CombinedSparsity(1e-4, share=0.2))

    Reference:
        Yoon and Hwang, Combined group and exclusive sparsity for deep neural networks, ICML 2017,
        section 3. The term of the group lasso has the √n of `GroupLasso`.
    """

    def __init__(self, factor=1e-3, share=0.5, axis=-1):
        super().__init__(factor, axis)
        self.share = float(check_number("share", share, "[0, 1]"))

    def __call__(self, x):
        """The penalty of a weight."""
        others = self._others(x)
        group, exclusive = _group_lasso(x, others), _exclusive(x, others)
        return self.factor * ((1.0 - self.share) * group + self.share * exclusive)

    def get_config(self):
        return {**super().get_config(), "share": self.share}


def set_combined_sparsity(model, factor=1e-3, lowest=0.0, exclude=None):
    """Set `CombinedSparsity` on the layers of a model, with a share that rises with depth.

    The share of exclusive sparsity rises evenly, from `lowest` in the first layer to 1 − `lowest`
    in the last.

    Args:
        model: a built `keras.Model`. The regularizer replaces that of its dense layers and
            convolutions. `fit` compiles its functions again.
        factor: float, 0 or more, of all layers.
        lowest: float in [0, 0.5], the smallest share of either term; the paper's m.
        exclude: weights that keep their regularizer: regular expressions for `variable.path`, built
            layers or variables, as in `prunable_variables`.

    Returns:
        `{layer: its regularizer}`, in the order of the model.

    Raises:
        ValueError: a model without such layers, `exclude` matches nothing, a number out of its
            range.

    Example:

    >>> set_combined_sparsity(model, 1e-4, exclude="logits/")

    Reference:
        Yoon and Hwang, Combined group and exclusive sparsity for deep neural networks, ICML 2017.
    """
    check_number("lowest", lowest, "[0, 0.5]")
    layers = _layers(model, exclude)
    shares = [
        lowest + (1 - 2 * lowest) * depth / max(len(layers) - 1, 1) for depth in range(len(layers))
    ]
    found = {
        layer: CombinedSparsity(factor, share, channel_weight(layer)[1])
        for layer, share in zip(layers, shares, strict=True)
    }
    for layer, regularizer in found.items():
        _set(layer, _attribute(layer), channel_weight(layer)[0], regularizer)
    _compile_again(model)
    return found


def set_network_slimming(model, factor=1e-4):
    """Set an L1 regularizer on the scales γ of all batch normalisations of a model.

    A channel with a small γ has little effect, whatever its weights are. `channels.BatchNormScale`
    finds such channels; `surgery.zero_channels(model, threshold, "batch_norm")` sets them to zero.

    Args:
        model: a built `keras.Model`. The regularizer replaces that of γ in its batch
            normalisations. `fit` compiles its functions again.
        factor: float, 0 or more. Defaults to 1e-4.

    Returns:
        The list of the batch normalisations.

    Raises:
        ValueError: a model without batch normalisations that have γ, a factor below 0.

    Example:

    >>> set_network_slimming(model, 1e-4)
    >>> model.compile(optimizer="sgd", loss=loss)

    Reference:
        Learning efficient convolutional networks through network slimming, arXiv 1708.06519,
        equation 1.
    """
    factor = float(check_number("factor", factor, "[0, inf)"))
    kind = keras.layers.BatchNormalization
    layers = [x for x in layers_of_type(_built(model), kind) if x.built and x.scale]
    if not layers:
        raise ValueError(
            f"`model` must have batch normalisations with `scale=True`: network slimming is about "
            f"their γ. Received: model={model.name!r}, which has none"
        )
    for layer in layers:
        _set(layer, "gamma_regularizer", layer.gamma, keras.regularizers.L1(factor))
    _compile_again(model)
    return layers


def _group_lasso(x, others):
    size = 1
    for axis in others:
        size *= x.shape[axis]
    squares = ops.sum(ops.square(x), axis=others)
    # The penalty of a group of zeros is 0, and the gradient of its root is finite.
    norms = ops.where(
        squares > _SMALLEST_SQUARE, ops.sqrt(ops.maximum(squares, _SMALLEST_SQUARE)), 0.0
    )
    return size**0.5 * ops.sum(norms)


def _exclusive(x, others):
    return 0.5 * ops.sum(ops.square(ops.sum(ops.abs(x), axis=others)))


def _built(model):
    if not isinstance(model, keras.Model) or not model.built:
        raise ValueError(f"`model` must be a built keras.Model. Received: model={model!r}")
    return model


def _layers(model, exclude):
    layers = layers_with_channels(_built(model))
    patterns = path_patterns(exclude)
    check_patterns_match(patterns, [weight.path for weight in model.weights])
    kept = [x for x in layers if is_prunable(channel_weight(x)[0], patterns)]
    if not kept:
        raise ValueError(
            "`model` must have dense layers or convolutions that `exclude` does not name. "
            f"Received: model={model.name!r}, exclude={exclude!r}"
        )
    return kept


def _attribute(layer):
    if isinstance(layer, _DEPTHWISE):
        return "depthwise_regularizer"
    return "pointwise_regularizer" if isinstance(layer, _SEPARABLE) else "kernel_regularizer"


def _set(layer, attribute, weight, regularizer):
    """Set it on the weight, which `fit` uses, and on the layer, which is saved."""
    setattr(layer, attribute, regularizer)
    weight.regularizer = regularizer


def _compile_again(model):
    """Compile again, because traced functions contain the old losses."""
    model.train_function = model.test_function = None
