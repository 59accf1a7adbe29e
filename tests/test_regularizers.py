import json

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_sparse.regularizers import (
    CombinedSparsity,
    ExclusiveSparsity,
    GroupLasso,
    set_combined_sparsity,
    set_network_slimming,
)

# Two inputs, three channels, of which the last is dead.
W = np.array([[3.0, 1.0, 0.0], [4.0, -1.0, 0.0]], "float32")
GROUP = 2**0.5 * (5 + 2**0.5)
EXCLUSIVE = 0.5 * (7**2 + 2**2)


def network():
    x = keras.Input((6, 6, 2))
    y = layers.Conv2D(3, 3, use_bias=False, name="conv")(x)
    y = layers.BatchNormalization(name="norm")(y)
    y = layers.DepthwiseConv2D(3, name="depthwise")(y)
    y = layers.SeparableConv2D(3, 1, name="separable")(y)
    y = layers.Conv2DTranspose(2, 1, name="transposed")(y)
    y = layers.Dense(2, name="logits")(layers.Flatten()(y))
    return keras.Model(x, y)


@pytest.mark.parametrize(
    ("regularizer", "expected"),
    [
        (GroupLasso(0.1), 0.1 * GROUP),
        (ExclusiveSparsity(0.1), 0.1 * EXCLUSIVE),
        (CombinedSparsity(0.1, 0.25), 0.1 * (0.75 * GROUP + 0.25 * EXCLUSIVE)),
        # Groups are the rows: inputs.
        (GroupLasso(1.0, axis=0), 3**0.5 * (10**0.5 + 17**0.5)),
        (ExclusiveSparsity(1.0, axis=-2), 0.5 * (4**2 + 5**2)),
        # Each weight for itself.
        (GroupLasso(1.0, axis=(0, 1)), 9.0),
    ],
)
def test_the_penalty_of_the_papers(regularizer, expected):
    np.testing.assert_allclose(float(regularizer(ops.convert_to_tensor(W))), expected, rtol=1e-6)


def test_a_dead_channel_has_no_gradient_and_an_even_pull_acts_on_the_others():
    layer = layers.Dense(3, use_bias=False, kernel_regularizer=GroupLasso(0.1))
    model = keras.Sequential([keras.Input((2,)), layer])
    layer.kernel.assign(W)
    model.compile(keras.optimizers.SGD(1.0), loss=lambda y, z: 0.0 * ops.sum(z))
    model.fit(np.zeros((1, 2)), np.zeros((1, 3)), verbose=0)
    step = 0.1 * 2**0.5
    norms = np.linalg.norm(W, axis=0)
    expected = W - step * W / np.where(norms, norms, 1.0)
    np.testing.assert_allclose(ops.convert_to_numpy(layer.kernel), expected, rtol=1e-5, atol=1e-7)


def test_the_share_of_exclusive_sparsity_rises_with_depth():
    model = network()
    found = set_combined_sparsity(model, 0.01, lowest=0.1, exclude="logits/")
    assert [layer.name for layer in found] == ["conv", "depthwise", "separable", "transposed"]
    shares = [regularizer.share for regularizer in found.values()]
    np.testing.assert_allclose(shares, [0.1, 0.1 + 0.8 / 3, 0.1 + 1.6 / 3, 0.9])
    axes = [regularizer.axis for regularizer in found.values()]
    assert axes == [(-1,), (-2, -1), (-1,), (-2,)]
    assert len(model.losses) == 4
    assert model.get_layer("logits").kernel_regularizer is None
    assert list(set_combined_sparsity(network()).values())[-1].share == 1.0


def test_they_are_saved_with_the_model(tmp_path):
    model = network()
    set_combined_sparsity(model, 0.01, lowest=0.1)
    assert set_network_slimming(model, 0.5) == [model.get_layer("norm")]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    losses = [np.sort([ops.convert_to_numpy(loss) for loss in m.losses]) for m in (model, again)]
    np.testing.assert_allclose(*losses, rtol=1e-6)
    assert len(losses[0]) == 6
    assert losses[0].max() >= 1.5  # three scales of one
    config = json.loads(json.dumps(GroupLasso(0.2, (-2, -1)).get_config()))
    assert GroupLasso.from_config(config).axis == (-2, -1)


def test_a_model_that_was_trained_before_is_compiled_again():
    model = keras.Sequential([keras.Input((3,)), layers.BatchNormalization(), layers.Dense(1)])
    model.compile("sgd", "mse")
    x, y = np.ones((4, 3)), np.ones((4, 1))
    model.fit(x, y, verbose=0)
    before = model.evaluate(x, y, verbose=0)
    [norm] = set_network_slimming(model, 1.0)
    gammas = float(np.abs(ops.convert_to_numpy(norm.gamma)).sum())
    np.testing.assert_allclose(model.evaluate(x, y, verbose=0), before + gammas, rtol=1e-5)
    norm.gamma.assign([1.0, 1.0, 1.0])
    model.fit(x, y, verbose=0)
    assert np.all(ops.convert_to_numpy(norm.gamma) < 1.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GroupLasso(-1.0), "`factor`.*-1"),
        (lambda: CombinedSparsity(share=1.5), "`share`.*1.5"),
        (lambda: ExclusiveSparsity(axis=0.5), "`axis`.*0.5"),
        (lambda: GroupLasso(axis=2)(ops.ones((2, 2))), r"axis=\(2,\), weight of shape \(2, 2\)"),
        (lambda: set_combined_sparsity(network(), lowest=0.7), "`lowest`.*0.7"),
        (lambda: set_combined_sparsity(network(), exclude="absent"), "`exclude`.*absent"),
        (lambda: set_combined_sparsity(network(), exclude="kernel"), "that `exclude` does not"),
        (lambda: set_network_slimming("model"), "`model` must be a built"),
        (
            lambda: set_network_slimming(keras.Sequential([keras.Input((2,)), layers.Dense(1)])),
            "batch normalisations with `scale=True`",
        ),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
