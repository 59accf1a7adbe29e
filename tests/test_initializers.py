import keras
import numpy as np
import pytest

from keras_sparse import ScaledUniform


@pytest.mark.parametrize(
    ("bound", "shape", "limit"),
    [
        ("torch", (400, 50), 1 / 20),
        ("lecun", (300, 50), 1 / 10),
        ("torch", (5, 5, 16, 50), 1 / 20),
        ("lecun", (5, 5, 12, 50), 1 / 10),
    ],
)
def test_fills_the_range_that_the_fan_in_gives(bound, shape, limit):
    values = keras.ops.convert_to_numpy(ScaledUniform(7.0, bound, seed=1)(shape))
    assert np.abs(values).max() <= 7 * limit
    assert np.abs(values).max() > 6.99 * limit
    np.testing.assert_allclose(values.std(), 7 * limit / np.sqrt(3), rtol=0.02)


def test_same_seed_same_values():
    first, second, other = (ScaledUniform(2.0, seed=seed)((4, 4)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, second)
    assert np.any(np.asarray(first) != np.asarray(other))


def test_survives_saving(tmp_path):
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, kernel_initializer=ScaledUniform(5.0, "lecun"))]
    )
    model.save(tmp_path / "model.keras")
    layer = keras.saving.load_model(tmp_path / "model.keras").layers[-1]
    config = layer.kernel_initializer.get_config()
    assert (config["scale"], config["bound"]) == (5.0, "lecun")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0.0,), "`scale`"), ((float("nan"),), "`scale`"), ((1.0, "keras"), "`bound`")],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ScaledUniform(*arguments)
