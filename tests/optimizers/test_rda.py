import functools
import warnings

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_sparse import GRDA, RDA, ProxSGD, ScaledUniform, sparsity
from tests.optimizers.problems import blobs, small_model


def kernel(value, name="kernel"):
    return keras.Variable(np.asarray(value, "float32"), name=name)


def run(optimizer, start, gradients):
    """The values of a kernel after each of the gradients."""
    variable = kernel(start)
    optimizer.build([variable])
    return go_on(optimizer, variable, gradients)


def go_on(optimizer, variable, gradients):
    values = []
    for gradient in gradients:
        optimizer.apply([ops.array(gradient, dtype="float32")])
        values.append(ops.convert_to_numpy(variable).copy())
    return np.array(values)


def skip_to(step, optimizer, variables):
    """A first step, which takes the start as it is, and the number of the last one before `step`.

    Steps one by one are slow: JAX compiles their conditions again.
    """
    optimizer.build(variables)
    optimizer.apply([ops.zeros(v.shape) for v in variables])
    optimizer.iterations.assign(step - 1)


def soft(x, threshold):
    return np.sign(x) * np.maximum(np.abs(x) - threshold, 0)


seeds = st.integers(0, 2**31)


@given(seeds, st.floats(0.05, 5), st.floats(0, 0.5), st.floats(0, 0.5))
def test_published_form_is_the_argmin_of_its_objective(seed, learning_rate, l1, rho):
    """Equation 5 of the paper, against a search over a grid of weights."""
    rng = np.random.default_rng(seed)
    gradients = rng.normal(0, 1, (5, 2, 3))
    optimizer = RDA(learning_rate, l1=l1, rho=rho, variant="published")
    values = run(optimizer, rng.normal(0, 1, (2, 3)), gradients)
    gamma = 1 / learning_rate
    for t, value in enumerate(values, 1):
        mean = gradients[:t].mean(0)
        strength = l1 + gamma * rho / np.sqrt(t)
        reach = np.sqrt(t) / gamma * np.abs(mean).max() + 1e-6
        grid = np.linspace(-reach, reach, 20001)[:, None, None]
        objective = mean * grid + strength * np.abs(grid) + gamma / (2 * np.sqrt(t)) * grid**2
        best = np.take_along_axis(grid, objective.argmin(0)[None], 0)[0]
        np.testing.assert_allclose(value, best, atol=reach / 9000)


@given(seeds, st.floats(0.05, 5))
def test_published_form_without_l1_is_shrinking_sgd(seed, learning_rate):
    """Lemma 1: w_{t+1} = √((t−1)/t)·w_t − learning_rate·g_t/√t."""
    rng = np.random.default_rng(seed)
    gradients = rng.normal(0, 1, (6, 3, 2))
    values = run(
        RDA(learning_rate, l1=0.0, variant="published"), rng.normal(0, 1, (3, 2)), gradients
    )
    w = np.zeros((3, 2))
    for t, (gradient, value) in enumerate(zip(gradients, values, strict=True), 1):
        w = np.sqrt((t - 1) / t) * w - learning_rate * gradient / np.sqrt(t)
        np.testing.assert_allclose(value, w, atol=1e-4)


@given(seeds, st.floats(0, 0.5), st.floats(0, 0.3))
def test_accumulated_form(seed, l1, rho):
    rng = np.random.default_rng(seed)
    start, gradients = rng.normal(0, 1, (2, 3)), rng.normal(0, 1, (6, 2, 3))
    values = run(RDA(0.1, l1=l1, rho=rho), start, gradients)
    for t, value in enumerate(values, 1):
        threshold = 0.1 * t * l1 + rho * np.sqrt(t)
        np.testing.assert_allclose(
            value, soft(start - 0.1 * gradients[:t].sum(0), threshold), atol=1e-5
        )


