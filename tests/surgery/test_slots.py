"""Training continues from the compact model where the large one was."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse.optimizers
from keras_sparse import RDA, surgery
from tests.on_keras import KERAS_OPTIMIZERS
from tests.optimizers.problems import equal_paths

OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "adam": lambda: keras.optimizers.Adam(0.01),
    "adam_ema": lambda: keras.optimizers.Adam(0.01, use_ema=True),
    "loss_scale": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01)),
}


def network(harness):
    """A network in which a third of the hidden units is dead and stays so: what they read and what
    reads them is zero, and relu(bias < 0) has no gradient."""
    x = keras.Input((5,))
    y = layers.Dense(12, activation="relu", name="hidden")(x)
    model = keras.Model(x, layers.Dense(3, name="out")(y))
    harness.randomise(model)
    hidden, out = model.get_layer("hidden"), model.get_layer("out")
    kernel, bias, reader = hidden.kernel.numpy(), hidden.bias.numpy(), out.kernel.numpy()
    kernel[:, ::3] = 0
    bias[::3] = -1.0
    reader[::3] = 0
    hidden.kernel.assign(kernel)
    hidden.bias.assign(bias)
    out.kernel.assign(reader)
    return model


@pytest.mark.parametrize(
    "name",
    [
        # On JAX Keras cannot fit the same model twice with a moving average.
        pytest.param(name, marks=pytest.mark.tensorflow if name == "adam_ema" else ())
        for name in OPTIMIZERS
    ],
)
def test_same_steps_as_the_large_model(name, harness):
    model = network(harness)
    model.compile(OPTIMIZERS[name](), "mse", run_eagerly=True)
    x, y = harness.rng.standard_normal((32, 5)), harness.rng.standard_normal((32, 3))
    x, y = x.astype("float32"), y.astype("float32")
    model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    compact, report = surgery.remove_dead_channels(model)
    assert report.channels["hidden"] == (12, 8)
    optimizer = surgery.slice_optimizer(model.optimizer, report, compact)
    assert int(optimizer.iterations) == int(model.optimizer.iterations) == 8
    compact.compile(optimizer, "mse", run_eagerly=True)
    for network_ in (model, compact):
        network_.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    np.testing.assert_allclose(*map(keras.ops.convert_to_numpy, (model(x), compact(x))), atol=1e-5)


def test_one_entry_for_each_channel_of_a_grouped_convolution(harness):
    x = keras.Input((4, 4, 6))
    y = layers.Conv2D(12, 3, groups=3, activation="relu", use_bias=False, name="grouped")(x)
    model = keras.Model(x, layers.Dense(2, name="out")(layers.Flatten()(y)))
    harness.randomise(model)
    kernel = model.get_layer("grouped").kernel
    kernel.assign(kernel.numpy() * (np.arange(12) % 4 > 0))
    optimizer = RDA(l1=1e-3, groups="channel")
    optimizer.build(model.trainable_variables)
    squares = next(
        v for v in optimizer.variables if v.name.endswith("grouped_kernel_removed_squares")
    )
    squares.assign(np.arange(12.0).reshape(1, 1, 1, 12))
    compact, report = surgery.remove_dead_channels(model)
    assert report.channels["grouped"] == (12, 9)
    sliced = surgery.slice_optimizer(optimizer, report, compact)
    found = next(v for v in sliced.variables if v.name.endswith("grouped_kernel_removed_squares"))
    np.testing.assert_array_equal(np.ravel(found), report.layers["grouped"].kept)


def test_slots_that_do_not_say_whose_they_are(harness):
    model = network(harness)
    optimizer = keras.optimizers.Adafactor(0.01)
    optimizer.build(model.trainable_variables)
    compact, report = surgery.remove_dead_channels(model)
    with pytest.raises(ValueError, match="do not say by their names"):
        surgery.slice_optimizer(optimizer, report, compact)


def test_folded_constants_reach_slots_that_hold_weights(harness):
    model = network(harness)
    hidden, out = model.get_layer("hidden"), model.get_layer("out")
    hidden.bias.assign(np.ones(12))
    out.kernel.assign(np.ones((12, 3)))
    optimizer = keras.optimizers.SGD(0.1, use_ema=True)
    optimizer.build(model.trainable_variables)
    compact, report = surgery.remove_dead_channels(model)
    sliced = surgery.slice_optimizer(optimizer, report, compact)
    averages = {v.name: v.numpy() for v in sliced.variables if v.name.endswith("average")}
    before = {v.name: v.numpy() for v in optimizer.variables if v.name.endswith("average")}
    # Four dead units of value 1 read with weight 1.
    np.testing.assert_allclose(averages["out_bias_average"], before["out_bias_average"] + 4)
    np.testing.assert_allclose(
        averages["hidden_kernel_average"],
        before["hidden_kernel_average"][:, report.layers["hidden"].kept],
    )


class Halving(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that is not registered in Keras."""

    def __call__(self, step):
        return 0.01

    def get_config(self):
        return {}


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("rate", [Halving(), lambda: 0.01], ids=["schedule", "function"])
def test_a_rate_that_keras_cannot_make_again_is_shared(rate, scaled, harness):
    optimizer = keras.optimizers.Adam(rate, beta_1=0.8)
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=8.0)
    model = network(harness)
    optimizer.build(model.trainable_variables)
    compact, report = surgery.remove_dead_channels(model)
    sliced = surgery.slice_optimizer(optimizer, report, compact)
    bare = getattr(sliced, "inner_optimizer", sliced)
    assert bare._learning_rate is rate
    assert bare.beta_1 == 0.8
    assert not scaled or sliced.initial_scale == 8.0


