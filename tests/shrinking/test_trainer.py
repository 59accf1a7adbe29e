"""Training that shrinks: same as `fit` until something died, one training for everybody after."""

import csv
import functools
import json
import pathlib
import re
import shutil
from unittest import mock

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse
from keras_sparse import RDA, ShrinkingTrainer, checkpoint_files
from keras_sparse.callbacks import (
    DeadChannelCounter,
    EpochCheckpoint,
    MaskUpdate,
    SeparateUpdates,
    SparsityLogger,
)
from keras_sparse.channels import BatchNormScale, DeadChannels, LargestActivation
from keras_sparse.random_state import SeededEpochs
from keras_sparse.shrinking import Estimate
from keras_sparse.shrinking import state as states
from tests.optimizers.matrix import thorough

from .networks import (
    array,
    compiled,
    images,
    kill,
    make,
    network,
    plain_network,
    same,
    state,
)

EPOCHS = 5


def train(trainer, epochs=EPOCHS, callbacks=(), **arguments):
    """Trains in an order that is the same in every epoch and every call of `fit`."""
    if isinstance(trainer.model.optimizer, keras_sparse.SparseMomentum):
        callbacks = [MaskUpdate("epoch"), *callbacks]
    arguments = {"batch_size": 8, "shuffle": False, "verbose": 0, **arguments}
    arguments["callbacks"] = list(callbacks)
    return trainer.fit(*images(), epochs=epochs, **arguments)


def shrinking(name, **arguments):
    dead_channels = DeadChannels(epochs=2)
    return ShrinkingTrainer(make(name), dead_channels, must_pay=False, **arguments)


class Record(keras.callbacks.Callback):
    """What a user's callback sees."""

    def __init__(self):
        super().__init__()
        self.begins, self.ends, self.epochs, self.sizes, self.models = 0, 0, [], [], []
        self.batches = 0

    def set_model(self, model):
        super().set_model(model)
        self.models.append(model)

    def on_train_begin(self, logs=None):
        self.begins += 1

    def on_train_end(self, logs=None):
        self.ends += 1

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(epoch)
        self.sizes.append(self.model.count_params())


@pytest.mark.parametrize("name", thorough(["adam", "rda", "sparse_momentum"], "rda"))
def test_with_nothing_dead_it_is_fit_bit_for_bit(name):
    x, y = images()
    runs = []
    for as_trainer in (False, True):
        model = make(name, dead=False)
        # What the optimizer makes dead in three epochs is none of this test's.
        fits = (
            ShrinkingTrainer(model, DeadChannels(epochs=9), must_pay=False) if as_trainer else model
        )
        # Without it layers draw other numbers in `fit` on PyTorch.
        callbacks = [Record(), *([] if as_trainer else [SeededEpochs()])]
        history = fits.fit(
            x, y, batch_size=8, epochs=3, verbose=0, validation_split=0.25, callbacks=callbacks
        )
        runs.append((state(model), history.history, history.epoch))
        if as_trainer:
            assert fits.model is model
    assert same(runs[0][0], runs[1][0])
    assert runs[0][1:] == runs[1][1:]


@functools.cache
def uninterrupted(name):
    trainer, record = shrinking(name), Record()
    record.large = trainer.model
    trainer.record = record
    train(trainer, callbacks=[record])
    return trainer


@pytest.mark.parametrize("name", thorough(["adam", "rda", "sparse_momentum"], "rda"))
def test_dead_channels_go_and_training_goes_on(name):
    trainer = uninterrupted(name)
    record, history = trainer.record, trainer.history
    (first, *_) = trainer.shrinks
    assert first.epoch == 2
    assert first.channels["conv"][1] <= 6
    assert first.channels["hidden"][1] <= 14
    assert first.macs[1] < first.macs[0]
    assert trainer.model.count_params() == trainer.shrinks[-1].parameters[1]
    assert record.large.count_params() == first.parameters[0]
    # One training, for the history, the optimizer and the callbacks.
    assert history is trainer.model.history
    assert history.epoch == record.epochs == list(range(EPOCHS))
    assert {len(values) for values in history.history.values()} == {EPOCHS}
    assert int(trainer.model.optimizer.iterations) == record.batches == EPOCHS * 6
    assert (record.begins, record.ends) == (1, 1)
    assert record.models[0] is record.large
    assert record.models[-1] is trainer.model
    assert record.sizes[1] > record.sizes[2]


