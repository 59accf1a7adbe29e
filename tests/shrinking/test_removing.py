"""One cut: same outputs, the kept weights' state, and a next step that starts from there."""

import functools

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers, ops

from keras_sparse import RDA, SparseMomentum
from keras_sparse.channels import DeadChannels
from keras_sparse.optimizers import carried_sums
from keras_sparse.optimizers.proximal import soft_threshold
from keras_sparse.shrinking.removing import remove_dead, zeroed
from keras_sparse.surgery.slices import VariableSlice
from tests.optimizers.matrix import thorough

from .networks import (
    DEAD,
    OPTIMIZERS,
    array,
    compiled,
    images,
    kill,
    make,
    network,
    plain_network,
    same,
    weights,
)


@functools.cache
def trained(name):
    """A network with dead channels, which a cut does not change."""
    model = make(name, run_eagerly=True)
    model.fit(*images(), batch_size=8, epochs=2, verbose=0)
    return model


def dead_of(model):
    return DeadChannels().update(model)


def by_name(optimizer):
    return {slot.name.split("network_")[-1]: array(slot) for slot in optimizer.variables}


def data_loss(model):
    x, y = images()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return float(loss(y, model(x, training=False)))


@pytest.mark.parametrize(
    "name", [pytest.param("adam", marks=pytest.mark.slow), "rda", "sparse_momentum"]
)
def test_loss_changes_by_rounding_only(name):
    model = trained(name)
    before = weights(model)
    compact, report = remove_dead(model, dead_of(model))
    assert report.channels["conv"][1] <= 12 - DEAD
    # Masks may leave a unit nothing to lead to; it is cut as well.
    assert report.channels["hidden"][1] <= 20 - DEAD
    assert same(weights(model), before)
    np.testing.assert_allclose(data_loss(compact), data_loss(model), rtol=1e-5)
    x, y = images()
    results = [m.evaluate(x, y, verbose=0, return_dict=True) for m in (model, compact)]
    assert results[0]["accuracy"] == results[1]["accuracy"]
    # The weights that read the dead channels are removed, and with it its share of the penalty.
    assert results[1]["loss"] <= results[0]["loss"] + 1e-5


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_slots_are_those_of_the_kept_weights(name):
    model = trained(name)
    compact, report = remove_dead(model, dead_of(model))
    olds, news = by_name(model.optimizer), by_name(compact.optimizer)
    conv, hidden = (report.layers[layer].kept for layer in ("conv", "hidden"))
    flat = (np.arange(9)[:, None] * 12 + conv).ravel()
    kernels = {"conv": np.s_[..., conv], "hidden": np.ix_(flat, hidden), "logits": hidden}
    compared = 0
    for slot, old in olds.items():
        layer, _, kind = slot.partition("_")
        if "removed" in kind:
            continue
        if kind.startswith("kernel_"):
            np.testing.assert_array_equal(news[slot], old[kernels[layer]])
        elif kind.startswith("bias_"):
            kept = {"conv": conv, "hidden": hidden, "logits": slice(None)}[layer]
            np.testing.assert_array_equal(news[slot], old[kept])
        else:
            np.testing.assert_array_equal(news[slot], old)
        compared += 1
    assert compared >= len(olds) - 4
    assert news["iteration"] == 12


def test_masks_hold_the_kept_ones():
    model = trained("sparse_momentum")
    compact, report = remove_dead(model, dead_of(model))
    before = {path.split("/", 1)[1]: array(m) for path, m in model.optimizer.masks.items()}
    kept = [report.slices[path](before[path]).sum() for path in compact.optimizer.masks]
    sums = [array(mask).sum() for mask in compact.optimizer.masks.values()]
    assert sums == kept
    compact.optimizer.update_masks()
    compact.fit(*images(), batch_size=8, verbose=0)
    # Masks have moved meanwhile; the budget is what it was.
    assert sum(array(mask).sum() for mask in compact.optimizer.masks.values()) == sum(kept)
    for path, mask in compact.optimizer.masks.items():
        kernel = next(v for v in compact.weights if v.path == path)
        assert not array(kernel)[~array(mask)].any()


