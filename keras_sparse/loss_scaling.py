"""Mixed precision with float16 wraps an optimizer that scales the loss around the user's."""


def bare_optimizer(optimizer):
    """The optimizer inside a `keras.optimizers.LossScaleOptimizer`, or the optimizer itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)
