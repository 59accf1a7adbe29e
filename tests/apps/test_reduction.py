"""What the tables of channel reduction cut, and what they train with."""

import keras
import numpy as np
import pytest

from apps.reproduction import reduction
from keras_sparse import channels

X = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")


def build(input_shape, classes, kernel_regularizer=None):
    x = keras.Input(input_shape)
    own = {"kernel_regularizer": kernel_regularizer}
    y = keras.layers.Dense(4, use_bias=False, name="hidden", **own)(x)
    y = keras.layers.ReLU()(keras.layers.BatchNormalization(name="norm")(y))
    return keras.Model(x, keras.layers.Dense(classes, name="logits", **own)(y))


@pytest.mark.parametrize(
    ("method", "regularized"),
    [
        (reduction.ADAM_L2, {"hidden": "L2", "logits": "L2"}),
        (reduction.GROUP_LASSO, {"hidden": "GroupLasso"}),
        (reduction.COMBINED, {"hidden": "CombinedSparsity", "logits": "CombinedSparsity"}),
        (reduction.SLIMMING, {"norm": "L1"}),
        (reduction.RDA, {}),
        (reduction.FILTER_NORM, {}),
    ],
)
def test_each_method_has_its_regularizer(method, regularized):
    model = reduction.regularized(build, method, 0.1)((3,), 2)
    found = {
        weight.path.split("/")[0]: type(weight.regularizer).__name__
        for weight in model.trainable_weights
        if weight.regularizer
    }
    assert found == regularized


@pytest.mark.parametrize("method", [reduction.GROUP_LASSO, reduction.SLIMMING])
def test_what_is_small_beside_the_largest_of_its_layer_is_cut(method):
    model = build((3,), 2)
    hidden, norm = model.get_layer("hidden"), model.get_layer("norm")
    sizes = np.array([1.0, 0.5 * reduction.NEGLIGIBLE, 2 * reduction.NEGLIGIBLE, 0.0])
    if method == reduction.SLIMMING:
        norm.gamma.assign(sizes)
    else:
        hidden.kernel.assign(np.full((3, 4), 5.0) * sizes)
    before = model.predict(X, verbose=0)
    compact = reduction.without_negligible(model, method)
    assert channels.channel_norms(compact.get_layer("hidden")).shape == (2,)
    # What is cut was small, but not quite zero.
    np.testing.assert_allclose(compact.predict(X, verbose=0), before, atol=0.1)