def test_accumulated_form_adds_up_under_schedules():
    """When the rates fall the threshold does not, or weights would come back to life."""
    rate = keras.optimizers.schedules.PiecewiseConstantDecay([1], [1.0, 0.1])
    l1 = keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.2, 0.1])
    gradients = np.full((5, 1, 2), [0.5, 0.1])
    values = run(RDA(rate, l1=l1), [[3.0, 0.3]], gradients)
    rates, strengths = [1.0, 1.0, 0.1, 0.1, 0.1], [0.2, 0.2, 0.2, 0.1, 0.1]
    moved = np.array([3.0, 0.3]) - np.cumsum(np.array(rates)[:, None] * gradients[:, 0], 0)
    expected = soft(moved, np.cumsum(np.multiply(rates, strengths))[:, None])
    np.testing.assert_allclose(values[:, 0], expected, atol=1e-5)


@pytest.mark.parametrize("variant", ["published", "accumulated"])
def test_group_form(variant):
    """w = −s·max(1 − λ√n/‖ḡ‖, 0)·ḡ for the columns of all but the last kernel."""
    rng = np.random.default_rng(0)
    first, last = kernel(rng.normal(0, 1, (3, 4))), kernel(rng.normal(0, 1, (4, 2)))
    starts = [ops.convert_to_numpy(v).copy() for v in (first, last)]
    optimizer = RDA(0.5, l1=0.4, variant=variant, groups="channel")
    optimizer.build([first, last])
    gradients = [(rng.normal(0, 1, (3, 4)), rng.normal(0, 1, (4, 2))) for _ in range(4)]
    for pair in gradients:
        optimizer.apply([ops.array(g, dtype="float32") for g in pair])
    sums = [np.sum(g, 0) for g in zip(*gradients, strict=True)]
    if variant == "published":
        moved, threshold = [-0.5 * np.sqrt(4) * g / 4 for g in sums], 0.5 * np.sqrt(4) * 0.4
    else:
        moved = [w - 0.5 * g for w, g in zip(starts, sums, strict=True)]
        threshold = 0.5 * 4 * 0.4
    norms = np.linalg.norm(moved[0], axis=0)
    factor = np.maximum(1 - threshold * np.sqrt(3) / norms, 0)
    assert 0 < (factor == 0).sum() < 4
    np.testing.assert_allclose(first, moved[0] * factor, atol=1e-5)
    np.testing.assert_allclose(last, soft(moved[1], threshold), atol=1e-5)


def test_published_form_keeps_biases_around_their_start():
    bias, weight = kernel([1.0, 2.0], "bias"), kernel([[1.0]])
    optimizer = RDA(0.5, l1=10.0, variant="published")
    optimizer.build([weight, bias])
    for gradient in (1.0, 3.0):
        optimizer.apply([ops.ones((1, 1)), ops.full((2,), gradient)])
    # w_1 − 0.5·√2·mean(1, 3), without a threshold.
    np.testing.assert_allclose(bias, np.array([1.0, 2.0]) - np.sqrt(2), rtol=1e-6)


def test_center_zero_treats_biases_as_weights():
    bias, weight = kernel([1.0, 2.0], "bias"), kernel([[1.0]])
    optimizer = RDA(0.5, l1=0.25, variant="published", center="zero")
    optimizer.build([weight, bias])
    optimizer.apply([ops.ones((1, 1)), ops.array([1.0, 0.2])])
    np.testing.assert_allclose(bias, [-0.375, 0.0], rtol=1e-6)


@pytest.mark.parametrize("strength", [{"l1": 10.0}, {"target_sparsity": 0.9}], ids=str)
def test_center_zero_leaves_what_is_excluded_dense(strength):
    excluded = [kernel([[1.0, 2.0]], "head_kernel"), kernel([1.0, 2.0], "head_bias")]
    others = [kernel([[1.0, 2.0]]), kernel([1.0, 2.0], "bias")]
    optimizer = RDA(0.5, variant="published", center="zero", exclude="head_", **strength)
    optimizer.build([*excluded, *others])
    assert optimizer.thresholded_variables == others
    optimizer.apply([ops.ones(v.shape) for v in (*excluded, *others)])
    for variable in excluded:
        np.testing.assert_allclose(np.ravel(variable), [0.5, 1.5], rtol=1e-6)


