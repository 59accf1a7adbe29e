import csv

import keras
import numpy as np
import pytest

from keras_sparse import RDA
from keras_sparse.callbacks import AdaptiveSparseRetraining, SparsityLogger, ZeroChannels
from tests.optimizers.problems import blobs, small_model


class Seen(keras.callbacks.Callback):
    """Keeps what the callbacks before it put into an epoch's logs."""

    def on_epoch_end(self, epoch, logs=None):
        self.logs = dict(logs)


def fit(model, optimizer, callbacks, epochs=1):
    x, y = blobs()
    keras.utils.set_random_seed(0)  # the order of the data
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model.fit(x, y, epochs=epochs, callbacks=callbacks, verbose=0)


class TestZeroChannels:
    def test_counts_below_the_threshold_into_the_logs(self):
        model = small_model()
        kernel = keras.ops.convert_to_numpy(model.get_layer("hidden").kernel).copy()
        kernel[:, :5] = 1e-20
        model.get_layer("hidden").kernel.assign(kernel)
        seen = Seen()
        history = fit(model, keras.optimizers.SGD(1e-30), [ZeroChannels(), seen])
        expected = {"zero_channels": 5, "zero_channels/hidden": 5, "zero_channels/logits": 0}
        assert {k: v for k, v in seen.logs.items() if "zero" in k} == expected
        assert history.history["zero_channels"] == [5]

    def test_sees_what_adam_with_l2_does(self):
        decay = keras.regularizers.L2(0.3)
        model = keras.Sequential(
            [
                keras.Input((6,)),
                keras.layers.Dense(16, "relu", kernel_regularizer=decay, name="hidden"),
                keras.layers.Dense(3, "softmax"),
            ]
        )
        history = fit(model, keras.optimizers.Adam(0.01), [ZeroChannels(1e-3)], epochs=80)
        counts = history.history["zero_channels/hidden"]
        assert counts[0] == 0
        assert counts[-1] > 0

    def test_warns_once_of_a_dead_layer(self):
        with pytest.warns(UserWarning, match="`l1`") as warnings:
            fit(small_model(), RDA(l1=100.0), [ZeroChannels()], epochs=3)
        told = [w for w in warnings if "All weights of hidden, logits" in str(w.message)]
        assert len(told) == 1

    def test_layers_of_one_name_are_told_apart(self):
        halves = [
            keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, name="d")], name=name)
            for name in ("left", "right")
        ]
        inputs = keras.Input((6,))
        outputs = keras.layers.Softmax()(keras.layers.add([half(inputs) for half in halves]))
        history = fit(keras.Model(inputs, outputs), "sgd", [ZeroChannels()])
        assert {"zero_channels/left/d", "zero_channels/right/d"} <= set(history.history)

    def test_bad_threshold_is_named(self):
        with pytest.raises(ValueError, match="`threshold`"):
            ZeroChannels(0.0)


class TestAdaptiveSparseRetraining:
    @staticmethod
    def grown(callbacks):
        """Weights that came back to life from the third epoch on."""
        optimizer = RDA(target_sparsity=0.5, ramp_steps=10)
        history = fit(small_model(), optimizer, [*callbacks, SparsityLogger()], epochs=30)
        assert history.history["sparsity"][-1] > 0.4
        return sum(history.history["grown"][2:])

    def test_zeros_stay_from_its_epoch_on(self):
        assert self.grown([]) > 0  # or the next line could not fail
        assert self.grown([AdaptiveSparseRetraining(2)]) == 0

    def test_needs_an_optimizer_that_can(self):
        with pytest.raises(ValueError, match="Received: optimizer=SGD"):
            fit(small_model(), "sgd", [AdaptiveSparseRetraining(0)])

    def test_bad_epoch_is_named(self):
        with pytest.raises(ValueError, match="`start_epoch`"):
            AdaptiveSparseRetraining(-1)

    def test_sees_through_the_loss_scale(self):
        optimizer = keras.optimizers.LossScaleOptimizer(RDA())
        fit(small_model(), optimizer, [AdaptiveSparseRetraining(0)])
        assert keras.ops.convert_to_numpy(optimizer.inner_optimizer._retraining)


class TestSparsityLogger:
    def test_logs_what_changed(self, tmp_path):
        class Change(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                kernel = np.ones((16, 3), "float32")
                kernel[: [4, 2][epoch]] = 0
                self.model.get_layer("logits").kernel.assign(kernel)

        table = tmp_path / "log.csv"
        callbacks = [Change(), SparsityLogger(), keras.callbacks.CSVLogger(table)]
        history = fit(small_model(), keras.optimizers.SGD(1e-30), callbacks, epochs=2).history
        weights = 6 * 16 + 16 * 3
        assert history["sparsity"] == pytest.approx([12 / weights, 6 / weights])
        assert history["pruned"] == [12, 0]
        assert history["grown"] == [0, 6]
        rows = list(csv.DictReader(table.open()))
        path = next(key for key in rows[0] if key.endswith("logits/kernel"))
        assert [float(row[path]) for row in rows] == pytest.approx([0.25, 0.125])

    @pytest.mark.tensorflow
    def test_tensorboard_gets_them(self, tmp_path):
        callbacks = [SparsityLogger(), keras.callbacks.TensorBoard(tmp_path)]
        fit(small_model(), "sgd", callbacks)
        (events,) = (tmp_path / "train").glob("events*")
        assert b"epoch_sparsity/" in events.read_bytes()

    def test_exclude(self):
        logger = SparsityLogger(exclude="hidden")
        history = fit(small_model(), keras.optimizers.SGD(1e-30), [logger]).history
        assert sum(key.startswith("sparsity/") for key in history) == 1
