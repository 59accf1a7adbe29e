"""A run that is interrupted and taken up ends with the bits of one that was not."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse
from keras_sparse.callbacks import EpochCheckpoint, SparsityLogger, ZeroChannels
from keras_sparse.data import Batches
from tests.killing import AfterSteps

EPOCHS = 4
SETTINGS = {"rate": 1, "epochs": EPOCHS}
pytestmark = pytest.mark.filterwarnings("ignore:All channels of")
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 6)).astype("float32"), RNG.integers(0, 3, 40)


def compiled(units=8):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(units, "relu", name="hidden"),
            layers.Dropout(0.2),
            layers.Dense(3, name="logits"),
        ],
        name="network",
    )
    optimizer = keras_sparse.RDA(0.05, l1=5e-3, groups="channel", exclude="logits/")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])
    return model


class Killed(BaseException):
    pass


def interrupt():
    raise Killed


def train(folder, callbacks=()):
    model = compiled()
    # So high a threshold calls each channel dead, from the first epoch on.
    zero_channels = ZeroChannels(1e3, epochs=2)
    checkpoint = EpochCheckpoint(folder, [zero_channels], SETTINGS)
    first = checkpoint.restore(model)
    batches = Batches(X, Y, 8, first_epoch=first)
    model.fit(
        batches,
        steps_per_epoch=len(batches),
        epochs=EPOCHS,
        initial_epoch=first,
        shuffle=False,
        verbose=0,
        callbacks=[zero_channels, SparsityLogger(), *callbacks, checkpoint],
    )
    return model, zero_channels.get_state(), checkpoint.history


def state(model):
    return [keras.ops.convert_to_numpy(v) for v in (*model.variables, *model.optimizer.variables)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("whole")


@pytest.fixture(scope="module")
def whole(folder):
    return train(folder)


def check_same(some, others):
    for a, b in zip(state(some[0]), state(others[0]), strict=True):
        np.testing.assert_array_equal(a, b)
    assert some[1] == others[1] == {"hidden": [EPOCHS] * 8, "logits": [EPOCHS] * 3}
    np.testing.assert_equal(some[2], others[2])
    assert len(some[2]["loss"]) == EPOCHS


def test_killed_and_taken_up_is_never_killed(whole, tmp_path):
    with pytest.raises(Killed):
        train(tmp_path, [AfterSteps(13, interrupt)])
    (tmp_path / ".epoch_00003.weights.h5.abc.writing").mkdir()  # killed while it was written
    (tmp_path / ".state.json.swp").touch()  # an editor's
    check_same(train(tmp_path), whole)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("state.json", "epoch_00004.weights.h5", ".state.json.swp")
    }


def test_a_finished_run_is_not_trained_again(whole, folder):
    check_same(train(folder), whole)


def test_other_settings_or_networks_are_refused(whole, folder):
    with pytest.raises(ValueError, match=r"started with rate=1, not rate=2\. Give another folder"):
        EpochCheckpoint(folder, settings={**SETTINGS, "rate": 2}).restore(compiled())
    with pytest.raises(ValueError, match="cannot be taken up"):
        EpochCheckpoint(folder, settings=SETTINGS).restore(compiled(units=9))


def test_a_worker_that_does_not_write(tmp_path):
    model = compiled()
    checkpoint = EpochCheckpoint(tmp_path, writes=False)
    assert checkpoint.restore(model) == 0
    history = model.fit(X, Y, verbose=0, callbacks=[checkpoint])
    assert len(history.history["loss"]) == 1
    assert not list(tmp_path.iterdir())