@pytest.mark.parametrize("target", [pytest.param(0.5, marks=pytest.mark.slow), 0.9])
def test_finds_the_threshold_for_a_target(target):
    x, y = blobs()
    model = small_model()
    model.compile(RDA(target_sparsity=target, ramp_steps=40), "sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=16, epochs=50, shuffle=False, verbose=0)
    assert abs(sparsity(model) - target) < 0.005


def test_a_target_takes_the_smallest_and_does_not_shrink_the_others():
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(0, 1, (8, 10)), rng.normal(0, 1, (23, 8, 10))
    variable, optimizer = kernel(start), RDA(0.1, target_sparsity=0.5, ramp_steps=20)
    skip_to(18, optimizer, [variable])
    values = go_on(optimizer, variable, gradients)
    sums = start - 0.1 * np.cumsum(gradients, 0)
    # The step after the search of step 20 sets to zero what was found, and 19 more leave it so.
    small = np.argsort(np.abs(sums[2]), axis=None)[:40]
    for step, (value, moved) in enumerate(zip(values, sums, strict=True), 18):
        if step > 20:
            moved.flat[small] = 0
        np.testing.assert_allclose(value, moved, atol=1e-4)
        assert (value == 0).sum() == (40 if step > 20 else 0)


@pytest.mark.parametrize("target", [pytest.param(0.5, marks=pytest.mark.slow), 0.8])
def test_a_target_by_channel(target):
    x, y = blobs()
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(40, use_bias=False, name="a"),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Dense(40, "relu", name="b"),
            keras.layers.Dense(3, "softmax", name="logits"),
        ]
    )
    optimizer = RDA(
        0.05, target_sparsity=target, ramp_steps=40, groups="channel", exclude="logits/"
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=16, epochs=50, shuffle=False, verbose=0)
    kernels = [ops.convert_to_numpy(model.get_layer(name).kernel) for name in "ab"]
    zeros = [(kernel == 0).mean(0) for kernel in kernels]
    assert all(set(np.unique(share)) == {0.0, 1.0} for share in zeros)
    # One channel more or less is 1/40 of a layer.
    dead = sum((k == 0).sum() for k in kernels) / sum(k.size for k in kernels)
    assert abs(dead - target) <= 1 / 40
    assert model.evaluate(x, y, verbose=0)[1] > 0.9


def test_channels_are_compared_with_their_layer():
    """So the one of the smaller scale is not lost as a whole."""
    rng = np.random.default_rng(0)
    variables = [kernel(scale * rng.normal(0, 1, (6, 20))) for scale in (1.0, 0.01)]
    variables.append(kernel(rng.normal(0, 1, (20, 3))))
    optimizer = RDA(1e-6, target_sparsity=0.5, ramp_steps=20, groups="channel")
    skip_to(20, optimizer, variables)
    for _ in range(2):
        optimizer.apply([ops.zeros(v.shape) for v in variables])
    dead = [(ops.convert_to_numpy(v) == 0).all(0).sum() for v in variables[:2]]
    assert all(5 <= count <= 15 for count in dead)


def test_a_dead_channel_does_not_move():
    """Behind batch normalisation its gradient is some 30 times that of a live one."""
    rng = np.random.default_rng(0)
    first, last = kernel(rng.normal(0, 1, (6, 20))), kernel(rng.normal(0, 1, (20, 3)))
    optimizer = RDA(0.1, target_sparsity=0.5, ramp_steps=20, groups="channel")
    skip_to(20, optimizer, [first, last])
    for _ in range(8):
        dead = (ops.convert_to_numpy(first) == 0).all(0)
        optimizer.apply(
            [ops.array(np.where(dead, 100.0, 0.0) * np.ones((6, 1))), ops.zeros((20, 3))]
        )
    assert 5 <= dead.sum() <= 15
    assert np.abs(optimizer._records[0].slot).max() < 10


