"""Dual averaging continues in the network that surgery made smaller."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from keras_sparse import surgery

from .matrix import THRESHOLDING, thorough
from .problems import blobs


def array(variable):
    return ops.convert_to_numpy(variable)


def compiled(name):
    """No bias in the hidden layer, so that its dead channels carry no constant.

    What reads a constant would continue shrinking in the large model.
    """
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(16, "relu", use_bias=False, name="hidden"),
            keras.layers.Dense(3, "softmax", name="logits"),
        ]
    )
    model.compile(THRESHOLDING[name](), "sparse_categorical_crossentropy")
    model.optimizer.build(model.trainable_variables)
    return model


@functools.cache
def trained(name):
    """The values of all variables after a training, the optimizer's last."""
    keras.utils.set_random_seed(0)
    model = compiled(name)
    model.fit(*blobs(), batch_size=16, epochs=6, verbose=0)
    return [array(variable) for variable in (*model.weights, *model.optimizer.variables)]


def with_dead_channels(name):
    """A trained model four of whose hidden channels are zero, for the optimizer too."""
    model = compiled(name)
    variables = (*model.weights, *model.optimizer.variables)
    for variable, value in zip(variables, trained(name), strict=True):
        variable.assign(value)
    hidden = model.get_layer("hidden").kernel
    prefix = hidden.path.replace("/", "_")
    slots = [v for v in model.optimizer.variables if v.name.startswith(prefix)]
    for variable in (hidden, *(slot for slot in slots if len(slot.shape) > 0)):
        values = array(variable).copy()
        values[:, :4] = 0
        variable.assign(values)
    return model


@pytest.mark.parametrize("name", THRESHOLDING)
def test_a_step_without_gradients_changes_the_smaller_model_as_the_large_one(name):
    model = with_dead_channels(name)
    compact, report = surgery.remove_dead_channels(model)
    assert report.channels["hidden"][1] <= 12
    sliced = surgery.slice_optimizer(model.optimizer, report, compact)
    assert int(sliced.iterations) == int(model.optimizer.iterations)
    for each, optimizer in ((model, model.optimizer), (compact, sliced)):
        gradients = [ops.zeros(v.shape) for v in each.trainable_variables]
        optimizer.apply(gradients, each.trainable_variables)
    x, _ = blobs()
    before, after = (m.predict(x, verbose=0) for m in (model, compact))
    np.testing.assert_allclose(after, before, atol=1e-5)
    zeros = [(array(m.get_layer("logits").kernel) == 0).sum(1) for m in (model, compact)]
    np.testing.assert_array_equal(zeros[0][report.layers["hidden"].kept], zeros[1])


@pytest.mark.parametrize("name", thorough(THRESHOLDING, "target by channel", "published"))
def test_the_smaller_model_trains_on(name):
    model = with_dead_channels(name)
    compact, report = surgery.remove_dead_channels(model)
    x, y = blobs()
    loss = keras.losses.SparseCategoricalCrossentropy()
    start = float(loss(y, compact(x)))
    sliced = surgery.slice_optimizer(model.optimizer, report, compact)
    if name == "target by channel":
        # A target is a share of the network as it is: 60% of the channels that are left would go.
        sliced.target_sparsity = 0.0
    compact.compile(sliced, loss)
    compact.fit(x, y, batch_size=16, epochs=3, verbose=0)
    assert float(loss(y, compact(x))) < 1.5 * start + 0.1
