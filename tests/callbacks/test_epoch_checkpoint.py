"""A run that is interrupted and taken up ends with the bits of one that was not."""

import json
import re
import shutil

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse
from keras_sparse.callbacks import DeadChannelCounter, EpochCheckpoint, SparsityLogger
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
    # 20 steps take TensorFlow less time than to trace one.
    run_eagerly = keras.backend.backend() == "tensorflow"
    model.compile(optimizer, loss, metrics=["accuracy"], run_eagerly=run_eagerly)
    return model


class Killed(BaseException):
    pass


def interrupt():
    raise Killed


def train(folder, callbacks=()):
    model = compiled()
    # So high a threshold calls each channel dead, from the first epoch on.
    zero_channels = DeadChannelCounter(1e3, epochs=2)
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
    with pytest.raises(ValueError, match="cannot be resumed"):
        EpochCheckpoint(folder, settings=SETTINGS).restore(compiled(units=9))
    other = compiled()
    other.compile(keras_sparse.RDA(l1=5e-3), other.loss, metrics=["accuracy"])
    with pytest.raises(ValueError, match=r"(?s)cannot be resumed.*Skipping variable"):
        EpochCheckpoint(folder, [DeadChannelCounter()], SETTINGS).restore(other)


def small(optimizer):
    model = keras.Sequential([keras.Input((6,)), layers.Dense(3)])
    model.compile(optimizer, "sparse_categorical_crossentropy", run_eagerly=True)
    return model


@pytest.mark.parametrize("scaled", [False, True])
def test_another_optimizer_with_the_same_variables_is_refused(scaled, tmp_path):
    def wrapped(optimizer):
        return keras.optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer

    model = small(wrapped(keras.optimizers.SGD(0.01, momentum=0.9)))
    model.fit(X, Y, verbose=0, callbacks=[EpochCheckpoint(tmp_path)])
    with pytest.raises(ValueError, match=r"with the optimizer SGD, not RMSprop\. Give another"):
        EpochCheckpoint(tmp_path).restore(small(wrapped(keras.optimizers.RMSprop(0.01))))
    assert EpochCheckpoint(tmp_path).restore(small(wrapped(keras.optimizers.SGD(1.0, 0.9)))) == 1


def test_a_checkpoint_that_does_not_name_its_optimizer_is_resumed(whole, folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "state.json"
    found = json.loads(file.read_text())
    del found["optimizer"]
    file.write_text(json.dumps(found))
    check_same(train(tmp_path), whole)


def test_a_worker_that_does_not_write(tmp_path):
    model = compiled()
    checkpoint = EpochCheckpoint(tmp_path, writes=False)
    assert checkpoint.restore(model) == 0
    history = model.fit(X, Y, verbose=0, callbacks=[checkpoint])
    assert len(history.history["loss"]) == 1
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_costs_only_this_epoch(tmp_path):
    resource = pytest.importorskip("resource")
    model, limits = compiled(), resource.getrlimit(resource.RLIMIT_FSIZE)
    checkpoint = EpochCheckpoint(tmp_path)
    checkpoint.restore(model)
    checkpoint.set_model(model)
    checkpoint.on_epoch_end(0)
    names = sorted(tmp_path.iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            checkpoint.on_epoch_end(1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(tmp_path.iterdir()) == names
    assert EpochCheckpoint(tmp_path).restore(model) == 1


DAMAGES = {
    "epoch=-2": {"epoch": -2},
    "epoch=99": {"epoch": 99},
    "epoch as text": {"epoch": "4"},
    "epoch as bool": {"epoch": True},
    "no epoch": {"epoch": None},
    "no settings": {"settings": None},
    "no history": {"history": None},
    "history of numbers": {"history": {"loss": 1.0}},
    "epochs of texts": {"epochs": ["0", "1", "2", "3"]},
    "too few callbacks": {"callbacks": []},
    "another callback": {"callbacks": [{"hidden": "dead"}]},
    "no random state": {"random_state": []},
    "random state of texts": {"random_state": [[["a", "b"]]]},
    "random state of another shape": {"random_state": [[[1, 2, 3]]]},
    "a list": [],
    "no JSON": None,
    "out of the folder": {"model": "../epoch_00004.weights.h5"},
    "absolute": {"model": "/etc/hostname"},
    "model of another epoch": {"model": "epoch_00003.weights.h5"},
    "model as number": {"model": 4},
}


@pytest.fixture(scope="module")
def model():
    return compiled()


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_state_is_refused_and_left_as_it_is(damage, whole, folder, model, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(folder, run)
    shutil.copy(run / "epoch_00004.weights.h5", tmp_path)
    state = json.loads((run / "state.json").read_text())
    if isinstance(damage, dict):
        state = {k: v for k, v in {**state, **damage}.items() if v is not None}
    text = "{" if damage is None else json.dumps(state if damage else damage)
    (run / "state.json").write_text(text)
    checkpoint = EpochCheckpoint(run, [DeadChannelCounter(1e3, epochs=2)], SETTINGS)
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"cannot be resumed: .*\. Give another folder"):
        checkpoint.restore(model)
    assert (run / "state.json").read_text() == text
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["state.json", "epoch_00004.weights.h5"])
@pytest.mark.parametrize("gone", [True, False])
def test_files_that_are_gone_or_lead_elsewhere(name, gone, whole, folder, model, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(folder, run)
    (run / name).rename(tmp_path / name)
    checkpoint = EpochCheckpoint(run, [DeadChannelCounter(1e3, epochs=2)], SETTINGS)
    if gone and name == "state.json":
        assert checkpoint.restore(model) == 0
        return
    if not gone:
        (run / name).symlink_to(tmp_path / name)
    with pytest.raises(ValueError, match=f"{name} is missing, or no file of the folder's own"):
        checkpoint.restore(model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"folder": None}, "`folder`"),
        ({"folder": ""}, "`folder`"),
        ({"folder": __file__}, "`folder` must be a folder"),
        ({"folder": f"{__file__}/run"}, "`folder` must be a folder"),
        ({"callbacks": DeadChannelCounter()}, "`callbacks`"),
        ({"callbacks": ["zero"]}, "`callbacks`"),
        ({"settings": [1]}, "`settings`"),
        ({"settings": {"rate": object()}}, "`settings`"),
    ],
    # The same in every process: no addresses.
    ids=lambda value: re.sub(r" at 0x\w+", "", str(value)),
)
def test_bad_arguments_are_named(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        EpochCheckpoint(**{"folder": tmp_path, **arguments})


def test_settings_are_the_same_when_they_are_read_again(tmp_path):
    settings = {"stages": (1, 2), "rate": float("nan")}
    model = compiled()
    checkpoint = EpochCheckpoint(tmp_path, settings=settings)
    checkpoint.restore(model)
    checkpoint.set_model(model)
    checkpoint.on_epoch_end(0)
    assert EpochCheckpoint(tmp_path, settings=settings).restore(model) == 1