@pytest.mark.parametrize("groups", ["weight", "channel"])
def test_a_start_of_zero_moves(groups):
    first, last = kernel(np.zeros((3, 4))), kernel(np.ones((4, 2)))
    optimizer = RDA(0.1, target_sparsity=0.5, groups=groups)
    optimizer.build([first, last])
    optimizer.apply([ops.ones((3, 4)), ops.ones((4, 2))])
    np.testing.assert_allclose(first, np.full((3, 4), -0.1), rtol=1e-6)


def test_searches_every_20_steps():
    rng = np.random.default_rng(0)
    variable = kernel(rng.normal(0, 1, (4, 5)))
    optimizer = RDA(target_sparsity=0.5, ramp_steps=30)
    skip_to(19, optimizer, [variable])
    threshold = optimizer._records[0].threshold
    searched, before = [], 0.0
    for step in range(19, 42):
        optimizer.apply([ops.array(rng.normal(0, 1, (4, 5)), dtype="float32")])
        if float(threshold) != before:
            searched.append(step)
            before = float(threshold)
    # The steps that follow 20 and 40, counted from 1.
    assert searched == [21, 41]


def test_not_built_is_refused_as_by_keras():
    with pytest.raises(ValueError, match="already be built"):
        RDA().apply([ops.zeros((2, 3))])


def test_a_target_for_no_weight_is_refused():
    with pytest.raises(ValueError, match="finds no weight to make sparse"):
        RDA(exclude="kernel").build([kernel(np.ones((2, 3)))])


def test_an_argument_is_not_needed():
    x, y = blobs()
    model = small_model()
    model.compile(RDA(), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=8, epochs=40, shuffle=False, verbose=0)
    assert model.evaluate(x, y, verbose=0)[1] > 0.9
    assert sparsity(model) > 0.5


def test_zeros_are_positive_zeros():
    for optimizer in (RDA(l1=1e-2), RDA(1.0, l1=1e-2, variant="published"), RDA(l1=0.0)):
        values = run(optimizer, np.zeros((2, 3)), np.zeros((3, 2, 3)))
        assert not np.signbit(values).any()


def test_nan_is_not_taken_for_zero():
    for variant in ("published", "accumulated"):
        values = run(RDA(l1=0.1, variant=variant), np.ones((1, 2)), [[[np.nan, 1.0]]])
        assert np.isnan(values[0, 0, 0])
        assert np.isfinite(values[0, 0, 1])


def test_fine_tuning_keeps_zeros():
    optimizer = RDA(0.1, l1=1.0)
    variable = kernel([[0.05, 5.0]])
    optimizer.build([variable])
    optimizer.apply([ops.zeros((1, 2))])
    np.testing.assert_array_equal(ops.convert_to_numpy(variable) == 0, [[True, False]])
    optimizer.start_fine_tuning()
    optimizer.apply([ops.full((1, 2), -100.0)])
    np.testing.assert_array_equal(ops.convert_to_numpy(variable) == 0, [[True, False]])


