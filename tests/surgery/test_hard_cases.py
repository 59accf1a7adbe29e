"""When dropping a dead channel does not keep the outputs, and what does: one test for each case."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_sparse import surgery
from keras_sparse.surgery import verify
from tests.surgery.groups import left_without_each

pytestmark = pytest.mark.usefixtures("float64")
# Cases with constants that are not zero: a bias takes their place, or a channel stays for them.
CONSTANTS = ("_c2_", "_c6_causal", "_c11_", "_c15_concatenate[1]", "_c28_")


@pytest.fixture(autouse=True)
def groups_by_brute_force(request, monkeypatch):
    """Before a test cuts its first model, each group of that model loses a channel alone."""
    remove, tried = surgery.remove_dead_channels, []

    def checked(model, *arguments, **options):
        if not tried and not refused(model):
            tried.append(model)
            for group, (expected, left) in left_without_each(model, remove).items():
                constants = any(case in request.node.name for case in CONSTANTS)
                assert left >= expected if constants else left == expected, group
        return remove(model, *arguments, **options)

    monkeypatch.setattr(surgery, "remove_dead_channels", checked)


def refused(model):
    """Whether surgery takes no such model, or its weights are too coarse to be far from zero."""
    try:
        surgery.channel_groups(model)
    except ValueError:
        return True
    return any("bfloat16" in str(weight.dtype) for weight in model.weights)


def put(weight, index, value=0.0):
    """Sets a part of a weight."""
    array = weight.numpy()
    array[index] = value
    weight.assign(array)


def chain(harness, *stack, shape=(6, 6, 2), dead=(1, 4)):
    """A convolution of six filters named `a` with dead ones, then `stack`, random weights."""
    x = inputs = keras.Input(shape)
    x = layers.Conv2D(6, 1, name="a")(x)
    for layer in stack:
        x = layer(x)
    model = keras.Model(inputs, x)
    harness.randomise(model)
    if dead:
        put(model.get_layer("a").kernel, (..., list(dead)))
    return model


def same(filters=3, **arguments):
    return layers.Conv2D(filters, 3, padding="same", **arguments)


def kept(report, name="a"):
    return report.layers[name].kept.tolist()


@pytest.mark.parametrize(
    "activation", ["relu", "tanh", "gelu", "silu", "hard_silu", "elu", "selu", "leaky_relu"]
)
def test_c1_zero_filter_zero_bias(activation, harness):
    model = chain(harness, layers.Activation(activation), same())
    put(model.get_layer("a").bias, [1, 4])
    _, report = harness.cut(model)
    assert kept(report) == [0, 2, 3, 5]


@pytest.mark.parametrize("consumer", ["dense", "1x1", "valid"])
@pytest.mark.parametrize("activation", ["sigmoid", "relu", "exponential", "softplus"])
def test_c2_bias_goes_into_the_next_bias(activation, consumer, harness):
    reader = {
        "dense": layers.Dense(3, use_bias=False, name="b"),
        "1x1": layers.Conv2D(3, 1, use_bias=False, name="b"),
        "valid": layers.Conv2D(3, 3, strides=2, use_bias=False, name="b"),
    }[consumer]
    model = chain(harness, layers.Activation(activation), reader)
    put(model.get_layer("a").bias, [1, 4], 0.7)
    compact, report = harness.cut(model)
    assert kept(report) == [0, 2, 3, 5]
    assert compact.get_layer("b").use_bias


def test_c3_negative_bias_before_relu_is_free(harness):
    model = chain(harness, layers.ReLU(), same(use_bias=False, name="b"))
    put(model.get_layer("a").bias, [1, 4], -0.7)
    compact, report = harness.cut(model)
    assert kept(report) == [0, 2, 3, 5]
    assert not compact.get_layer("b").use_bias


def test_c4_batch_norm_after_a_dead_filter(harness):
    model = chain(harness, layers.BatchNormalization(name="bn"), layers.Conv2D(3, 3))
    put(model.get_layer("bn").beta, slice(None))
    _, report = harness.cut(model)
    assert kept(report) == [0, 2, 3, 5]


def test_c5_gamma_zero_with_a_live_filter(harness):
    model = chain(
        harness, layers.BatchNormalization(name="bn"), layers.ReLU(), layers.Conv2D(3, 3), dead=()
    )
    put(model.get_layer("bn").gamma, [0, 5])
    put(model.get_layer("bn").beta, [0, 5], 0.4)
    _, report = harness.cut(model)
    assert kept(report) == [1, 2, 3, 4]


@pytest.mark.parametrize("dead", [(1,), (1, 4), (0, 1, 3, 4)])
def test_c6_one_carrier_under_a_padded_border(dead, harness):
    model = chain(harness, same(), dead=dead)
    put(model.get_layer("a").bias, list(dead), np.arange(1.0, len(dead) + 1))
    _, report = harness.cut(model)
    # The one with the largest constant stands for all.
    assert kept(report) == sorted({*range(6)} - {*dead} | {dead[-1]})


def test_c6_two_readers_share_a_carrier(harness):
    x = inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(6, 1, name="a")(x)
    model = keras.Model(inputs, [same()(x), same(2)(x), layers.Conv2D(2, 1)(x)])
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., [0, 1, 2]))
    put(model.get_layer("a").bias, [0, 1, 2], [0.5, -0.6, 0.4])
    _, report = harness.cut(model)
    assert kept(report) == [1, 3, 4, 5]


def test_c6_causal(harness):
    x = inputs = keras.Input((8, 2))
    x = layers.Conv1D(6, 1, activation="sigmoid", name="a")(x)
    model = keras.Model(inputs, layers.Conv1D(3, 3, padding="causal", dilation_rate=2)(x))
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., [1, 4]))
    _, report = harness.cut(model)
    assert report.channels["a"] == (6, 5)


def test_c7_zero_padding_before_a_valid_convolution(harness):
    stack = (layers.ReLU(), layers.ZeroPadding2D(((0, 1), (2, 1))), layers.Conv2D(3, 3, strides=2))
    model = chain(harness, *stack)
    put(model.get_layer("a").bias, [1, 4], [0.5, 0.7])
    _, report = harness.cut(model)
    assert kept(report) == [0, 2, 3, 4, 5]


def test_c7_zero_padding_then_activation(harness):
    stack = (layers.ZeroPadding2D(1), layers.Activation("tanh"), layers.Conv2D(3, 3))
    model = chain(harness, *stack)
    put(model.get_layer("a").bias, [1, 4], [0.5, 0.7])
    _, report = harness.cut(model)
    assert kept(report) == [0, 2, 3, 4, 5]


def test_c7_zero_padding_then_sigmoid_is_a_multiple_and_a_constant(harness):
    stack = (layers.ZeroPadding2D(1), layers.Activation("sigmoid"), layers.Conv2D(3, 3))
    model = chain(harness, *stack)
    put(model.get_layer("a").bias, [1, 4], [0.5, 0.7])
    _, report = harness.cut(model)
    assert kept(report) == [0, 2, 3, 4, 5]


@pytest.mark.parametrize(("padding", "left"), [("valid", 4), ("same", 6)])
def test_c8_depthwise_border_is_the_channels_own(padding, left, harness):
    depthwise = layers.DepthwiseConv2D(3, padding=padding, name="dw")
    model = chain(harness, depthwise, layers.Conv2D(2, 1))
    put(model.get_layer("a").bias, [1, 4], 0.7)
    _, report = harness.cut(model)
    assert report.channels["a"] == report.channels["dw"] == (6, left)


def test_c8_relu6_makes_the_depthwise_map_uniform_again(harness):
    depthwise = layers.DepthwiseConv2D(3, padding="same", name="dw")
    model = chain(harness, depthwise, layers.ReLU(6.0), layers.Conv2D(2, 1))
    put(model.get_layer("a").bias, [1, 4], 0.7)
    put(model.get_layer("dw").bias, [1, 4], [-50.0, 50.0])
    _, report = harness.cut(model)
    assert kept(report) == [0, 2, 3, 5]


def test_c9_depthwise_kernel_zero_with_a_live_filter(harness):
    depthwise = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="dw")
    model = chain(harness, depthwise, layers.Conv2D(2, 3), dead=())
    put(model.get_layer("dw").kernel, (..., [1, 4], slice(None)))
    # Half of a channel is not enough.
    put(model.get_layer("dw").kernel, (..., 2, 1))
    _, report = harness.cut(model)
    assert kept(report) == [0, 2, 3, 5]
    assert kept(report, "dw") == [0, 1, 4, 5, 6, 7, 10, 11]


@pytest.mark.parametrize(
    ("padding", "bias", "left"), [("valid", 0.7, 4), ("same", 0.7, 6), ("same", 0.0, 4)]
)
def test_c10_separable_reader(padding, bias, left, harness):
    model = chain(harness, layers.SeparableConv2D(3, 3, padding=padding, depth_multiplier=2))
    put(model.get_layer("a").bias, [1, 4], bias)
    _, report = harness.cut(model)
    assert report.channels["a"] == (6, left)


def residual(harness, merge, dead_a, dead_b, reader=None):
    x = inputs = keras.Input((6, 6, 2))
    a = layers.Conv2D(6, 1, name="a")(x)
    b = layers.Conv2D(6, 1, activation="sigmoid", name="b")(x)
    y = (reader or same())(merge([a, b]))
    model = keras.Model(inputs, y)
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., list(dead_a)))
    put(model.get_layer("b").kernel, (..., list(dead_b)))
    return model


def test_c11_one_branch_of_a_sum_dead(harness):
    model = residual(harness, layers.Add(name="sum"), [1, 4], [])
    _, report = harness.cut(model)
    assert report.channels["a"] == report.channels["b"] == (6, 6)
    assert report.reasons["a"] == {"sum: alive in b": 2}


def test_c12_different_dead_sets_of_the_same_size(harness):
    model = residual(harness, layers.Add(), [1, 4], [1, 2], layers.Conv2D(3, 3))
    _, report = harness.cut(model)
    assert kept(report, "a") == kept(report, "b") == [0, 2, 3, 4, 5]


def test_c13_all_branches_constant(harness):
    model = residual(harness, layers.Add(), [1, 4], [1, 4], layers.Conv2D(3, 3))
    _, report = harness.cut(model)
    assert kept(report, "a") == kept(report, "b") == [0, 2, 3, 5]


@pytest.mark.parametrize("merge", [layers.Add, layers.Multiply])
@pytest.mark.parametrize("zero", [True, False])
def test_c14_a_whole_branch_is_constant(merge, zero, harness, tmp_path):
    x = inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(6, 1, name="a")(x)
    y = layers.Conv2D(6, 3, padding="same", activation="relu", name="b")(x)
    y = layers.Conv2D(6, 1, name="c")(y)
    x = layers.Conv2D(3, 3)(merge(name="merge")([x, y]))
    model = keras.Model(inputs, x)
    harness.randomise(model)
    put(model.get_layer("c").kernel, ...)
    neutral = 0.0 if merge is layers.Add else 1.0
    put(model.get_layer("c").bias, ..., neutral if zero else np.arange(6) - 2.5)
    compact, report = harness.cut(model)
    assert report.channels["b"] == (6, 0)
    assert report.channels["c"] == (6, 0)
    assert len(compact.operations) == (3 if zero else 4)
    compact.save(tmp_path / "model.keras")
    harness.compare(model, keras.saving.load_model(tmp_path / "model.keras"))


def test_c14_everything_is_constant(harness):
    stack = (layers.Conv2D(5, 3, activation="relu"), layers.Flatten(), layers.Dense(3))
    model = chain(harness, *stack, dead=range(6))
    compact, report = harness.cut(model)
    assert report.channels["a"] == (6, 1)
    # One channel each, as Keras has no layer without; the last has a bias and a row of each.
    assert compact.count_params() < 0.25 * model.count_params()


def test_c14_a_branch_that_gives_the_shape_stays(harness):
    x = inputs = keras.Input((6, 6, 2))
    y = layers.Conv2D(6, 1, name="a")(x)
    gate = layers.Dense(6, name="gate")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    model = keras.Model(inputs, layers.Conv2D(2, 3)(layers.Multiply()([y, gate])))
    harness.randomise(model)
    put(model.get_layer("a").kernel, ...)
    _, report = harness.cut(model)
    assert report.channels["a"] == (6, 6)


@pytest.mark.parametrize("axis", [-1, 1])
def test_c15_concatenate(axis, harness):
    model = residual(harness, layers.Concatenate(axis=axis), [1, 4], [1, 2], layers.Conv2D(3, 3))
    put(model.get_layer("a").bias, 1, 0.4)
    _, report = harness.cut(model)
    if axis == -1:
        assert (kept(report), kept(report, "b")) == ([0, 2, 3, 5], [0, 3, 4, 5])
    else:
        # One above the other they share channels, and channel 1 has two different constants.
        assert kept(report) == kept(report, "b") == [0, 1, 2, 3, 4, 5]


def test_c15_concatenate_leaves_a_dead_operand_out(harness):
    model = residual(harness, layers.Concatenate(), range(6), [], layers.Conv2D(3, 3))
    compact, report = harness.cut(model)
    assert report.channels["a"] == (6, 0)
    assert not any(isinstance(layer, layers.Concatenate) for layer in compact.layers)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_c16_flatten_then_dense(data_format, harness):
    move = layers.Permute((3, 1, 2) if data_format == "channels_first" else (1, 2, 3))
    stack = (layers.ReLU(), move, layers.Flatten(data_format=data_format), layers.Dense(3))
    model = chain(harness, *stack)
    put(model.get_layer("a").bias, [1, 4], 0.6)
    _, report = harness.cut(model)
    assert kept(report) == [0, 2, 3, 5]


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.AveragePooling2D(3, padding="same"),
        lambda: layers.MaxPooling2D(3, padding="same"),
        lambda: layers.Cropping2D(1),
        lambda: layers.UpSampling2D(2),
        layers.GlobalAveragePooling2D,
        lambda: layers.GlobalMaxPooling2D(keepdims=True),
    ],
)
def test_c17_constants_pass_pooling(make, harness):
    model = chain(harness, make(), layers.Dense(3))
    put(model.get_layer("a").bias, [1, 4], -0.6)
    _, report = harness.cut(model)
    assert kept(report) == [0, 2, 3, 5]


def squeeze_and_excite(harness, gate="sigmoid"):
    x = inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(6, 1, name="a")(x)
    s = layers.GlobalAveragePooling2D()(x)
    s = layers.Reshape((1, 1, 6))(s)
    s = layers.Conv2D(3, 1, activation="relu", name="squeeze")(s)
    s = layers.Conv2D(6, 1, activation=gate, name="excite")(s)
    x = layers.Conv2D(2, 3, name="after")(layers.Multiply()([x, s]))
    model = keras.Model(inputs, x)
    harness.randomise(model)
    return model


def test_c18_gate_of_a_channel_that_is_zero(harness):
    model = squeeze_and_excite(harness)
    put(model.get_layer("a").kernel, (..., [1, 4]))
    put(model.get_layer("a").bias, [1, 4])
    _, report = harness.cut(model)
    assert kept(report, "a") == kept(report, "excite") == [0, 2, 3, 5]


def test_c19_dead_gate_scales_a_live_channel(harness):
    model = squeeze_and_excite(harness)
    put(model.get_layer("excite").kernel, (..., [1, 4]))
    _, report = harness.cut(model)
    assert kept(report, "a") == kept(report, "excite") == [0, 1, 2, 3, 4, 5]


def test_c19_gate_that_is_shut_kills_the_channel(harness):
    model = squeeze_and_excite(harness, gate="hard_sigmoid")
    put(model.get_layer("excite").kernel, (..., [1, 4]))
    put(model.get_layer("excite").bias, [1, 4], -3.5)
    put(model.get_layer("squeeze").kernel, (..., [1, 4], slice(None)))
    _, report = harness.cut(model)
    assert kept(report, "a") == kept(report, "excite") == [0, 2, 3, 5]


def test_c20_channel_and_gate_both_constant(harness):
    model = squeeze_and_excite(harness)
    for name in ("a", "excite"):
        put(model.get_layer(name).kernel, (..., [1, 4]))
        put(model.get_layer(name).bias, [1, 4], 0.8)
    _, report = harness.cut(model)
    assert kept(report, "a") == kept(report, "excite") == [0, 2, 3, 5]


@pytest.mark.parametrize(
    "layer",
    [
        layers.Softmax,
        lambda: layers.Activation("softmax"),
        lambda: layers.Activation("log_softmax"),
        lambda: layers.Activation("sparsemax"),
    ],
)
def test_c21_softmax_across_channels(layer, harness):
    model = chain(harness, layer(), layers.Conv2D(2, 1))
    _, report = harness.cut(model)
    assert report.channels["a"] == (6, 6)
    assert "channels" in next(iter(report.reasons["a"]))


def test_c21_softmax_as_an_argument(harness):
    x = inputs = keras.Input((4,))
    x = layers.Dense(6, activation="softmax", name="a")(x)
    model = keras.Model(inputs, layers.Dense(2)(x))
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., [1, 4]))
    _, report = harness.cut(model)
    assert report.channels["a"] == (6, 6)


@pytest.mark.parametrize(
    ("make", "left"),
    [
        (layers.LayerNormalization, 6),
        (lambda: layers.GroupNormalization(2), 6),
        (layers.UnitNormalization, 6),
        (lambda: layers.GroupNormalization(6), 4),
    ],
)
def test_c22_statistics_over_channels(make, left, harness):
    model = chain(harness, make(), layers.Conv2D(2, 1))
    put(model.get_layer("a").bias, [1, 4], 0.3)
    _, report = harness.cut(model)
    assert report.channels["a"] == (6, left)


def test_c23_channels_that_nobody_reads(harness):
    model = chain(harness, layers.ReLU(), same(4, name="b"), layers.Conv2D(2, 1, name="c"), dead=())
    # Filter 2 of b is not read; channel 3 of a is read by that filter only.
    put(model.get_layer("c").kernel, (..., 2, slice(None)))
    put(model.get_layer("b").kernel, (..., 3, [0, 1, 3]))
    _, report = harness.cut(model)
    assert (kept(report), kept(report, "b")) == ([0, 1, 2, 4, 5], [0, 1, 3])


def test_c24_inputs_and_outputs_keep_their_shapes(harness):
    x = keras.Input((4,))
    a = layers.Dense(6, name="a")(x)
    model = keras.Model(x, [a, layers.Dense(5, name="b")(layers.ReLU()(x)), x])
    harness.randomise(model)
    put(model.get_layer("a").kernel, ...)
    put(model.get_layer("b").kernel, [1, 2])
    compact, report = harness.cut(model)
    assert compact.input_shape == model.input_shape
    assert compact.output_shape == model.output_shape
    assert set(report.reasons["a"]) == {"output of the model"}


@pytest.mark.parametrize(("second", "left"), [(0.7, 4), (0.3, 6)])
def test_c25_shared_layer_with_two_constants(second, left, harness):
    x = keras.Input((5,))
    a = layers.Dense(6, name="a")(x)
    b = layers.Dense(6, name="b")(x)
    shared = layers.Dense(3, name="shared")
    model = keras.Model(x, layers.Concatenate()([shared(a), shared(b)]))
    harness.randomise(model)
    for name, constant in (("a", 0.7), ("b", second)):
        put(model.get_layer(name).kernel, (..., [1, 4]))
        put(model.get_layer(name).bias, [1, 4], constant)
    _, report = harness.cut(model)
    assert report.channels["a"] == report.channels["b"] == (6, left)


def test_c25_shared_layer_without_weights_ties_nothing(harness):
    relu = layers.ReLU()
    x = inputs = keras.Input((5,))
    x = relu(layers.Dense(6, name="a")(x))
    x = relu(layers.Dense(8, name="b")(x))
    model = keras.Model(inputs, layers.Dense(2)(x))
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., [1, 4]))
    compact, report = harness.cut(model)
    assert (kept(report), report.channels["b"]) == ([0, 2, 3, 5], (8, 8))
    assert sum(isinstance(layer, layers.ReLU) for layer in compact.layers) == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.Dropout(0.5),
        lambda: layers.SpatialDropout2D(0.5),
        lambda: layers.GaussianNoise(0.5),
        lambda: layers.GaussianDropout(0.5),
        lambda: layers.AlphaDropout(0.5),
    ],
)
def test_c26_dropout_is_the_identity(make, harness):
    model = chain(harness, make(), layers.Conv2D(2, 3))
    _, report = harness.cut(model)
    assert kept(report) == [0, 2, 3, 5]


@pytest.mark.parametrize("make", [lambda: layers.Dropout(0.5), layers.BatchNormalization])
def test_c26_c27_pinned_training_is_left_whole(make, harness):
    x = inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(6, 1, name="a")(x)
    x = make()(x, training=True)
    model = keras.Model(inputs, layers.Conv2D(2, 3)(x))
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., [1, 4]))
    _, report = surgery.remove_dead_channels(model, verify=False)
    assert report.channels["a"] == (6, 6)
    assert "training=True" in next(iter(report.reasons["a"]))


def test_c27_nested_model_pinned_to_inference(harness):
    inner = keras.Sequential([layers.Dense(6, name="a"), layers.BatchNormalization(name="bn")])
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(2)(inner(x, training=False)))
    harness.randomise(model)
    put(inner.layers[0].kernel, (..., [1, 4]))
    compact, report = harness.cut(model)
    assert report.channels[f"{inner.name}/a"] == (6, 4)
    mean = compact.get_layer("bn").moving_mean.numpy()
    compact(np.ones((3, 4)))
    np.testing.assert_array_equal(compact.get_layer("bn").moving_mean.numpy(), mean)


def test_c28_bias_before_batch_norm_keeps_its_statistics(harness):
    reader = layers.Conv2D(3, 3, use_bias=False, name="b")
    model = chain(
        harness, layers.Activation("sigmoid"), reader, layers.BatchNormalization(name="n")
    )
    compact, _ = harness.cut(model)
    assert compact.get_layer("b").use_bias
    for a, b in zip(model.get_layer("n").weights, compact.get_layer("n").weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_c29_groups_stay_equal(harness):
    model = chain(
        harness, layers.Conv2D(4, 3, groups=2, name="b"), layers.Conv2D(2, 1), dead=(1, 2)
    )
    _, report = harness.cut(model)
    # Two of the first group died, none of the second.
    assert report.channels["a"] == (6, 6)
    put(model.get_layer("a").kernel, (..., [5]))
    _, report = harness.cut(model)
    assert report.channels["a"] == (6, 4)


def test_c30_prelu(harness):
    model = chain(harness, layers.PReLU(shared_axes=[1, 2], name="p"), layers.Conv2D(2, 3))
    put(model.get_layer("a").bias, [1, 4], -0.5)
    _, report = harness.cut(model)
    assert report.channels["p"] == (6, 4)


def test_c31_embedding_columns_and_their_mask(harness):
    tokens = keras.Input((6,), dtype="int32")
    x = layers.Embedding(2, 6, mask_zero=True, name="a")(tokens)
    x = layers.GlobalAveragePooling1D()(layers.Dense(4)(x))
    model = keras.Model(tokens, layers.Dense(2)(x))
    harness.randomise(model)
    put(model.get_layer("a").embeddings, (..., [1, 4]))
    _, report = harness.cut(model)
    assert kept(report) == [0, 2, 3, 5]


def test_c32_lstm_unit_whose_candidate_is_zero(harness):
    x = inputs = keras.Input((5, 3))
    x = layers.LSTM(6, name="a", return_sequences=True)(x)
    model = keras.Model(inputs, layers.Dense(2)(x))
    harness.randomise(model)
    cell = model.get_layer("a").cell
    for weight in (cell.kernel, cell.recurrent_kernel, cell.bias):
        put(weight, (..., [2 * 6 + 1, 2 * 6 + 4]))
    _, report = harness.cut(model)
    assert kept(report) == [0, 2, 3, 5]


@pytest.mark.tensorflow  # JAX's attention has one width for keys and values
def test_c33_attention_scale_follows_the_width(harness):
    x = keras.Input((5, 6))
    attention = layers.MultiHeadAttention(2, 4, name="attention")
    model = keras.Model(x, attention(x, x))
    harness.randomise(model, damping=1.0)
    put(attention.key_dense.kernel, (..., [1, 2]))
    put(attention.value_dense.kernel, (..., [3]))
    compact, _ = harness.cut(model)
    new = compact.get_layer("attention")
    assert (new.key_dim, new.value_dim) == (2, 3)


def test_c34_same_nan_in_both_is_no_difference(harness):
    x = inputs = keras.Input((4,))
    x = layers.Dense(6, activation="relu", name="a")(x)
    model = keras.Model(inputs, layers.Dense(3, name="b")(x))
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., [1]))
    put(model.get_layer("b").bias, 0, np.nan)
    compact, report = surgery.remove_dead_channels(model)
    assert np.isnan(ops.convert_to_numpy(compact(np.ones((1, 4))))).any()
    assert report.channels["a"] == (6, 5)
    # A NaN that only one of them has is infinitely far off.
    put(compact.get_layer("b").bias, 1, np.nan)
    difference, _ = verify.largest_difference(model, compact, np.ones((1, 4)))
    assert difference == np.inf


def test_c35_nearly_zero_is_not_zero(harness):
    model = chain(harness, layers.ReLU(), layers.Conv2D(2, 3), dead=())
    put(model.get_layer("a").kernel, (..., [1, 4]), 1e-20)
    assert harness.cut(model)[1].channels["a"] == (6, 6)
    zeroed, _ = surgery.zero_channels(model, 1e-12)
    assert harness.cut(zeroed)[1].channels["a"] == (6, 4)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16"])
def test_c36_reduced_precision(policy, harness):
    keras.config.set_dtype_policy(policy)
    stack = (layers.BatchNormalization(), layers.Activation("silu"), same(), layers.Conv2D(2, 1))
    model = chain(harness, *stack)
    _, report = surgery.remove_dead_channels(model)
    assert report.channels["a"] == (6, 5)
    assert report.max_error < 0.1


@pytest.mark.parametrize("inner", [False, True])
def test_c36_quantized_layers_are_refused(inner, harness):
    x = keras.Input((5, 8))
    y = layers.MultiHeadAttention(2, 4)(x, x) if inner else layers.Dense(8)(x)
    model = keras.Model(x, y)
    model.quantize("int8")
    with pytest.raises(ValueError, match="quantized"):
        surgery.remove_dead_channels(model)
    with pytest.raises(ValueError, match="quantized"):
        surgery.zero_channels(model, 0.1)


@pytest.mark.parametrize("inner", [False, True])
def test_c36_lora_is_refused(inner):
    x = keras.Input((5, 4))
    y = layers.TimeDistributed(layers.Dense(8))(x) if inner else layers.Dense(8)(x)
    model = keras.Model(x, layers.Dense(2)(y))
    (model.layers[1].layer if inner else model.layers[1]).enable_lora(2)
    with pytest.raises(ValueError, match="LoRA"):
        surgery.remove_dead_channels(model)


@pytest.mark.tensorflow  # elsewhere rounding is to float32, whatever the type
def test_c37_difference_is_that_of_rounding(harness):
    x = inputs = keras.Input((4,))
    for _ in range(12):
        x = layers.Dense(64, activation="tanh")(x)
    model = keras.Model(inputs, layers.Dense(3)(x))
    harness.randomise(model)
    harness.kill(model, 0.5)
    compact, _ = surgery.remove_dead_channels(model)
    difference, noise = verify.largest_difference(model, compact, verify.random_inputs(model))
    assert 0 < difference < 32 * noise < 1e-6


def test_c38_open_height_and_width(harness):
    stack = (same(6, name="b", activation="relu"), layers.MaxPooling2D(2), layers.Conv2D(2, 3))
    model = chain(harness, *stack, shape=(None, None, 2))
    put(model.get_layer("b").kernel, (..., [0, 2]))
    _, report = harness.cut(model)
    assert (report.channels["a"], report.channels["b"]) == ((6, 5), (6, 4))


def test_c38_open_size_of_a_branch_is_not_taken_for_equal(harness):
    x = inputs = keras.Input((None, None, 2))
    x = layers.Conv2D(6, 1, name="a")(x)
    y = layers.Conv2D(6, 1, name="b")(x)
    model = keras.Model(inputs, layers.Conv2D(2, 1)(ops.add(x, y)))
    harness.randomise(model)
    put(model.get_layer("b").kernel, ...)
    _, report = harness.cut(model)
    assert report.channels["b"] == (6, 6)
