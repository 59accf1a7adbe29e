"""Every optimizer of Keras, one way to make each."""

import keras

# Around other optimizers, or their base.
_AROUND = (keras.optimizers.LossScaleOptimizer, keras.optimizers.MultiOptimizer)


def _is_one(value):
    is_class = isinstance(value, type) and issubclass(value, keras.optimizers.Optimizer)
    return is_class and value is not keras.optimizers.Optimizer and value not in _AROUND


CLASSES = {name: value for name, value in vars(keras.optimizers).items() if _is_one(value)}
KERAS_OPTIMIZERS = {name: lambda cls=cls: cls(learning_rate=0.05) for name, cls in CLASSES.items()}
KERAS_OPTIMIZERS["SGD with momentum"] = lambda: keras.optimizers.SGD(0.05, 0.9, nesterov=True)