def test_dual_averaging_goes_on_from_the_weights_that_are_there():
    model = compiled(network(), RDA(0.05, l1=2e-3, groups="channel"), run_eagerly=True)
    kill(model)
    model.fit(*images(), batch_size=8, epochs=2, verbose=0)
    compact, report = remove_dead(model, dead_of(model))
    assert report.parameters[1] < report.parameters[0]
    before = weights(compact)
    assert before[2].any()
    compact.optimizer.learning_rate = 0.0
    zeros = [ops.zeros(v.shape) for v in compact.trainable_variables]
    compact.optimizer.apply(zeros, compact.trainable_variables)
    for was, now in zip(before, weights(compact), strict=True):
        np.testing.assert_allclose(now, was, atol=1e-5)
        np.testing.assert_array_equal(now == 0, was == 0)


def kill_for_dual_averaging(model, name, dead=slice(DEAD)):
    """Make channels dead in the midst of training: no sum of gradients brings them back."""
    kill(model, [name], dead)
    layer = model.get_layer(name)
    for variable in (layer.kernel, layer.bias):
        for slot in model.optimizer.variables:
            kind = slot.name.removeprefix(variable.path.replace("/", "_"))
            if kind in ("_accumulator", "_gradient_average", "_center"):
                values = array(slot)
                values[..., dead] = -1.0 if kind == "_center" else 0.0
                slot.assign(values)


DUAL_AVERAGING = {
    "accumulated": lambda: RDA(0.1, l1=2e-3, groups="channel"),
    "published": lambda: RDA(0.5, l1=1e-4, variant="published", groups="channel"),
}


@pytest.mark.parametrize(
    "variant", ["accumulated", pytest.param("published", marks=pytest.mark.slow)]
)
def test_dual_averaging_takes_the_steps_of_the_large_network(variant):
    keras.utils.set_random_seed(0)
    large = plain_network()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    large.compile(DUAL_AVERAGING[variant](), loss, run_eagerly=True)  # few steps, three networks
    for name in ("conv", "hidden"):
        # Open, so that no unit dies by chance, which in the large network might come back.
        large.get_layer(name).bias.assign_add(0.5 * ops.ones_like(large.get_layer(name).bias))
    x, y = images()
    large.fit(x, y, batch_size=8, epochs=2, verbose=0)
    kill_for_dual_averaging(large, "conv")
    compact, _ = remove_dead(large, dead_of(large))
    for names in (["hidden"], []):
        for model in (large, compact):
            model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
            for name in names:
                kill_for_dual_averaging(model, name)
        if names:
            compact, report = remove_dead(compact, dead_of(compact))
    assert report.channels["hidden"] == (20, 20 - DEAD)
    np.testing.assert_allclose(
        compact.predict(x, verbose=0), large.predict(x, verbose=0), atol=1e-4
    )


