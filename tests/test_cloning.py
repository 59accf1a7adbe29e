"""Clones of compiled models."""

import keras
import pytest
from keras import layers

from keras_sparse.cloning import uncompiled_clone


def halved(layer):
    config = layer.get_config()
    if isinstance(layer, layers.Dense):
        config["units"] //= 2
    return type(layer).from_config(config)


def test_a_clone_does_not_need_what_the_model_was_compiled_with():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4)])
    model.compile("sgd", lambda y, p: keras.ops.mean(p))
    with pytest.raises(ValueError, match="lambda"):
        keras.models.clone_model(model)
    clone = uncompiled_clone(model, halved)
    assert not clone.compiled
    assert model.compiled
    assert clone.output_shape == (None, 2)
