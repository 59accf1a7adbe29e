import csv

import keras
import numpy as np
import pytest

from keras_sparse import RDA, channels
from keras_sparse.callbacks import (
    AdaptiveSparseRetraining,
    DeadChannelCounter,
    MaskHistory,
    MaskUpdate,
    SparsityLogger,
    TerminateOnDeadNetwork,
    Throughput,
)
from tests.callbacks.training import fit
from tests.optimizers.problems import equal_paths, small_model

NAN, INF = float("nan"), float("inf")


BAD = [
    *((AdaptiveSparseRetraining, {"start_epoch": x}, "start_epoch") for x in (-1, NAN, "2", 2.5)),
    *((Throughput, {"images": x}, "images") for x in (-1, 0, NAN, None, "9", True)),
    *((MaskUpdate, {"every": x}, "every") for x in (0, NAN, True, "often", 2.5, None)),
    *((DeadChannelCounter, {"criterion": x}, "threshold") for x in (0, NAN, INF, "small", True)),
    *((DeadChannelCounter, {"epochs": x}, "epochs") for x in (0, NAN, True, 1.5)),
    *((DeadChannelCounter, {"log_dir": x}, "log_dir") for x in (__file__, 3)),
    *((TerminateOnDeadNetwork, {"data": x}, "data") for x in (None, 3, [], np.ones((1, 2)))),
    *((SparsityLogger, {"exclude": x}, "exclude") for x in ("(", 3)),
    *((MaskHistory, {"exclude": x}, "exclude") for x in ("(", 3)),
    *((channels.Selectivity, {"relative": x}, "relative") for x in (0, 1, NAN, "x")),
    *((channels.DeadChannels, {"epochs": x}, "epochs") for x in (NAN, True)),
]


@pytest.mark.parametrize(("callback", "arguments", "name"), BAD, ids=str)
def test_bad_arguments_are_named_before_any_work(callback, arguments, name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        callback(**arguments)


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

    def test_sees_through_the_loss_scale(self):
        optimizer = keras.optimizers.LossScaleOptimizer(RDA())
        fit(small_model(), optimizer, [AdaptiveSparseRetraining(0)])
        assert keras.ops.convert_to_numpy(optimizer.inner_optimizer._fine_tuning)


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


def test_logs_weights_and_channels_with_equal_paths():
    logger, counter, masks = SparsityLogger(), DeadChannelCounter(), MaskHistory()
    history = fit(equal_paths(), keras.optimizers.SGD(1e-9), [logger, counter, masks]).history
    assert history["sparsity/c/kernel"] == [0.25]
    assert history["sparsity/c/kernel_1"] == [0.5]
    assert history["sparsity"] == [pytest.approx((6 + 8) / (24 + 16 + 12))]
    assert (history["zero_channels/c"], history["zero_channels/c_1"]) == ([1], [2])
    assert masks.sizes == {"c/kernel": 24, "c/kernel_1": 16, "out/kernel": 12}
