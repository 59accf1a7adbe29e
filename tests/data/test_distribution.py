"""The pipelines under two devices."""

import itertools

import keras
import numpy as np
import pytest

from keras_sparse.data import Batches, ImageFolder, crop_and_flip

from . import pictures


def make_data(count=22):
    rng = np.random.default_rng(0)
    return rng.random((count, 8, 8, 3), dtype="float32"), np.arange(count) % 3


def make_model():
    keras.utils.set_random_seed(0)
    layers = [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3)]
    model = keras.Sequential(layers)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, jit_compile=False)
    return model


def check(make_distributed_model, folder):
    """What two devices learn, stopped and resumed, is what one learns."""
    images = ImageFolder(folder, size=8)
    streams = (
        # The last of 6 batches has two images.
        (lambda epoch: Batches(*make_data(), 4, 3, crop_and_flip, epoch), 6, None),
        (lambda epoch: images.train(4, 3, epoch), images.steps_per_epoch(4), images.test(2)),
    )
    for stream, steps, validation in streams:
        expected, model = make_model(), make_distributed_model()
        for x, y in itertools.islice(stream(0), 2 * steps):
            expected.train_on_batch(np.asarray(x), np.asarray(y))
        for epoch in range(2):
            model.fit(
                stream(epoch),
                steps_per_epoch=steps,
                initial_epoch=epoch,
                epochs=epoch + 1,
                validation_data=validation,
                shuffle=False,
                verbose=0,
            )
        for one, other in zip(model.get_weights(), expected.get_weights(), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pictures.write(tmp_path_factory.mktemp("pictures"))


@pytest.mark.slow
@pytest.mark.tensorflow
def test_two_replicas_of_a_mirrored_strategy(folder, mirrored):
    def make_distributed_model():
        with mirrored.scope():
            return make_model()

    check(make_distributed_model, folder)


@pytest.mark.jax
def test_two_devices_under_data_parallel(folder, data_parallel):
    def make_distributed_model():
        data_parallel()
        return make_model()

    check(make_distributed_model, folder)
    with pytest.raises(ValueError, match="a last batch of 1"):
        Batches(*make_data(21), 4)
    with pytest.raises(ValueError, match="batch_size=11"):
        Batches(*make_data(22), 11)
