import json
import math
import warnings

import keras
import numpy as np
import pytest

from keras_sparse import RDA
from keras_sparse.callbacks import DeadChannelCounter
from keras_sparse.channels import (
    BatchNormScale,
    IncomingNorm,
    LargestActivation,
    alpha_lambda_over_epsilon,
    settling_limit,
)
from tests.callbacks.training import fit
from tests.optimizers.problems import blobs, small_model

STILL = 1e-30  # a learning rate


def with_dead_units(count=5, norm=1e-20):
    model = small_model()
    kernel = keras.ops.convert_to_numpy(model.get_layer("hidden").kernel).copy()
    kernel[:, :count] = norm
    model.get_layer("hidden").kernel.assign(kernel)
    return model


def regularized_model(l2):
    regularizer = keras.regularizers.L2(l2) if l2 else None
    hidden = keras.layers.Dense(16, "relu", kernel_regularizer=regularizer, name="hidden")
    return keras.Sequential([keras.Input((6,)), hidden, keras.layers.Dense(3, "softmax")])


class Seen(keras.callbacks.Callback):
    """Keeps what the callbacks before it put into an epoch's logs."""

    def on_epoch_end(self, epoch, logs=None):
        self.logs = dict(logs)


class Revive(keras.callbacks.Callback):
    """After the first epoch gives the first hidden unit its weights back."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            kernel = keras.ops.convert_to_numpy(self.model.get_layer("hidden").kernel).copy()
            kernel[:, 0] = 1.0
            self.model.get_layer("hidden").kernel.assign(kernel)


class TestCounts:
    def test_into_the_logs(self):
        seen = Seen()
        sgd = keras.optimizers.SGD(STILL)
        history = fit(with_dead_units(), sgd, [DeadChannelCounter(), seen])
        expected = {"zero_channels": 5, "zero_channels/hidden": 5, "zero_channels/logits": 0}
        gap = seen.logs.pop("zero_channels_gap")
        assert {k: v for k, v in seen.logs.items() if "zero" in k} == expected
        assert history.history["zero_channels"] == [5]
        assert 19 < gap < 21

    def test_sees_what_adam_with_l2_does(self):
        callbacks = [DeadChannelCounter(1e-3)]
        history = fit(regularized_model(0.3), keras.optimizers.Adam(0.01), callbacks, epochs=80)
        counts = history.history["zero_channels/hidden"]
        assert counts[0] == 0
        assert counts[-1] > 0

    def test_epochs_in_a_row_and_over_trainings(self):
        model, zero_channels = with_dead_units(), DeadChannelCounter(epochs=3)
        callbacks = [Revive(), zero_channels]
        history = fit(model, keras.optimizers.SGD(STILL), callbacks, epochs=4).history
        assert history["zero_channels"] == [0, 0, 4, 4]
        fit(model, keras.optimizers.SGD(STILL), [zero_channels])
        assert [int(r.dead["hidden"].sum()) for r in zero_channels.record] == [0, 0, 4, 4, 4]

    def test_other_criteria(self):
        inputs = keras.Input((6,))
        x = keras.layers.BatchNormalization(name="bn")(keras.layers.Dense(4)(inputs))
        x = keras.layers.ReLU()(x)
        model = keras.Model(inputs, keras.layers.Dense(3, "softmax", name="logits")(x))
        model.get_layer("bn").gamma.assign([1.0, 1e-4, 1.0, 1.0])
        # What is normalised lies between −100 and 100: the third ReLU is shut, the others open.
        model.get_layer("bn").beta.assign([100.0, 1.0, -100.0, 100.0])
        by_scale = DeadChannelCounter(BatchNormScale())
        by_activation = DeadChannelCounter(LargestActivation(), data=blobs())
        fit(model, keras.optimizers.SGD(STILL), [by_scale, by_activation])
        scale, activation = by_scale.record[0].dead, by_activation.record[0].dead
        np.testing.assert_array_equal(scale["bn"], [False, True, False, False])
        np.testing.assert_array_equal(activation[model.layers[1].name], [False, False, True, False])

    def test_layers_of_one_name_are_told_apart(self):
        halves = [
            keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, name="d")], name=name)
            for name in ("left", "right")
        ]
        inputs = keras.Input((6,))
        outputs = keras.layers.Softmax()(keras.layers.add([half(inputs) for half in halves]))
        history = fit(keras.Model(inputs, outputs), "sgd", [DeadChannelCounter()])
        assert {"zero_channels/left/d", "zero_channels/right/d"} <= set(history.history)

    def test_bad_arguments_are_named(self):
        with pytest.raises(ValueError, match="`threshold`"):
            DeadChannelCounter(0.0)
        with pytest.raises(ValueError, match="`epochs`"):
            DeadChannelCounter(epochs=0)
        with pytest.raises(ValueError, match=r"LargestActivation\(.*needs `data`"):
            DeadChannelCounter(LargestActivation())


class TestRecord:
    def test_holds_what_was_seen(self):
        zero_channels = DeadChannelCounter(IncomingNorm(1e-7))
        model = with_dead_units()
        fit(model, keras.optimizers.SGD(STILL), [zero_channels], epochs=2)
        assert [record.epoch for record in zero_channels.record] == [0, 1]
        record = zero_channels.record[-1]
        norms = IncomingNorm().scores(model)
        np.testing.assert_array_equal(record.scores["hidden"], norms["hidden"])
        assert record.gap.dead == norms["hidden"][:5].max()
        alive = np.concatenate([norms["hidden"][5:], norms["logits"]])
        assert record.gap.alive == alive.min()
        assert record.threshold == 1e-7
        assert record.alpha_lambda_over_epsilon is None

    def test_tensorboard(self, tmp_path):
        """What TensorBoard itself reads from the file; nothing is written of a gap of nan."""
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from tensorboard.util.tensor_util import make_ndarray

        callbacks = [DeadChannelCounter(log_dir=tmp_path)]
        model = regularized_model(1e-4)
        kernel = keras.ops.convert_to_numpy(model.get_layer("hidden").kernel).copy()
        kernel[:, :5] = 0
        model.get_layer("hidden").kernel.assign(kernel)
        fit(model, keras.optimizers.Adam(STILL), callbacks, epochs=2)
        events = EventAccumulator(str(tmp_path))
        events.Reload()

        def read(tag):
            return [make_ndarray(event.tensor_proto) for event in events.Tensors(f"channels/{tag}")]

        assert [event.step for event in events.Tensors("channels/dead")] == [0, 1]
        assert read("hidden/dead") == read("dead") == [5, 5]
        histogram = read("hidden/log10_score")[-1]
        assert histogram[:, 2].sum() == 16
        assert (histogram[0, 0], histogram[0, 2]) == (-45, 5)
        assert read("alpha_lambda_over_epsilon")[0] == pytest.approx(STILL * 2e-4 / 1e-7)
        assert "channels/gap_decades" not in events.Tags()["tensors"]


class Kill(keras.callbacks.Callback):
    """Ends a training when its third epoch starts."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise RuntimeError("killed")


