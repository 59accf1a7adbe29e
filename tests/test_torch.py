"""The library on PyTorch: the same numbers as on TensorFlow, which loads what was saved here."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_sparse import RDA, SparseMomentum, sparsity, surgery
from keras_sparse.random_state import SeededEpochs
from tests.optimizers.problems import blobs
from tests.trajectory import OPTIMIZERS, trajectories

pytestmark = pytest.mark.torch


def network():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(12, "relu", name="hidden"),
            keras.layers.Dense(3, name="logits"),
        ]
    )


def trained(optimizer, epochs=2):
    model = network()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])
    model.fit(*blobs(64), epochs=epochs, batch_size=8, verbose=0)
    return model


@pytest.fixture(scope="module")
def masked():
    return trained(SparseMomentum(density=0.25, update_every=4))


@pytest.fixture(scope="module")
def on_tensorflow(masked, tmp_path_factory):
    """The folder that a process under TensorFlow has written."""
    folder = tmp_path_factory.mktemp("backends")
    masked.save(folder / "model.keras")
    np.save(folder / "x.npy", blobs(64)[0])
    subprocess.run(
        [sys.executable, "-m", "tests.on_another_backend", str(folder)],
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        check=True,
        timeout=900,
    )
    return folder


def test_a_model_that_was_saved_here_is_loaded_on_tensorflow(masked, on_tensorflow):
    assert sparsity(masked) == pytest.approx(0.75, abs=0.02)
    with np.load(on_tensorflow / "found.npz") as found:
        outputs = masked.predict(np.load(on_tensorflow / "x.npy"), verbose=0)
        np.testing.assert_allclose(found["outputs"], outputs, atol=1e-5)
        for i, variable in enumerate(masked.optimizer.variables):
            mine = keras.ops.convert_to_numpy(variable)
            np.testing.assert_array_equal(found[f"optimizer{i}"], mine, variable.path)


@pytest.fixture(scope="module")
def both(on_tensorflow):
    with np.load(on_tensorflow / "weights.npz") as found:
        return dict(found), trajectories()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_same_weights_and_zeros_as_on_tensorflow(both, name):
    tensorflow, torch = (found[name] for found in both)
    np.testing.assert_allclose(torch, tensorflow, atol=1e-5)
    assert ((torch == 0) != (tensorflow == 0)).mean() < 0.01


def test_dead_channels_are_cut():
    model = trained(RDA(1.0, l1=0.02, variant="published", groups="channel", exclude="logits"), 4)
    kernel, bias = model.get_layer("hidden").get_weights()
    kernel[:, [1, 5]] = 0
    model.get_layer("hidden").set_weights([kernel, bias])
    compact, report = surgery.remove_dead_channels(model)
    before, after = report.channels["hidden"]
    assert before == 12
    assert after <= 10
    x = blobs(64)[0]
    np.testing.assert_allclose(
        compact.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-5
    )


@pytest.mark.parametrize("rate", [0.0, 0.5], ids=["nothing random", "dropout"])
def test_an_epoch_seeds_the_generators_only_for_random_layers(rate):
    import torch

    states = []
    for _ in range(2):
        model = network()
        if rate:
            model = keras.Sequential([keras.Input((6,)), keras.layers.Dropout(rate), model])
        model.compile("sgd", "mse")
        torch.manual_seed(len(states))
        x = np.ones((8, 6), "float32")
        model.fit(x, np.ones((8, 3)), verbose=0, callbacks=[SeededEpochs()])
        states.append(torch.get_rng_state().numpy())
    assert np.array_equal(*states) == (rate > 0)