@pytest.mark.parametrize(
    ("variant", "groups"),
    [("accumulated", "weight"), ("accumulated", "channel"), ("published", "weight")],
)
def test_fine_tuning_stays_at_the_target(variant, groups):
    start = np.arange(1.0, 41.0).reshape(2, 20)
    hidden, logits = kernel(start, "hidden_kernel"), kernel(start.T, "logits_kernel")
    optimizer = RDA(0.1, target_sparsity=0.5, ramp_steps=1, variant=variant, groups=groups)
    optimizer.build([hidden, logits])

    def train():
        """Steps that move the weights that are zero the most, up to the next search."""
        for _ in range(20):
            gradients = [
                ops.where(ops.equal(v, 0.0), 1e4, ops.array(g, "float32"))
                for v, g in ((hidden, start), (logits, start.T))
            ]
            optimizer.apply(gradients)
        optimizer.apply([ops.zeros(v.shape) for v in (hidden, logits)])
        optimizer.iterations.assign(optimizer.iterations - 1)
        return [ops.convert_to_numpy(v) == 0 for v in (hidden, logits)]

    before = train()
    assert 40 <= sum(map(np.sum, before)) < 80
    optimizer.start_fine_tuning()
    for _ in range(2):
        after = train()
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)


def test_fine_tuning_needs_a_built_optimizer():
    with pytest.raises(ValueError, match="built optimizer"):
        RDA().start_fine_tuning()


@pytest.mark.parametrize("pattern", ["hidden/", "/hidden/kernel$"])
def test_exclude_keeps_dense(pattern):
    x, y = blobs()
    model = small_model()
    model.compile(RDA(l1=1.0, exclude=pattern), "sparse_categorical_crossentropy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the other layer dies
        model.fit(x, y, batch_size=32, epochs=3, verbose=0)
    assert np.count_nonzero(model.get_layer("hidden").kernel) > 0
    assert np.count_nonzero(model.get_layer("logits").kernel) == 0


def test_a_dead_network_is_told_of():
    x, y = blobs()
    model = small_model()
    model.compile(RDA(l1=100.0), "sparse_categorical_crossentropy")
    with pytest.warns(UserWarning, match=r"hidden/kernel.*dead.*`l1`.*scale of the initializer"):
        model.fit(x, y, epochs=2, verbose=0)


def test_a_live_network_is_not_warned_of():
    x, y = blobs()
    model = small_model()
    model.compile(RDA(l1=1e-4), "sparse_categorical_crossentropy")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.fit(x, y, epochs=1, verbose=0)


def test_counts_one_slot_per_weight():
    model = small_model()
    weights = sum(v.size for v in map(ops.convert_to_numpy, model.trainable_variables))
    for variant in ("accumulated", "published"):
        optimizer = RDA(l1=1e-4, variant=variant)
        optimizer.build(model.trainable_variables)
        slots = sum(int(np.prod(v.shape)) for v in optimizer.variables)
        # Besides: biases' centres in the published variant, thresholds and scalars.
        assert slots < weights + 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"l1": -1e-4}, "`l1` must be 0 or more"),
        ({"l1": float("nan")}, "`l1` must be 0 or more"),
        ({"rho": -1.0, "l1": 0.1}, "`rho` must be 0 or more"),
        ({"rho": 1.0}, "`rho` goes with `l1`"),
        ({"learning_rate": -0.1}, "`learning_rate` must be 0 or more"),
        ({"variant": "x"}, "`variant` must be"),
        ({"center": "x"}, "`center` must be"),
        ({"center": "zero"}, "published variant only"),
        ({"groups": "x", "l1": 1.0}, "`groups` must be"),
        ({"groups": "channel"}, "needs an `l1` .* or a `target_sparsity`"),
        (
            {"groups": "channel", "target_sparsity": 0.5, "variant": "published"},
            "needs variant='accumulated'",
        ),
        ({"target_sparsity": 1.0}, r"`target_sparsity` must be in \[0, 1\)"),
        ({"target_sparsity": 0.5, "l1": 0.1}, "not both"),
        ({"l1": 0.1, "ramp_steps": 50}, "`ramp_steps` is for a `target_sparsity`"),
        ({"ramp_steps": 0}, "`ramp_steps` must be"),
        ({"weight_decay": 1e-4}, "takes no `weight_decay`"),
        ({"use_ema": True}, "takes no `use_ema`"),
        ({"exclude": "("}, "no regular expression"),
        ({"exclude": 3}, "`exclude` takes"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        RDA(**arguments)


SCHEDULE = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
FORMS = {
    "target": RDA,
    "target by channel": lambda: RDA(target_sparsity=0.5, ramp_steps=9, groups="channel"),
    "l1": lambda: RDA(0.05, l1=1e-3, rho=1e-3, exclude=["logits/", "bias$"]),
    "schedules": lambda: RDA(SCHEDULE, l1=SCHEDULE),
    "published": lambda: RDA(1.0, l1=1e-3, variant="published", groups="channel"),
    "center": lambda: RDA(1.0, l1=1e-3, variant="published", center="zero"),
    "clip": lambda: RDA(l1=1e-3, clipnorm=1.0, name="mine"),
    "grda": lambda: GRDA(0.2, c=1e-2, mu=0.7, groups="channel"),
    "prox_sgd": lambda: ProxSGD(None, l1=1e-3),
}


@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)
def test_serialization(make):
    optimizer = make()
    config = keras.saving.serialize_keras_object(optimizer)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(optimizer)
    assert again.get_config() == optimizer.get_config()


