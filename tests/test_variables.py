import keras
import numpy as np
import pytest
from keras import layers

from keras_sparse import layers_of_type, prunable_variables, sparsity
from keras_sparse.variables import (
    dead_layers,
    is_prunable,
    numbered,
    path_patterns,
    warn_of_dead_layers,
)
from tests.optimizers.problems import equal_paths


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


def test_frozen_weights_count_only_when_asked_for(model):
    stem = model.get_layer("stem")
    stem.kernel.assign(np.zeros(stem.kernel.shape))
    stem.trainable = False
    assert names(prunable_variables(model)) == ["spatial/kernel", "head/kernel"]
    assert len(prunable_variables(model, include_frozen=True)) == 3
    assert sparsity(model) == 0
    assert sparsity(model, include_frozen=True) > 0


@pytest.mark.parametrize(
    ("path", "shape", "expected"),
    [
        ("dense/kernel", (1, 8), True),
        ("conv/kernel", (1, 1, 8, 16), True),
        ("attention/query/kernel", (8, 2, 4), True),
        ("lstm/recurrent_kernel", (4, 16), True),
        ("lora/lora_kernel_a", (8, 2), True),
        ("embedding/embeddings", (10, 4), True),
        ("token_embedding/embeddings", (10, 4), True),
        ("linear/variable", (5, 8), True),
        ("linear/w", (5, 8), True),
        ("vit/cls_token", (1, 1, 8), False),
        ("mask_token", (4, 8), False),
        ("vit/variable", (1, 17, 8), False),
        ("scale/variable_3", (1, 8), False),
        ("swin/logit_scale", (4, 1, 1), False),
        ("swin/relative_position_bias_table", (49, 4), False),
        ("vit/pos_embed", (17, 8), False),
        ("vit/position_embeddings", (17, 8), False),
        ("token_and_position_embedding/position_embedding/embeddings", (17, 8), False),
        ("token_and_position_embedding/token_embedding/embeddings", (17, 8), True),
        ("position_wise/kernel", (17, 8), True),
        ("prelu/alpha", (4, 8), False),
        ("attention/query/bias", (2, 4), False),
        ("spectral_normalization/vector_u", (1, 8), False),
        ("dense/bias", (8,), False),
    ],
)
def test_prunable_is_what_multiplies_an_input(path, shape, expected):
    variable = keras.Variable(np.ones(shape), name=path.rsplit("/", 1)[-1])
    assert is_prunable(variable, path=path) == expected


def test_what_keras_overwrites_with_its_gradient_is_not_prunable():
    variable = keras.Variable(np.ones((3, 4)), name="kernel")
    variable.overwrite_with_gradient = True
    assert not is_prunable(variable)


@pytest.mark.parametrize("exclude", ["logits/", ["stem/", "logits/"]])
def test_exclude_that_matches_nothing_is_refused(model, exclude):
    with pytest.raises(ValueError, match=r"not there: 'logits/'.*stem/kernel"):
        sparsity(model, exclude)
    assert sparsity(model, "stem/") == 0


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


@pytest.mark.parametrize("wrong", [keras.Sequential([layers.Dense(3)]), "model.keras", None])
def test_what_is_no_built_model_has_no_sparsity(wrong):
    with pytest.raises(ValueError, match="must be a built"):
        sparsity(wrong)


def test_dead_layers(model):
    kernel = model.get_layer("stem").kernel
    kernel.assign(np.zeros(kernel.shape))
    dead = dead_layers(prunable_variables(model))
    assert dead == [kernel.path]
    with pytest.warns(UserWarning, match="dead"):
        warn_of_dead_layers(dead)


def test_numbers_make_equal_names_different():
    assert numbered(["c", "out", "c", "c_1", "c"]) == ["c", "out", "c_2", "c_1", "c_3"]
    assert numbered(["a", "b"]) == ["a", "b"]


def test_exclude_names_a_layer_whose_path_another_has_too():
    model = equal_paths()
    with pytest.raises(ValueError, match="2 variables have"):
        sparsity(model, exclude=model.get_layer("c"))
    both = [layer for layer in layers_of_type(model, layers.Dense) if layer.name == "c"]
    assert names(prunable_variables(model, both)) == ["out/kernel"]
    assert names(prunable_variables(model, "^c/kernel$")) == ["out/kernel"]
