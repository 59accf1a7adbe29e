import keras
import numpy as np
import pytest

from keras_sparse import models, prunable_variables
from keras_sparse.surgery import remove_dead_channels


@pytest.mark.parametrize(
    ("build", "parameters", "prunable"),
    [(models.lenet_300_100, 266_610, 266_200), (models.lenet_5, 431_080, 430_500)],
)
def test_counts_are_the_published_ones(build, parameters, prunable):
    model = build()
    assert model.count_params() == parameters
    assert sum(int(np.prod(v.shape)) for v in prunable_variables(model)) == prunable
    # Batch normalisation adds no prunable weights.
    normalised = build(batch_norm=True)
    assert sum(int(np.prod(v.shape)) for v in prunable_variables(normalised)) == prunable


def test_small_cnn_count():
    assert models.small_cnn((8, 8, 1)).count_params() == 56_874


@pytest.mark.parametrize("build", [models.lenet_300_100, models.lenet_5, models.small_cnn])
def test_arguments_and_saving(build, tmp_path):
    model = build((20, 18, 3), 7, "softmax", kernel_regularizer="l2", name="mine")
    assert model.name == "mine"
    assert model.output_shape == (None, 7)
    x = np.random.default_rng(0).normal(size=(2, 20, 18, 3)).astype("float32")
    outputs = model.predict(x, verbose=0)
    np.testing.assert_allclose(outputs.sum(-1), 1, rtol=1e-5)
    kernels = prunable_variables(model)
    assert len(model.losses) == len(kernels)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), outputs)


@pytest.mark.parametrize("build", [models.lenet_300_100, models.lenet_5, models.small_cnn])
def test_surgery_accepts_them(build):
    model = build((16, 16, 1))
    rng = np.random.default_rng(0)
    for kernel in prunable_variables(model)[:-1]:
        values = rng.normal(0, 0.1, kernel.shape)
        values[..., ::2] = 0
        kernel.assign(values)
    smaller, report = remove_dead_channels(model)
    assert smaller.count_params() < 0.6 * model.count_params()
    hidden = list(report.channels.values())[:-1]
    assert all(after <= before // 2 + 1 for before, after in hidden)


def test_lenet_5_says_what_it_needs():
    with pytest.raises(ValueError, match="at least 16x16"):
        models.lenet_5((8, 8, 1))