@pytest.mark.parametrize("variant", thorough(DUAL_AVERAGING, "accumulated"))
def test_dual_averaging_of_grouped_convolutions(variant):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 1))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="conv")(inputs)
    x = layers.Conv2D(6, 3, groups=2, activation="relu", name="grouped")(x)
    large = keras.Model(inputs, layers.Dense(3, name="logits")(layers.Flatten()(x)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    large.compile(DUAL_AVERAGING[variant](), loss, jit_compile=False)
    for name in ("conv", "grouped"):
        large.get_layer(name).bias.assign_add(0.5 * ops.ones_like(large.get_layer(name).bias))
    images_and_labels = images()
    large.fit(*images_and_labels, batch_size=8, epochs=2, verbose=0)
    # As many of each group: what the others read stays in its group.
    kill_for_dual_averaging(large, "conv", [0, 2, 5, 6])
    kill_for_dual_averaging(large, "grouped", [1, 3])
    compact, report = remove_dead(large, dead_of(large))
    assert report.channels["conv"] == (8, 4)
    assert compact.get_layer("grouped").kernel.shape == (3, 3, 2, 4)
    for model in (large, compact):
        model.fit(*images_and_labels, batch_size=8, epochs=2, shuffle=False, verbose=0)
    np.testing.assert_allclose(
        *(model.predict(images_and_labels[0], verbose=0) for model in (compact, large)), atol=1e-4
    )


def a_cut(rng):
    """Weights into 5 channels, of which 4 stay, that read 8, of which 3 stay."""
    rows, columns = (np.sort(rng.choice(n, k, replace=False)) for n, k in ((8, 3), (5, 4)))
    return VariableSlice("kernel", (rows, columns), (8, 5)), rng.normal(size=(8, 5)) * rng.uniform(
        0, 4, 5
    )


def thresholded(value, threshold, axes=None, removed=None):
    return array(soft_threshold(ops.convert_to_tensor(value), threshold, axes, removed))


@given(
    seed=st.integers(0, 10**6),
    threshold=st.floats(0.0, 3.0),
    fold=st.sampled_from([None, 0.3, 30.0]),
    published=st.booleans(),
)
def test_settled_groups_give_the_weights(seed, threshold, fold, published):
    rng = np.random.default_rng(seed)
    part, slot = a_cut(rng)
    scale, steps = (-0.7, 9) if published else (1.0, 1)
    removed = np.array(4.0), rng.uniform(0, 9, (1, 5)) * steps**2
    old = carried_sums.Sums(slot, scale, steps, (0,), removed)

    def weights_of(slot, count, squares):
        removed = count, squares / steps**2 * scale**2
        return thresholded(slot * scale, threshold, (0,), removed)

    weight = weights_of(slot, *removed)
    shift = None
    if fold:
        shift = np.zeros((3, 4))
        shift[1] = fold * rng.normal(size=4) * part(weight).any(0)
    found = carried_sums.carried_groups(part, old, weight, shift)
    if shift is None:
        np.testing.assert_array_equal(found[0], part(slot))
    assert found[1] == 4 + 8 - 3
    wanted = part(weight) if shift is None else part(weight) + shift
    np.testing.assert_allclose(weights_of(*found), wanted, atol=1e-4)


@given(seed=st.integers(0, 10**6), threshold=st.floats(0.0, 3.0))
def test_settled_weights_are_the_weights(seed, threshold):
    rng = np.random.default_rng(seed)
    part, slot = a_cut(rng)
    weight = thresholded(slot, threshold)
    shift = np.zeros((3, 4))
    shift[1] = rng.normal(size=4) * weight.any()
    old = carried_sums.Sums(slot, 1.0, 1, (0,), None)
    carried = carried_sums.carried_weights(part, old, weight, shift)
    np.testing.assert_allclose(thresholded(carried, threshold), part(weight) + shift, atol=1e-4)


@given(seed=st.integers(0, 10**6), threshold=st.floats(0.0, 3.0))
def test_settled_weights_of_a_target_stay_but_for_those_that_a_fold_makes_small(seed, threshold):
    rng = np.random.default_rng(seed)
    part, slot = a_cut(rng)
    weight = np.where(np.abs(slot) > threshold, slot, 0.0)
    shift = np.zeros((3, 4))
    shift[1] = rng.normal(size=4) * weight.any()
    old = carried_sums.Sums(slot, 1.0, 1, (0,), None)
    carried = carried_sums.carried_weights(part, old, weight, shift)
    wanted = part(weight) + shift
    chosen = np.where(np.abs(carried) > threshold, carried, 0.0)
    np.testing.assert_array_equal(chosen, np.where(np.abs(wanted) > threshold, wanted, 0.0))
    # What is below the threshold is not forgotten.
    still = (wanted == 0) & (shift == 0)
    np.testing.assert_array_equal(carried[still], part(slot)[still])


def with_two_constant_channels(optimizer):
    """Trained, with channels that are not zero: under padding one has to carry both."""
    inputs = keras.Input((6, 6, 1))
    first = layers.Conv2D(6, 3, padding="same", activation="relu", name="conv")(inputs)
    second = layers.Conv2D(4, 3, padding="same", name="second")(first)
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(second)))
    compiled(model, optimizer, run_eagerly=True)
    model.fit(*images(), batch_size=8, verbose=0)
    kernel = array(model.get_layer("conv").kernel)
    kernel[..., :2] = 0
    model.get_layer("conv").set_weights([kernel, np.array([0.5, 0.7, 0, 0, 0, 0])])
    return model


