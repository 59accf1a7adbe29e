"""What looks at a training run: its speed, its memory, whether it lives."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sparse.callbacks import TerminateOnDeadNetwork, Throughput
from keras_sparse.callbacks.throughput import peak_memory

X = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
Y = X[:, :1]


def fit(model, *callbacks, epochs=3):
    model.compile("sgd", "mse")
    return model.fit(
        X, Y, epochs=epochs, validation_data=(X, Y), verbose=0, callbacks=callbacks
    ).history


def branched():
    inputs = keras.Input((4,))
    branch = layers.Dense(4, "relu", name="branch", trainable=False)(inputs)
    x = layers.Add()([inputs, branch])
    return keras.Model(inputs, layers.Dense(1, name="last", trainable=False)(x))


@pytest.mark.parametrize(
    ("layer", "values", "stops"),
    [("branch", 0.0, False), ("last", 0.0, True), ("last", np.nan, True), ("last", 1e-9, True)],
)
def test_stops_when_outputs_do_not_depend_on_inputs(layer, values, stops):
    model = branched()
    kernel = model.get_layer(layer).kernel
    kernel.assign(np.full(kernel.shape, values))
    callback = TerminateOnDeadNetwork(X[:8])
    history = fit(model, callback)
    assert callback.died_in_epoch == (0 if stops else None)
    assert len(history["loss"]) == (1 if stops else 3)


@pytest.mark.parametrize("dead", [True, False])
@pytest.mark.parametrize("noise", [layers.Dropout, layers.GaussianNoise])
def test_what_random_layers_draw_is_no_sign_of_life(noise, dead):
    layer = layers.Dense(4, bias_initializer="ones")
    rest = [noise(0.5), layers.BatchNormalization(), layers.Dense(1)]
    model = keras.Sequential([keras.Input((4,)), layer, *rest])
    if dead:
        layer.kernel.assign(np.zeros((4, 4)))
    callback = TerminateOnDeadNetwork(X[:8])
    callback.set_model(model)
    callback.on_epoch_end(0)
    assert callback.died_in_epoch == (0 if dead else None)


def test_averages_that_lag_do_not_make_a_network_dead():
    model = keras.Sequential([keras.Input((4,))])
    for _ in range(8):
        model.add(layers.Dense(4, trainable=False))
        model.layers[-1].kernel.assign(0.1 * np.eye(4))
        model.add(layers.BatchNormalization())
    model.add(layers.Dense(1))
    callback = TerminateOnDeadNetwork(X[:8])
    before = model.predict(X, verbose=0)
    callback.set_model(model)
    callback.on_epoch_end(0)
    assert np.ptp(before) < 1e-6
    assert callback.died_in_epoch is None
    np.testing.assert_array_equal(model.predict(X, verbose=0), before)


def test_one_output_that_is_not_finite_is_enough():
    inputs = keras.Input((4,))
    heads = [layers.Dense(1, name=name)(inputs) for name in ("a", "b")]
    model = keras.Model(inputs, heads)
    callback = TerminateOnDeadNetwork(X[:8])
    callback.set_model(model)
    callback.on_epoch_end(0)
    assert callback.died_in_epoch is None
    model.get_layer("b").kernel.assign(np.full((4, 1), np.nan))
    callback.on_epoch_end(1)
    assert callback.died_in_epoch == 1


def test_needs_inputs_that_differ():
    with pytest.raises(ValueError, match="two inputs or more"):
        TerminateOnDeadNetwork(X[:1])


class Clock:
    """A clock on which nothing takes time but what the test says."""

    now = 0.0

    def perf_counter(self):
        return self.now


def test_speed_is_that_of_the_training_steps(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("keras_sparse.callbacks.throughput.time", clock)

    class Slow(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            clock.now += 2.0

        def on_test_batch_end(self, batch, logs=None):
            clock.now += 100.0

    history = fit(branched(), Slow(), Throughput(16), epochs=2)
    assert history["images_per_second"] == [8.0, 8.0]
    assert all(value > 10 for value in history["peak_memory_mib"])


def test_peak_of_memory_never_falls():
    before = peak_memory()
    np.ones(50_000_000, "uint8").sum()
    assert peak_memory() >= before > 0