def test_arguments_of_a_wrong_type_are_named(harness):
    model = network(harness)
    optimizer = keras.optimizers.SGD(0.1, use_ema=True)
    optimizer.build(model.trainable_variables)
    compact, report = surgery.remove_dead_channels(model)
    for name, arguments in {
        "optimizer": (None, report, compact),
        "report": (optimizer, compact, report),
        "model": (optimizer, report, None),
    }.items():
        with pytest.raises(ValueError, match=f"`{name}` must be a"):
            surgery.slice_optimizer(*arguments)
    one, several = (
        surgery.slice_optimizer(optimizer, report, compact, weight_slots=slots)
        for slots in ("average", ("average",))
    )
    for a, b in zip(one.variables, several.variables, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b))


def test_optimizer_without_state(harness):
    compact, report = surgery.remove_dead_channels(network(harness))
    with pytest.raises(ValueError, match="no state"):
        surgery.slice_optimizer(keras.optimizers.Adam(), report, compact)


@pytest.mark.parametrize("zeroed", ["channels", "groups"])
def test_optimizer_of_another_model(zeroed):
    model = keras.Sequential([keras.Input((5,)), layers.Dense(4), layers.Dense(3)])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    copy = surgery.zero_channels(model, 0.0)[0] if zeroed == "channels" else None
    copy = copy or surgery.zero_groups(model, {})
    compact, report = surgery.remove_dead_channels(copy)
    with pytest.raises(ValueError, match=r"no state for 'dense.*/kernel', .* another model"):
        surgery.slice_optimizer(model.optimizer, report, compact)
    copy.compile("adam", "mse")
    copy.optimizer.build(copy.trainable_variables)
    assert surgery.slice_optimizer(copy.optimizer, report, compact).built


# What they do to a weight depends on the norm of all that a variable holds.
NORMALISED = ("Lamb", "Muon")


@pytest.mark.parametrize("name", KERAS_OPTIMIZERS)
def test_every_optimizer_of_keras_goes_on_or_is_refused(name, harness):
    """Also where constants are folded into a bias, which its state has to know of."""
    model = network(harness)
    model.get_layer("hidden").bias.assign(np.where(np.arange(12) % 3, 0.1, 1.0))
    model.get_layer("out").kernel.assign(harness.rng.standard_normal((12, 3)))
    optimizer = KERAS_OPTIMIZERS[name]()
    if optimizer.weight_decay:
        optimizer.weight_decay = 0.0  # of a constant that two weights make it takes two parts
    optimizer.build(model.trainable_variables)
    alive = np.arange(12) % 3 > 0
    # Without a gradient Ftrl makes every weight zero, and there are no constants.
    for _ in range(0 if name == "Ftrl" else 3):
        kernel, bias, reader, last = (
            harness.rng.standard_normal(v.shape) for v in model.trainable_variables
        )
        gradients = [kernel * alive, bias * alive, reader * alive[:, None], last]
        optimizer.apply([keras.ops.convert_to_tensor(g, "float32") for g in gradients])
    compact, report = surgery.remove_dead_channels(model)
    assert report.channels["hidden"] == (12, 8)
    if name in ("Adafactor", "Ftrl"):
        with pytest.raises(ValueError, match="Start with a new optimizer"):
            surgery.slice_optimizer(optimizer, report, compact)
        return
    sliced = surgery.slice_optimizer(optimizer, report, compact)
    if name in NORMALISED:
        return
    for each, own in ((model, optimizer), (compact, sliced)):
        for _ in range(2):
            own.apply([keras.ops.zeros(v.shape) for v in each.trainable_variables])
    x = harness.rng.standard_normal((16, 5)).astype("float32")
    np.testing.assert_allclose(*map(keras.ops.convert_to_numpy, (model(x), compact(x))), atol=1e-5)