@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)
def test_saved_and_loaded_is_never_saved(make, tmp_path):
    x, y = blobs()
    model = small_model(ScaledUniform(3.0, seed=1))
    model.compile(make(), "sparse_categorical_crossentropy", run_eagerly=True)
    model.fit(x, y, batch_size=32, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for each in (model, loaded):
        each.fit(x, y, batch_size=32, shuffle=False, verbose=0)
    for a, b in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("groups", ["weight", "channel"])
def test_nan_in_a_compiled_search_is_not_taken_for_zero(groups):
    """TensorFlow makes `a > b` of "not a <= b", which differs for what is not a number."""
    first, last = kernel(np.ones((3, 4))), kernel(np.ones((4, 2)))
    optimizer = RDA(0.1, target_sparsity=0.5, ramp_steps=1, groups=groups)
    skip_to(20, optimizer, [first, last])
    gradients = [ops.convert_to_tensor(np.full(v.shape, np.nan, "float32")) for v in (first, last)]
    gradients[1] = ops.ones((4, 2))
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        step = tf.function(lambda: optimizer.apply(gradients), jit_compile=False)
    else:
        step = functools.partial(optimizer.apply, gradients)
    for _ in range(3):
        step()
    assert np.isnan(first).all()
    assert not np.isnan(last).any()
    assert np.count_nonzero(last) > 0


def test_what_gets_no_gradient_counts_and_is_cut():
    rng = np.random.default_rng(0)
    variables = [kernel(rng.normal(0, 1, (10, 20))) for _ in range(2)]
    optimizer = RDA(1e-3, target_sparsity=0.8, ramp_steps=1)
    optimizer.build(variables)
    for _ in range(22):
        optimizer.apply([ops.array(rng.normal(0, 1, (10, 20)), dtype="float32"), None])
    zeros = [np.mean(ops.convert_to_numpy(v) == 0) for v in variables]
    assert np.mean(zeros) == pytest.approx(0.8, abs=0.01)
    assert all(0.6 < share < 0.95 for share in zeros)


@pytest.mark.parametrize(
    "name",
    [
        "target by channel",
        "grda",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("l1", "center")),
    ],
)
def test_float64(name):
    keras.config.set_floatx("float64")
    try:
        optimizer = FORMS[name]()
        optimizer.exclude = ()
        rng = np.random.default_rng(0)
        shapes = {"kernel": (3, 4), "bias": (4,), "kernel_2": (4, 2)}
        variables = [keras.Variable(rng.normal(0, 1, s), name=n) for n, s in shapes.items()]
        skip_to(20, optimizer, variables)
        for _ in range(2):
            optimizer.apply([ops.ones(v.shape) for v in variables])
        assert all(np.isfinite(v).all() for v in variables)
    finally:
        keras.config.set_floatx("float32")
