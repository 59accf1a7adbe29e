"""A target is a share of the whole network: what was cut out counts towards it."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_sparse import RDA, MagnitudePruning, surgery
from keras_sparse.masks.schedules import CubicSchedule
from keras_sparse.optimizers.targets import MissedTargetWarning, warn_of_missed_target


def array(variable):
    return np.array(ops.convert_to_numpy(variable))


def network():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(40, "relu", use_bias=False, name="a"),
            layers.Dense(40, "relu", use_bias=False, name="b"),
            layers.Dense(3, name="logits"),
        ],
        name="network",
    )


def steps(model, optimizer, count):
    for _ in range(count):
        gradients = [ops.zeros(v.shape) for v in model.trainable_variables]
        optimizer.apply(gradients, model.trainable_variables)


def search(model, optimizer, *when):
    """A first step, and the steps in which RDA searches; those between change nothing here."""
    for step in when:
        optimizer.build(model.trainable_variables)
        optimizer.iterations.assign(step)
        steps(model, optimizer, 1)


def kernels(model):
    return [array(model.get_layer(name).kernel) for name in ("a", "b")]


def remove_dead(model, optimizer):
    compact, report = surgery.remove_dead_channels(model)
    return compact, surgery.slice_optimizer(optimizer, report, compact), report


def again(optimizer, model):
    """The optimizer as a saved and loaded one."""
    loaded = type(optimizer).from_config(optimizer.get_config())
    loaded.build(model.trainable_variables)
    for new, old in zip(loaded.variables, optimizer.variables, strict=True):
        new.assign(old)
    return loaded


@pytest.mark.parametrize("resumed", [False, True])
def test_by_channel_the_cut_network_is_pruned_as_the_whole_one(resumed):
    whole = network()
    optimizer = RDA(
        1e-3, target_sparsity=0.6, ramp_steps=80, groups="channel", exclude=whole.layers[-1]
    )
    search(whole, optimizer, 0, 20)
    compact, sliced, report = remove_dead(whole, optimizer)
    assert all(new < old for old, new in (report.channels[name] for name in "ab"))
    if resumed:
        sliced = again(sliced, compact)
    search(whole, optimizer, 40, 100)
    search(compact, sliced, 40, 100)
    dead = [(kernel == 0).all(0) for kernel in kernels(whole)]
    assert 0.55 < np.mean(np.concatenate(dead)) < 0.65
    left = [(kernel != 0).any(0).sum() for kernel in kernels(compact)]
    assert left == [(~d).sum() for d in dead]


def test_by_weight_the_target_is_of_the_whole_network():
    whole = network()
    optimizer = RDA(1e-3, target_sparsity=0.8, ramp_steps=1)
    search(whole, optimizer, 0, 20)
    for name in "ab":
        kernel = array(whole.get_layer(name).kernel)
        kernel[:, :10] = 0
        whole.get_layer(name).kernel.assign(kernel)
    compact, sliced, _ = remove_dead(whole, optimizer)
    nonzero = sum(np.count_nonzero(k) for k in kernels(compact))
    search(compact, sliced, 40)
    after = sum(np.count_nonzero(k) for k in kernels(compact))
    # The zeros that were cut out were zeros before: as many weights stay as are needed.
    assert nonzero <= after <= 0.2 * (6 * 40 + 40 * 40)
    assert after > 0.1 * (6 * 40 + 40 * 40)


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("resumed", [False, True])
def test_magnitude_pruning_keeps_what_is_left_of_the_target(scope, resumed):
    whole = network()
    optimizer = MagnitudePruning(
        1e-3, CubicSchedule(0.2, 0.8, end=3), scope=scope, update_every=1, momentum=0.0
    )
    steps(whole, optimizer, 1)
    for name in "ab":
        kernel = array(whole.get_layer(name).kernel)
        kernel[:, :20] = 0
        whole.get_layer(name).kernel.assign(kernel)
    compact, sliced, _ = remove_dead(whole, optimizer)
    if resumed:
        sliced = again(sliced, compact)
    size = 6 * 40 + 40 * 40 + 40 * 3
    steps(compact, sliced, 5)
    left = sum(np.count_nonzero(array(v)) for v in compact.trainable_variables[:3])
    assert 0.15 * size < left <= 0.2 * size + 1


def test_what_was_cut_counts_in_what_is_said():
    whole = network()
    optimizer = RDA(1e-3, target_sparsity=0.5, groups="channel", exclude=whole.layers[-1])
    steps(whole, optimizer, 1)
    kernel = array(whole.get_layer("b").kernel)
    kernel[:, :30] = 0
    whole.get_layer("b").kernel.assign(kernel)
    _, sliced, _ = remove_dead(whole, optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warn_of_missed_target(sliced, 0.5, sliced.thresholded_variables, "")
    with pytest.warns(
        MissedTargetWarning, match=r"a sparsity of 0\.9 was requested.* ended with 0\.6"
    ) as caught:
        warn_of_missed_target(sliced, 0.9, sliced.thresholded_variables, "As it is.")
    said = caught.pop(MissedTargetWarning).message
    assert said.asked == 0.9
    assert 0.6 < said.got < 0.7
    assert said.why == "As it is."
