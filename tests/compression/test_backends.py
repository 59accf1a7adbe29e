"""Kinds of data, of precision and of backends."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse
from keras_sparse.compression import Taylor
from keras_sparse.compression.trial import Trial
from keras_sparse.surgery import channel_groups


def network(run_eagerly=True):
    x = keras.Input((6, 6, 1))
    y = layers.Conv2D(8, 3, name="conv")(x)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    y = layers.GlobalAveragePooling2D()(y)
    model = keras.Model(x, layers.Dense(3, dtype="float32", name="last")(y))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    model.compile(optimizer=optimizer, loss=loss, run_eagerly=run_eagerly)
    return model


def arrays():
    rng = np.random.default_rng(0)
    return rng.normal(size=(32, 6, 6, 1)).astype("float32"), rng.integers(0, 3, 32)


class Batched(keras.utils.PyDataset):
    """Two batches."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        x, y = arrays()
        return x[16 * index :][:16], y[16 * index :][:16]


def as_tf_data():
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(arrays()).batch(16)


DATA = {"arrays": arrays, "PyDataset": Batched, "tf.data": as_tf_data}


def compress(model, data, **arguments):
    given = {
        "target": {"macs": 0.5}, "importance": Taylor(2, 16), "allocation": "uniform",
        "epochs": 1, "batch_size": 16, "validation_data": data, "verbose": 0,
    }  # fmt: skip
    return keras_sparse.compress(model, data, **{**given, **arguments})


@pytest.mark.filterwarnings("error:Your input ran out of data")
@pytest.mark.parametrize("kind", ["PyDataset", "tf.data"])
def test_data_sets(kind):
    result = compress(network(), DATA[kind]())
    assert int(result.model.optimizer.iterations) == 2
    assert result.model.get_layer("conv").filters == 4
    assert np.isfinite(result.metrics["recovered"]["loss"])


@pytest.mark.filterwarnings("error:Your input ran out of data")
def test_scores_from_any_batches():
    x, y = arrays()
    batches = [(x[:16], y[:16]), (x[16:], y[16:])]
    model = network()
    found, wanted = (
        next(iter(Taylor(2, 16).scores(model, channel_groups(model), data).values()))
        for data in (iter(batches), Batched())
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


class Noisy(Batched):
    """Other samples whenever they are read."""

    rng = np.random.default_rng(0)

    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return x + self.rng.normal(size=x.shape), y


def shuffled():
    return as_tf_data().unbatch().shuffle(32).batch(8).take(1)


CHANGING = {
    "generator": lambda: (Noisy()[i % 2] for i in range(4)),
    "PyDataset": Noisy,
    "tf.data": shuffled,
}


@pytest.mark.parametrize("kind", CHANGING)
def test_candidates_are_compared_on_the_same_samples(kind):
    trial = Trial(network(), CHANGING[kind]())
    assert trial.loss({}) == trial.loss({})


def test_a_plan_reads_a_generator_once():
    model, batches = network(), [Batched()[i] for i in range(2)]
    target, importance = {"macs": 0.5}, Taylor(1, 16)
    plans = [
        keras_sparse.plan(model, data, target=target, importance=importance)
        for data in (iter(batches), batches)
    ]
    assert str(plans[0]) == str(plans[1])
    used = iter(batches)
    list(used)
    with pytest.raises(ValueError, match=r"must hold at least one batch.*that was read before"):
        keras_sparse.plan(model, used, target=target)


@pytest.mark.parametrize(
    "policy", ["mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)]
)
def test_mixed_precision(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = network()
    finally:
        keras.config.set_dtype_policy(before)
    result = compress(model, arrays(), schedule="growing", epochs=2)
    layer = result.model.get_layer("conv")
    assert layer.dtype_policy.name == policy
    assert layer.filters == 4
    scaled = isinstance(result.model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (policy == "mixed_float16")
    assert np.isfinite(result.history["loss"]).all()


def test_channels_are_pushed_away_under_a_teacher():
    loss = keras.distillation.LogitsDistillation(temperature=2.0)
    result = compress(
        network(run_eagerly=False), arrays(), schedule="growing", epochs=2, distillation=loss
    )
    assert result.model.get_layer("conv").filters == 4
    assert len(result.history["distillation_loss"]) == 2
    assert np.isfinite(result.history["loss"]).all()