class TestInterrupted:
    """Five units are dead from the start, and count as dead after three epochs."""

    @staticmethod
    def counts(zero_channels, *others, epochs):
        model, sgd = with_dead_units(), keras.optimizers.SGD(STILL)
        return fit(model, sgd, [*others, zero_channels], epochs).history["zero_channels"]

    def test_goes_on_counting_under_backup_and_restore(self, tmp_path):
        def callbacks():
            backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
            return backup, DeadChannelCounter(epochs=3, log_dir=tmp_path / "logs")

        backup, zero_channels = callbacks()
        with pytest.raises(RuntimeError, match="killed"):
            self.counts(zero_channels, backup, Kill(), epochs=4)
        backup, zero_channels = callbacks()
        assert self.counts(zero_channels, backup, epochs=4) == [5, 5]
        # Another training that starts from the beginning does not.
        backup, zero_channels = callbacks()
        assert self.counts(zero_channels, backup, epochs=3) == [0, 0, 5]

    def test_takes_over_a_state(self):
        stopped, resumed = DeadChannelCounter(epochs=3), DeadChannelCounter(epochs=3)
        self.counts(stopped, epochs=2)
        resumed.set_state(json.loads(json.dumps(stopped.get_state())))
        assert self.counts(resumed, epochs=2) == [5, 5]


