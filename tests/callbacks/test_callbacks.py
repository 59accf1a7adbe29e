import csv

import keras
import numpy as np
import pytest

from keras_sparse import RDA
from keras_sparse.callbacks import AdaptiveSparseRetraining, SparsityLogger
from tests.callbacks.training import fit
from tests.optimizers.problems import small_model


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
