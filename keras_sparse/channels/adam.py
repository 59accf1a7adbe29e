"""Whether dead weights converge to zero under Adam with L2."""

import keras

from keras_sparse.loss_scaling import bare_optimizer


def largest_l2(model):
    """The largest L2 factor (Keras' argument) of a model's weights; 0.0 without any."""
    regularizers = [getattr(weight, "regularizer", None) for weight in model.trainable_weights]
    return max((float(getattr(r, "l2", 0.0) or 0.0) for r in regularizers), default=0.0)


def alpha_lambda_over_epsilon(model):
    """Adam's learning rate × λ / ε: decides whether weights that only L2 moves converge to zero.

    If |λw| is far below ε, Adam's step is αλ/ε times the running average of w. Below
    `settling_limit` this is a damped oscillation and w converges to zero. Above it w grows in
    bursts until ε no longer matters, and the threshold for dead channels must be above the bursts.
    Keras' `L2(c)` has the gradient 2cw, so λ = 2c.

    Args:
        model: a compiled `keras.Model`.

    Returns:
        A float, for the strongest L2 regularizer and the current learning rate; None if the
        optimizer is not Adam or Adamax, or without an L2 regularizer.

    Example:

    >>> model.compile(keras.optimizers.Adam(1e-3), loss)  # its layers have L2(1e-4)
    >>> alpha_lambda_over_epsilon(model)
    2.0

    Reference:
        Adam induces implicit weight sparsity in rectifier neural networks, arXiv 1812.08119.
    """
    optimizer = bare_optimizer(model.optimizer)
    strength = largest_l2(model)
    if not strength or not isinstance(optimizer, (keras.optimizers.Adam, keras.optimizers.Adamax)):
        return None
    rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
    return rate * 2.0 * strength / optimizer.epsilon


def settling_limit(model):
    """The `alpha_lambda_over_epsilon` up to which weights converge: 38 for Adam's β1 of 0.9.

    The average m and the weight w follow m' = β1·m + (1 − β1)·w and w' = w − k·m', which is
    stable for k below 2(1 + β1)/(1 − β1).
    """
    beta_1 = bare_optimizer(model.optimizer).beta_1
    return 2.0 * (1.0 + beta_1) / (1.0 - beta_1)