class TestWarnings:
    @staticmethod
    def caught(run):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run()
        return [str(w.message) for w in caught if issubclass(w.category, UserWarning)]

    def at_start(self, model, optimizer):
        """What is said before the first step."""
        model.compile(optimizer, "sparse_categorical_crossentropy")
        callback = DeadChannelCounter()
        callback.set_model(model)
        return self.caught(callback.on_train_begin)

    def test_once_of_a_dead_layer(self):
        told = self.caught(
            lambda: fit(small_model(), RDA(l1=100.0), [DeadChannelCounter()], epochs=3)
        )
        found = [text for text in told if "All channels of hidden, logits are dead" in text]
        assert len(found) == 1
        assert "`l1`" in found[0]

    @pytest.mark.parametrize(
        ("optimizer", "l2", "warns"),
        [
            (keras.optimizers.AdamW, 0.0, True),
            (lambda: keras.optimizers.Adam(weight_decay=0.01), 0.0, True),
            (lambda: keras.optimizers.RMSprop(weight_decay=0.01), 0.0, True),
            (
                lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.AdamW()),
                0.0,
                True,
            ),
            (keras.optimizers.AdamW, 1e-5, False),
            (keras.optimizers.Adam, 0.0, False),
            (lambda: keras.optimizers.SGD(weight_decay=0.01), 0.0, False),
        ],
    )
    def test_of_decay_that_kills_nothing(self, optimizer, l2, warns):
        told = self.at_start(regularized_model(l2), optimizer())
        assert any("Decoupled decay" in text for text in told) == warns

    @pytest.mark.parametrize(
        ("arguments", "l2", "warns"),
        [
            ({}, 2.5e-4, False),  # 1e-3 · 5e-4 / 1e-7 = 5
            ({"epsilon": 1e-8}, 2.5e-4, True),  # 50
            ({"epsilon": 1e-8, "beta_1": 0.95}, 2.5e-4, False),  # the limit is 78
            ({"epsilon": 1e-8}, 0.0, False),
        ],
    )
    @pytest.mark.parametrize("scaled", [False, True])
    def test_of_bursts(self, arguments, l2, warns, scaled):
        optimizer = keras.optimizers.Adam(1e-3, **arguments)
        if scaled:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        told = self.at_start(regularized_model(l2), optimizer)
        assert any("burst" in text for text in told) == warns

    def test_once_of_bursts_after_a_warm_up(self):
        schedule = keras.optimizers.schedules.PiecewiseConstantDecay([2], [1e-5, 1e-3])
        optimizer = keras.optimizers.Adam(schedule, epsilon=1e-8)
        model = regularized_model(2.5e-4)
        assert not self.at_start(model, optimizer)
        told = self.caught(lambda: fit(model, optimizer, [DeadChannelCounter()], epochs=2))
        assert sum("burst" in text for text in told) == 1


class TestSettling:
    @staticmethod
    def weight_after(number, beta_1, steps):
        """A weight that only L2 moves, by Keras' Adam."""
        # A β2 that forgets soon: Adam's correction for its start takes 1/(1 − β2) steps.
        optimizer = keras.optimizers.Adam(1e-3, beta_1=beta_1, beta_2=0.5, epsilon=1e-6)
        rate = number * 1e-6 / 1e-3  # λ, so that αλ/ε is the number
        weight = keras.Variable([1e-12])
        optimizer.build([weight])
        for _ in range(steps):
            optimizer.apply([rate * keras.ops.convert_to_tensor(weight)])
        return float(np.abs(keras.ops.convert_to_numpy(weight))[0])

    @pytest.mark.slow
    @pytest.mark.parametrize("beta_1", [0.9, 0.5])
    def test_limit_is_where_keras_adam_stops_settling(self, beta_1):
        model = regularized_model(1e-4)
        model.compile(keras.optimizers.Adam(beta_1=beta_1))
        limit = settling_limit(model)
        assert limit == pytest.approx({0.9: 38.0, 0.5: 6.0}[beta_1])
        assert self.weight_after(0.9 * limit, beta_1, 600) < 1e-14
        assert self.weight_after(1.1 * limit, beta_1, 600) > 1e-10

    def test_number(self):
        model = regularized_model(1e-4)
        model.compile(keras.optimizers.Adam(1e-3))
        assert alpha_lambda_over_epsilon(model) == pytest.approx(2.0)
        history = fit(model, keras.optimizers.Adam(1e-3), [DeadChannelCounter()]).history
        assert history["alpha_lambda_over_epsilon"] == [pytest.approx(2.0)]
        assert math.isnan(history["zero_channels_gap"][0])
        model.compile("sgd")
        assert alpha_lambda_over_epsilon(model) is None
