import keras
import numpy as np
import pytest
from keras import layers

from keras_sparse import layers_of_type, prunable_variables, sparsity
from keras_sparse.variables import dead_layers, path_patterns, warn_of_dead_layers


@pytest.fixture
def model():
    block = keras.Sequential(
        [layers.DepthwiseConv2D(3, name="spatial"), layers.BatchNormalization()], name="block"
    )
    return keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(4, 3, name="stem"),
            layers.PReLU(),
            block,
            layers.Flatten(),
            layers.Dense(3, name="head"),
        ]
    )


def names(variables):
    return ["/".join(v.path.split("/")[-2:]) for v in variables]


def test_prunable_are_kernels(model):
    expected = ["stem/kernel", "spatial/kernel", "head/kernel"]
    assert names(prunable_variables(model)) == expected


def test_frozen_weights_count(model):
    model.get_layer("stem").trainable = False
    assert len(prunable_variables(model)) == 3


@pytest.mark.parametrize(
    "exclude",
    [
        lambda m: "stem/",
        lambda m: m.get_layer("stem"),
        lambda m: [m.get_layer("stem").kernel],
        lambda m: layers_of_type(m, layers.Conv2D)[:1],
    ],
)
def test_exclude_by_pattern_layer_variable_and_type(model, exclude):
    left = prunable_variables(model, path_patterns(exclude(model)))
    assert names(left) == ["spatial/kernel", "head/kernel"]


def test_layers_of_type_looks_into_nested_models(model):
    assert [layer.name for layer in layers_of_type(model, layers.DepthwiseConv2D)] == ["spatial"]


@pytest.mark.parametrize(
    ("exclude", "message"),
    [(layers.Dense(3), "no weights yet"), ("(", "no regular expression"), ([1], "takes regular")],
)
def test_bad_exclude_is_named(exclude, message):
    with pytest.raises(ValueError, match=message):
        path_patterns(exclude)


def test_sparsity_counts_prunable_weights_alone(model):
    assert sparsity(model) == 0
    kernel = np.ones(model.get_layer("head").kernel.shape)
    kernel[:, 0] = 0
    model.get_layer("head").kernel.assign(kernel)
    total = sum(int(np.prod(v.shape)) for v in prunable_variables(model))
    assert sparsity(model) == pytest.approx(len(kernel) / total)
    assert sparsity(keras.Sequential([keras.Input((2,)), layers.ReLU()])) == 0


def test_dead_layers(model):
    kernel = model.get_layer("stem").kernel
    kernel.assign(np.zeros(kernel.shape))
    dead = dead_layers(prunable_variables(model))
    assert dead == [kernel.path]
    with pytest.warns(UserWarning, match="dead"):
        warn_of_dead_layers(dead)