def test_callbacks_and_validation_data_are_passed_on():
    trainer = shrinking("adam")
    history = train(
        trainer, 3, callbacks=[DeadChannelCounter()], validation_data=images(seed=1), verbose=2
    )
    assert trainer.shrinks
    assert history.history["zero_channels/conv"] == [6, 6, 0]
    assert len(history.history["val_accuracy"]) == 3


def test_callbacks_of_weights_go_on_with_the_compact_model(tmp_path):
    trainer, table = shrinking("adam"), tmp_path / "log.csv"
    callbacks = [SparsityLogger(), keras.callbacks.CSVLogger(table)]
    logs = train(trainer, 4, callbacks=callbacks).history
    assert trainer.shrinks
    assert logs["sparsity"][0] > 0.2
    assert logs["sparsity"][2:] == [0.0, 0.0]
    assert logs["grown"] == logs["pruned"] == [0] * 4
    rows = list(csv.DictReader(table.open()))
    assert [float(row["sparsity"]) for row in rows] == pytest.approx(logs["sparsity"])
    assert [row["sparsity/network/conv/kernel"] for row in rows] == ["0.5", "0.5", "nan", "nan"]


class Seldom(keras.callbacks.Callback):
    """A metric of every second epoch."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch % 2 == 0:
            logs["seldom"] = float(epoch)


@pytest.mark.parametrize("shrinks", [False, True])
def test_a_log_that_a_callback_leaves_out_stays_left_out(shrinks):
    trainer, seen = shrinking("adam"), []
    if not shrinks:
        trainer = ShrinkingTrainer(make("adam"), DeadChannels(epochs=99), must_pay=False)
    watch = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(logs.get("seldom"))
    )
    train(trainer, 6, callbacks=[Seldom(), watch])
    assert bool(trainer.shrinks) == shrinks
    assert seen == [0, None, 2, None, 4, None]


def test_the_step_of_the_compact_model_is_separated_too():
    model = compiled(plain_network(), RDA(target_sparsity=0.1, ramp_steps=1))
    kill(model)
    trainer = ShrinkingTrainer(model, DeadChannels(epochs=1), must_pay=False)
    train(trainer, 3, callbacks=[SeparateUpdates()])
    assert trainer.model is not model
    assert type(trainer.model.train_function) is type(model.train_function)


def test_the_loss_goes_on_as_in_the_large_network():
    losses = []
    for patience in (2, 99):
        keras.utils.set_random_seed(0)
        model = plain_network()
        kill(model)
        trainer = ShrinkingTrainer(
            compiled(model, keras.optimizers.Adam(1e-3)),
            DeadChannels(epochs=patience),
            must_pay=False,
        )
        losses.append(train(trainer).history["loss"])
        assert len(trainer.shrinks) == (patience == 2)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_learning_rate_schedules_go_on():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.01, 6, 0.5)
    keras.utils.set_random_seed(0)
    model = network()
    kill(model)
    trainer = ShrinkingTrainer(
        compiled(model, keras.optimizers.Adam(schedule)), DeadChannels(epochs=1), must_pay=False
    )
    train(trainer, epochs=3)
    assert trainer.shrinks
    rate = float(trainer.model.optimizer.learning_rate)
    assert rate == pytest.approx(0.01 * 0.5**3)


@pytest.mark.parametrize(
    ("name", "interrupted_in"),
    [
        ("rda", 3),
        pytest.param("adam", 1, marks=pytest.mark.slow),
        pytest.param("sparse_momentum", 3, marks=pytest.mark.slow),
    ],
)
def test_interrupted_and_resumed_equals_never_interrupted(name, interrupted_in, tmp_path):
    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2 and self.now == interrupted_in:
                raise KeyboardInterrupt

        def on_epoch_begin(self, epoch, logs=None):
            self.now = epoch

    whole = uninterrupted(name)
    first = shrinking(name, folder=tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        train(first, callbacks=[Interrupt()])
    second = shrinking(name, folder=tmp_path / "run")
    assert second.model.count_params() == first.model.count_params()
    assert len(second.shrinks) == (interrupted_in == 3)
    history = train(second)
    assert same(state(second.model), state(whole.model))
    assert history.history == whole.history.history
    assert history.epoch == list(range(EPOCHS))
    without_times = [[{**vars(s), "seconds": 0} for s in t.shrinks] for t in (second, whole)]
    assert without_times[0] == without_times[1]
    files = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert files == ["epoch_00005.keras", "state.json"]


def test_a_finished_run_is_not_trained_again(tmp_path):
    first = shrinking("adam", folder=tmp_path)
    train(first, epochs=3)
    second, record = shrinking("adam", folder=tmp_path), Record()
    history = train(second, epochs=3, callbacks=[record])
    assert record.batches == 0
    assert history.history == first.history.history
    assert same(state(second.model), state(first.model))


def test_it_asks_whether_it_pays():
    asked = []

    def never(estimate):
        asked.append(estimate)
        return False

    model = make("adam")
    twin = make("adam")
    trainer = ShrinkingTrainer(model, DeadChannels(epochs=2), must_pay=never)
    train(trainer)
    train(ShrinkingTrainer(twin, DeadChannels(epochs=99)))
    (estimate,) = asked  # not again before more have died
    assert estimate.epochs_left == EPOCHS - 2
    assert estimate.epoch_seconds > 0
    assert estimate.macs[1] < estimate.macs[0]
    assert trainer.model is model
    assert not trainer.shrinks
    assert same(state(model), state(twin))


def test_a_clock_decides_when_channels_go_and_not_whether(tmp_path):
    """Nothing pays here, as on a busy machine; they are cut out at the end, with a word."""
    model = make("adam")
    stopwatch = ("keras_sparse.shrinking.trainer.Stopwatch.compile_seconds", 99.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*stopwatch)
        trainer = ShrinkingTrainer(model, DeadChannels(epochs=1), min_dead=0.01, folder=tmp_path)
        with pytest.warns(UserWarning, match=r"No removal paid.*took 99\.\d s.*must_pay=False"):
            train(trainer, epochs=4)
    (shrink,) = trainer.shrinks
    assert shrink.epoch == 4
    assert trainer.model.count_params() < model.count_params()
    x = images()[0]
    np.testing.assert_allclose(
        trainer.model.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-5
    )
    again = ShrinkingTrainer(make("adam"), DeadChannels(epochs=1), folder=tmp_path)
    train(again, epochs=4)
    assert same(state(again.model), state(trainer.model))
    assert len(again.shrinks) == 1


@pytest.mark.parametrize(
    ("changes", "pays"),
    [
        ({}, True),
        ({"epochs_left": 3}, False),
        ({"macs": (100, 90)}, False),
        ({"compile_seconds": 30.0}, False),
        ({"surgery_seconds": 30.0}, False),
        ({"epoch_seconds": None, "compile_seconds": None}, False),
    ],
)
def test_what_pays(changes, pays):
    figures = {
        "epochs_left": 10,
        "epoch_seconds": 2.0,
        "compile_seconds": 2.0,
        "surgery_seconds": 1.0,
        "macs": (100, 50),
        "parameters": (10, 5),
    }
    # 10 epochs of 2 s by half: 10 s saved, against twice 3 s.
    assert Estimate(**{**figures, **changes}).pays is pays


def test_few_dead_channels_wait_for_more():
    keras.utils.set_random_seed(0)
    model = network()
    kill(model, names=("conv",), dead=slice(2))
    trainer = ShrinkingTrainer(
        compiled(model, "adam"), DeadChannels(epochs=1), min_dead=0.1, must_pay=False
    )
    train(trainer, epochs=2)
    assert not trainer.shrinks


def test_dead_channels_that_must_stay_do_not_call_for_a_cut():
    keras.utils.set_random_seed(0)
    model = network()
    head = model.get_layer("logits")
    head.trainable = False
    head.set_weights([np.zeros((20, 3)), np.zeros(3)])
    trainer = ShrinkingTrainer(
        compiled(model, keras.optimizers.SGD(0.0)), DeadChannels(epochs=1), must_pay=False
    )
    train(trainer, epochs=3)
    # Nothing that feeds a dead head is needed; the three outputs are.
    assert len(trainer.shrinks) == 1
    assert trainer.model.output_shape == (None, 3)


def test_criterion_on_batch_normalisation():
    inputs = keras.Input((6, 6, 1))
    x = layers.Conv2D(8, 3, use_bias=False, name="conv")(inputs)
    bn = layers.BatchNormalization(name="bn")
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(layers.ReLU()(bn(x)))))
    bn.gamma.assign(np.r_[np.full(3, 1e-5), np.ones(5)])
    trainer = ShrinkingTrainer(
        compiled(model, keras.optimizers.SGD(1e-4)),
        DeadChannels(BatchNormScale(1e-3), epochs=1),
        must_pay=False,
    )
    train(trainer, epochs=2)
    assert trainer.shrinks[0].channels["conv"] == (8, 5)
    assert array(trainer.model.get_layer("bn").gamma).shape == (5,)


def test_early_stopping_ends_it():
    trainer = shrinking("adam")
    stop = keras.callbacks.EarlyStopping("loss", patience=1, min_delta=100.0)
    history = train(trainer, callbacks=[stop])
    assert history.epoch == [0, 1]
    assert not trainer.shrinks


def test_the_state_is_json(tmp_path):
    class Logs(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["array"] = np.float32([1, 2])

    train(shrinking("rda", folder=tmp_path), epochs=3, callbacks=[Logs()])
    state = json.loads((tmp_path / "state.json").read_text())
    assert state["epoch"] == 3
    assert state["history"]["logs"]["array"] == [[1.0, 2.0]] * 3


@pytest.mark.parametrize("saves", [1, 2, 3])
def test_a_state_stays_until_the_next_of_its_epoch_is_complete(saves, tmp_path, monkeypatch):
    trainer = shrinking("adam", folder=tmp_path)
    train(trainer, epochs=1)
    again = {**trainer._state(), "epoch": 1}
    for _ in range(saves - 1):
        states.save(tmp_path, trainer.model, again)
    assert len(list(tmp_path.iterdir())) == 2
    monkeypatch.setattr(checkpoint_files.json, "dumps", mock.Mock(side_effect=OSError("full")))
    other = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    with pytest.raises(OSError, match="full"):
        states.save(tmp_path, other, again)
    model, state = states.load(tmp_path)
    assert state["epoch"] == 1
    assert model.count_params() == trainer.model.count_params()


DAMAGES = {
    "epoch=-2": {"epoch": -2},
    "no shrinks": {"shrinks": None},
    "shrinks without a field": {"shrinks": [{"epoch": 1}]},
    "shrinks of numbers": {"shrinks": [1]},
    "dead_channels": {"dead_channels": {"conv1": "dead"}},
    "dead_channels of another model": {"dead_channels": {"conv": [0]}},
    "no dead_channels": {"dead_channels": {}},
    "dead_before": {"dead_before": "3"},
    "dead_before below zero": {"dead_before": -1},
    "random_state": {"random_state": {"dropout": [[1, 2, 3]]}},
    "shapes": {"shapes": None},
    "weight decay of another model": {"without_weight_decay": {"indices": [99], "patterns": []}},
    "weight decay by no pattern": {"without_weight_decay": {"indices": [], "patterns": ["("]}},
    "no epochs": {"history": {"logs": {}}},
    "another history": {"history": {"epoch": [7], "logs": {}}},
    "logs": {"history": {"epoch": [0], "logs": []}},
    "out of the folder": {"model": "../epoch_00001.keras"},
}


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    folder = tmp_path_factory.mktemp("begun")
    train(shrinking("adam", folder=folder), epochs=1)
    return folder, make("adam")


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_state_is_refused_and_left_as_it_is(damage, begun, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(begun[0], run)
    state = json.loads((run / "state.json").read_text())
    state = {k: v for k, v in {**state, **damage}.items() if v is not None}
    (run / "state.json").write_text(json.dumps(state))
    with pytest.raises(ValueError, match=r"cannot be resumed: .*give another folder"):
        ShrinkingTrainer(begun[1], folder=run)
    assert json.loads((run / "state.json").read_text()) == state


class OwnStep(keras.Model):
    def train_step(self, data):
        return super().train_step(data)


def test_what_is_refused(tmp_path):
    def refuses(match, model=None, **arguments):
        with pytest.raises(ValueError, match=match):
            ShrinkingTrainer(model or make("adam"), **arguments)

    refuses("`min_dead`.*min_dead=0", min_dead=0)
    refuses("`must_pay`.*'yes'", must_pay="yes")
    refuses("`dead_channels`.*3", dead_channels=3)
    refuses("by the weights", dead_channels=DeadChannels(LargestActivation()))
    refuses("not compiled", network())
    inputs = keras.Input((2,))
    refuses("`train_step`", compiled(OwnStep(inputs, layers.Dense(3)(inputs)), "adam"))
    unknown = network()
    unknown.compile("adam", loss=lambda y, p: keras.ops.mean(p))
    refuses("register_keras_serializable", unknown)
    (tmp_path / "state.json").write_text("{")
    refuses("cannot be resumed", folder=tmp_path)
    refuses("`folder`.*state.json", folder=tmp_path / "state.json")
    refuses("`folder`.*3", folder=3)

    train(shrinking("adam", folder=tmp_path / "run"), epochs=1)
    other = keras.Sequential([keras.Input((7,)), layers.Dense(3)])
    refuses("another model", compiled(other, "adam"), folder=tmp_path / "run")
    other = keras.Sequential([keras.Input((6, 6, 1)), layers.Flatten(), layers.Dense(3)])
    refuses("another model", compiled(other, "adam"), folder=tmp_path / "run")
    refuses("with another optimizer than SGD", compiled(network(), "sgd"), folder=tmp_path / "run")

    trainer = shrinking("adam")
    for callback, match in (
        (keras.callbacks.BackupAndRestore(tmp_path / "backup"), "BackupAndRestore.*`folder`"),
        (EpochCheckpoint(tmp_path / "checkpoint"), "EpochCheckpoint.*`folder`"),
        (keras.callbacks.EarlyStopping(restore_best_weights=True), "ModelCheckpoint"),
    ):
        with pytest.raises(ValueError, match=match):
            train(trainer, callbacks=[callback])


def test_the_document_shows_what_works(tmp_path):
    text = (pathlib.Path(__file__).parents[2] / "docs" / "shrinking.md").read_text()
    (code,) = re.findall(r"<!-- tested -->\n```python\n(.*?)```", text, flags=re.S)
    x, y = images()
    model = keras.Sequential([keras.Input((6, 6, 1)), layers.Flatten(), layers.Dense(3, "softmax")])
    names = {"model": model, "x": x, "y": y, "folder": tmp_path / "run"}
    exec(code.replace("epochs=30", "epochs=2"), names)
    assert names["history"].epoch == [0, 1]


def test_it_is_on_the_public_face():
    assert keras_sparse.ShrinkingTrainer is keras_sparse.shrinking.ShrinkingTrainer


@pytest.mark.parametrize("trained", [1, 2, 3, 5])
def test_a_program_of_two_trainings_is_resumed(trained, tmp_path):
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == trained:
                raise KeyboardInterrupt

    def program(*callbacks):
        trainer = shrinking("adam", folder=tmp_path)
        train(trainer, epochs=2, callbacks=list(callbacks))
        train(trainer, epochs=5, initial_epoch=2, callbacks=list(callbacks))
        return trainer

    if trained < 5:
        with pytest.raises(KeyboardInterrupt):
            program(Interrupt())
    else:
        program()
    assert program().history.epoch == list(range(5))
    assert program().history.epoch == list(range(5))


class StopAfter(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = epoch == self.epoch


def test_a_training_that_a_callback_ended_stays_ended(tmp_path):
    first = shrinking("adam", folder=tmp_path)
    train(first, epochs=5, callbacks=[StopAfter(1)])
    assert first.history.epoch == [0, 1]
    second = shrinking("adam", folder=tmp_path)
    train(second, epochs=5)
    assert second.history.epoch == [0, 1]
    assert same(state(second.model), state(first.model))
    # More epochs are another training, and the same trainer trains anew.
    third = shrinking("adam", folder=tmp_path)
    train(third, epochs=4)
    assert third.history.epoch == [0, 1, 2, 3]
    train(first, epochs=5, initial_epoch=4)
    assert first.history.epoch == [0, 1, 4]
