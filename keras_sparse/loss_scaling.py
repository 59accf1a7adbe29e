"""Unwrapping the optimizer that mixed precision with float16 wraps to scale the loss."""


def bare_optimizer(optimizer):
    """The optimizer inside a `keras.optimizers.LossScaleOptimizer`, or the optimizer itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)
