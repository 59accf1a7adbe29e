"""Unwrapping the optimizer that mixed precision with float16 wraps to scale the loss."""


def bare_optimizer(optimizer):
    """The optimizer inside a `keras.optimizers.LossScaleOptimizer`, or the optimizer itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def optimizer_name(optimizer):
    """The name of the class of an optimizer, or of the optimizer whose loss is scaled."""
    return type(bare_optimizer(optimizer)).__name__