@pytest.mark.parametrize("groups", ["weight", "channel"])
def test_a_learning_rate_of_zero_is_kept_by_a_cut_and_the_weights_go_on(groups):
    large = with_two_constant_channels(RDA(0.5, l1=1e-4, variant="published", groups=groups))
    large.optimizer.learning_rate = 0.0
    compact, _ = remove_dead(large, dead_of(large))
    assert array(compact.optimizer.learning_rate) == 0.0
    for model in (large, compact):
        model.optimizer.learning_rate = 0.5
        zeros = [ops.zeros(v.shape) for v in model.trainable_variables]
        model.optimizer.apply(zeros, model.trainable_variables)
    x, _ = images()
    np.testing.assert_allclose(
        *(model.predict(x, verbose=0) for model in (compact, large)), atol=1e-4
    )


def test_masks_take_in_what_was_folded_into_weights():
    model = with_two_constant_channels(SparseMomentum(0.05, density=0.4, update_every=None, seed=1))
    compact, report = remove_dead(model, dead_of(model))
    assert report.channels["conv"] == (6, 5)
    path = compact.get_layer("second").kernel.path
    mask, kernel = array(compact.optimizer.masks[path]), array(compact.get_layer("second").kernel)
    assert not kernel[~mask].any()
    assert mask.sum() > report.slices[path](array(model.optimizer.masks[path])).sum()


def test_what_was_excluded_by_its_path_stays_excluded():
    model = network()
    compiled(model, RDA(0.1, l1=0.5, exclude=model.get_layer("logits")), run_eagerly=True)
    assert model.get_layer("logits").kernel.path.startswith("network/")
    kill(model)
    model.fit(*images(), batch_size=8, verbose=0)
    exclude = model.optimizer.exclude
    compact, _ = remove_dead(model, dead_of(model))
    assert model.optimizer.exclude == exclude
    slots = [slot.name for slot in compact.optimizer.variables]
    assert "conv_kernel_accumulator" in slots
    assert "logits_kernel_accumulator" not in slots


def test_random_layers_draw_on():
    model = trained("adam")
    compact, _ = remove_dead(model, dead_of(model))
    old, new = (m.get_layer("dropout").seed_generator.state for m in (model, compact))
    np.testing.assert_array_equal(array(new), array(old))


def test_mixed_precision():
    model = network(dtype="mixed_float16")
    kill(model)
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01))
    compiled(model, optimizer).fit(*images(), batch_size=8, verbose=0)
    compact, report = remove_dead(model, dead_of(model))
    assert isinstance(compact.optimizer, keras.optimizers.LossScaleOptimizer)
    inner = compact.optimizer.inner_optimizer
    assert not isinstance(inner, keras.optimizers.LossScaleOptimizer)
    assert int(inner.iterations) == int(model.optimizer.inner_optimizer.iterations)
    names = [slot.name for slot in inner.variables]
    old = {slot.name: slot for slot in model.optimizer.inner_optimizer.variables}
    moment = array(inner.variables[names.index("logits_kernel_momentum")])
    np.testing.assert_array_equal(
        moment, array(old["network_logits_kernel_momentum"])[report.layers["hidden"].kept]
    )
    compact.fit(*images(), batch_size=8, verbose=0)


def test_zeroed_puts_the_weights_back():
    model = trained("adam")
    before = weights(model)
    dead = {"conv": np.arange(12) == 11}
    with zeroed(model, dead):
        assert not array(model.get_layer("conv").kernel)[..., 11].any()
    assert same(weights(model), before)


def test_dead_by_the_scale_of_batch_normalisation():
    inputs = keras.Input((6, 6, 1))
    x = layers.Conv2D(8, 3, use_bias=False, name="conv")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="bn")(x))
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    compiled(model, "adam", run_eagerly=True).fit(*images(), batch_size=8, verbose=0)
    compact, report = remove_dead(model, {"bn": np.arange(8) < 3})
    assert report.channels["conv"] == (8, 5)
    assert compact.get_layer("bn").gamma.shape == (5,)
