"""The shape of a model with new weights."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sparse.compression import reinitialized


def network():
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Normalization(mean=[1.0] * 4, variance=[4.0] * 4),
            layers.Dense(8, name="frozen", trainable=False),
            layers.BatchNormalization(scale=False, center=False, name="norm"),
            layers.Dense(3, name="trained"),
        ]
    )


def test_new_weights_where_they_are_trained():
    model = network()
    model.get_layer("norm").moving_mean.assign(np.ones(8))
    like = network()
    # Keras has several steps at a time on all backends but PyTorch.
    steps = 1 if keras.backend.backend() == "torch" else 4
    like.compile(keras.optimizers.SGD(0.3), "mse", metrics=["mae"], steps_per_execution=steps)
    new = reinitialized(model, like)
    assert new.steps_per_execution == steps
    assert float(new.optimizer.learning_rate) == pytest.approx(0.3)
    assert new.optimizer is not like.optimizer
    x, y = np.zeros((2, 4)), np.zeros((2, 3))
    assert set(new.evaluate(x, y, verbose=0, return_dict=True)) == {"loss", "mae"}
    for name in ("frozen", "trained"):
        same = np.array_equal(model.get_layer(name).kernel, new.get_layer(name).kernel)
        assert same == (name == "frozen")
    assert not np.any(new.get_layer("norm").moving_mean)
    normalized = layers.Normalization(mean=[1.0] * 4, variance=[4.0] * 4)(x)
    np.testing.assert_array_equal(new.layers[0](x), normalized)


def test_a_model_that_is_not_compiled():
    with pytest.raises(ValueError, match="has no optimizer"):
        reinitialized(network())