@pytest.mark.parametrize("name", keras_sparse.optimizers.__all__)
def test_every_optimizer_of_ours_takes_over_its_state(name):
    found = getattr(keras_sparse.optimizers, name)
    is_optimizer = isinstance(found, type) and issubclass(found, keras.optimizers.Optimizer)
    assert hasattr(found, "take_over") or not is_optimizer


def equal_prefixes():
    """Layers `inner/c` and `inner_c`, whose slots begin alike."""
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(4, "relu", name="c")], name="inner")
    x = inputs = keras.Input((6,))
    for dead, layer in enumerate((inner, layers.Dense(4, "relu", name="inner_c")), 1):
        x = layer(x)
        kernel = np.ones(layer.weights[0].shape)
        kernel[:, :dead] = 0
        layer.weights[0].assign(kernel)
    return keras.Model(inputs, layers.Dense(3, name="out")(x))


@pytest.mark.parametrize("network", [equal_paths, equal_prefixes])
def test_slots_of_variables_with_equal_names(network):
    """All entries of a variable's momentum are its number, before and after."""
    model, optimizer = network(), keras.optimizers.SGD(0.1, momentum=0.9)
    optimizer.build(model.trainable_variables)
    for number, slot in enumerate(optimizer.momentums):
        slot.assign(np.full(slot.shape, number))
    compact, report = surgery.remove_dead_channels(model)
    assert [tuple(w.shape) for w in compact.weights[::2]] == [(6, 3), (3, 2), (2, 3)]
    sliced = surgery.slice_optimizer(optimizer, report, compact)
    for number, slot in enumerate(sliced.momentums):
        np.testing.assert_array_equal(np.array(slot), np.full(slot.shape, number))


CONTINUED = {
    "rda": lambda: RDA(0.1, l1=1e-4),
    "target": lambda: RDA(0.1, target_sparsity=0.5, ramp_steps=1),
    "masks": lambda: keras_sparse.StaticSparse(0.1, distribution="zeros"),
}


@pytest.mark.parametrize("network", [equal_paths, equal_prefixes])
@pytest.mark.parametrize("make", CONTINUED.values(), ids=CONTINUED)
def test_our_optimizers_go_on_with_equal_names(network, make):
    model, optimizer = network(), make()
    optimizer.build(model.trainable_variables)
    compact, report = surgery.remove_dead_channels(model)
    weights = compact.get_weights()
    sliced = surgery.slice_optimizer(optimizer, report, compact)
    assert sliced.built
    for before, after in zip(weights, compact.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_optimizer_of_another_model_with_the_same_paths():
    """Inlined, `inner/c` becomes `c`, and `c` becomes `c_1`, of which nothing is left."""
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="c")], name="inner")
    outer = layers.Dense(4, name="c", kernel_initializer="zeros")
    inputs = keras.Input((5,))
    x = layers.Dense(4, name="stem")(inputs)
    model = keras.Model(inputs, layers.Dense(2, name="out")(inner(x) + outer(x)))
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    optimizer.build(model.trainable_variables)
    compact, report = surgery.remove_dead_channels(surgery.zero_channels(model, 0.0)[0])
    assert "c_1" not in [layer.name for layer in compact.layers]
    with pytest.raises(ValueError, match=r"no state for 'c_1/kernel', .* another model"):
        surgery.slice_optimizer(optimizer, report, compact)
