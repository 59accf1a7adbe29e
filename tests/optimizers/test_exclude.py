"""What is excluded stays dense, under whatever paths its variables have."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_sparse import GRDA, RDA, MagnitudePruning, StaticSparse, surgery

from .problems import equal_paths

OPTIMIZERS = {
    "RDA": lambda exclude: RDA(0.1, l1=0.5, exclude=exclude),
    "target": lambda exclude: RDA(target_sparsity=0.5, ramp_steps=1, exclude=exclude),
    "GRDA": lambda exclude: GRDA(c=1.0, exclude=exclude),
    "StaticSparse": lambda exclude: StaticSparse(density=0.5, exclude=exclude),
    "MagnitudePruning": lambda exclude: MagnitudePruning(sparsity=0.5, exclude=exclude),
}


@keras.saving.register_keras_serializable(package="tests")
class Subclass(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first, self.last = layers.Dense(6), layers.Dense(4)

    def call(self, x):
        return self.last(self.first(x))


def nested():
    inner = keras.Sequential([keras.Input((5,)), layers.Dense(6), layers.Dense(4)])
    inputs = keras.Input((5,))
    return keras.Model(inputs, inner(inputs)), inner.layers[0]


def subclass():
    model = Subclass()
    model(np.zeros((1, 5)))
    return model, model.first


def shared_names():
    inputs = keras.Input((5,))
    first = layers.Dense(6, name="a")
    x = keras.Sequential([first], name="b")(inputs)
    return keras.Model(inputs, keras.Sequential([layers.Dense(4, name="a")], name="c")(x)), first


MODELS = {"nested": nested, "subclass": subclass, "shared_names": shared_names}


def step(model, seed):
    rng = np.random.default_rng(seed)
    variables = model.trainable_variables
    gradients = [ops.array(rng.normal(0, 1, v.shape), dtype="float32") for v in variables]
    model.optimizer.apply(gradients, variables)


def same(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(x), ops.convert_to_numpy(y))


def compiled(make_model, make_optimizer, item="layer"):
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    model, layer = make_model()
    exclude = {"layer": layer, "variable": layer.kernel, "path": layer.kernel.path}[item]
    model.compile(make_optimizer(exclude), "mse")
    return model, layer


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    ("make", "item"), [("nested", "layer"), ("subclass", "variable"), ("shared_names", "path")]
)
def test_saved_and_loaded_is_never_saved(make, item, optimizer, tmp_path):
    model, layer = compiled(MODELS[make], OPTIMIZERS[optimizer], item)
    step(model, 0)
    model.save(tmp_path / "model.keras")
    layers.Dense(1)  # names are counted through the process
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    same(model.optimizer.variables, loaded.optimizer.variables)
    for each in (model, loaded):
        for seed in (1, 2):
            step(each, seed)
    same(model.weights, loaded.weights)
    assert np.all(ops.convert_to_numpy(layer.kernel) != 0)


def test_saved_twice_keeps_the_first_paths(tmp_path):
    model, _ = compiled(nested, OPTIMIZERS["StaticSparse"])
    step(model, 0)
    for name in ("a.keras", "b.keras"):
        model.save(tmp_path / name)
        model = keras.saving.load_model(tmp_path / name)
        step(model, 1)
    dense = model.trainable_variables[0]
    assert np.all(ops.convert_to_numpy(dense) != 0)


def test_a_state_that_does_not_fit_is_refused(tmp_path):
    model, _ = compiled(nested, OPTIMIZERS["target"])
    step(model, 0)
    model.optimizer._first_paths[0] = model.optimizer._first_paths[2].replace("dense_1", "dense_9")
    model.save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match=r"saved state of DPF has \d+ variables.*compile=False"):
        keras.saving.load_model(tmp_path / "model.keras")


def test_a_network_that_was_compiled_only_is_refused_under_other_paths(tmp_path):
    model, _ = compiled(nested, OPTIMIZERS["target"])
    model.save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="`exclude` names what is not there"):
        keras.saving.load_model(tmp_path / "model.keras")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_pattern_that_matches_nothing_is_refused_with_the_paths(optimizer):
    model, _ = nested()
    made = OPTIMIZERS[optimizer](["kernel", "logits/"])
    with pytest.raises(ValueError, match=r"names what is not there: 'logits/'.*dense.*/kernel"):
        made.build(model.trainable_variables)


def test_a_layer_of_another_model_is_refused():
    model, _ = nested()
    keras.utils.clear_session()
    other = layers.Dense(3, name="other")
    other.build((None, 3))
    with pytest.raises(ValueError, match="names what is not there"):
        RDA(exclude=other).build(model.trainable_variables)


def test_what_has_nothing_to_cut_may_be_excluded():
    """A frozen layer, or one without kernels: a list by `layers_of_type` holds such."""
    inputs = keras.Input((5,))
    norm, frozen = layers.BatchNormalization(), layers.Dense(6, trainable=False)
    model = keras.Model(inputs, layers.Dense(4)(norm(frozen(inputs))))
    optimizer = RDA(exclude=[norm, frozen])
    optimizer.build(model.trainable_variables)
    again = type(optimizer).from_config(optimizer.get_config())
    again.build(model.trainable_variables)
    for each in (optimizer, again):
        assert [r.is_thresholded for r in each._records] == [False, False, True, False]


def test_surgery_keeps_what_is_excluded():
    keras.utils.clear_session()
    model = keras.Sequential([keras.Input((5,)), layers.Dense(6, "relu"), layers.Dense(4)])
    model.compile(RDA(l1=0.5, exclude=[model.layers[1], "sequential/dense_1/"]), "mse")
    step(model, 0)
    dead = ops.convert_to_numpy(model.layers[0].kernel).copy()
    dead[:, :2] = 0
    model.layers[0].kernel.assign(dead)
    compact, report = surgery.remove_dead_channels(model)
    sliced = surgery.slice_optimizer(model.optimizer, report, compact)
    assert [v.path for v in sliced.thresholded_variables] == ["dense/kernel"]


def test_a_layer_whose_path_another_has_too_is_refused():
    model = equal_paths()
    with pytest.raises(ValueError, match=r"'c/kernel', which 2 variables have"):
        RDA(exclude=model.get_layer("c")).build(model.trainable_variables)
