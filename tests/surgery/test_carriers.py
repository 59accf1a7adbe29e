"""Constants that a bias cannot hold: a few channels stay, and the others are sums of them."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sparse.surgery.rules.carriers import combine, missing_carriers
from tests.surgery.test_hard_cases import put

# As many in each half.
DEAD = [0, 1, 3, 5, 7, 8, 9, 12]


def model_of(harness, *stack, length=7):
    """A convolution named `a` with 14 filters, of which eight are dead, and `stack`."""
    x = inputs = keras.Input((length, 2))
    x = layers.Conv1D(14, 1, name="a")(x)
    for layer in stack:
        x = layer(x)
    model = keras.Model(inputs, x)
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., DEAD))
    return model


def depthwise(**arguments):
    return layers.DepthwiseConv1D(**{"kernel_size": 3, "padding": "same", **arguments})


def gelu():
    return layers.Activation("gelu")


STACKS = {
    # Three kinds of positions, of which a bias takes one.
    "pointwise": (lambda: [depthwise(), gelu(), layers.Conv1D(3, 1)], 7, 2),
    "dense": (lambda: [depthwise(), gelu(), layers.Dense(3, use_bias=False)], 7, 2),
    # A border once more, where a bias takes none.
    "two borders": (lambda: [depthwise(), gelu(), layers.Conv1D(3, 3, padding="same")], 7, 3),
    "transposed": (lambda: [depthwise(), layers.Conv1DTranspose(3, 3, padding="same")], 7, 3),
    # The positions of short sequences too.
    "open": (lambda: [depthwise(), gelu(), layers.Conv1D(3, 1)], None, 3),
    # The border is on one side, or nowhere.
    "one side": (lambda: [depthwise(strides=2), gelu(), layers.Conv1D(3, 1)], 8, 1),
    "no border": (lambda: [layers.Conv1D(3, 2, strides=2, padding="same")], 8, 0),
    "no border, depthwise": (lambda: [layers.DepthwiseConv1D(2, 2, "same"), layers.Dense(3)], 8, 0),
    # Constants that do not depend on the position are the multiples of one.
    "multiples": (lambda: [layers.Conv1D(3, 3, padding="same")], 7, 1),
    "causal": (lambda: [layers.Conv1D(3, 3, padding="causal", dilation_rate=2)], 7, 1),
    # Each group has its own.
    "groups": (lambda: [layers.Conv1D(4, 3, padding="same", groups=2)], 7, 2),
    "groups of maps": (lambda: [depthwise(), gelu(), layers.Conv1D(4, 1, groups=2)], 7, 4),
}


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("name", STACKS)
def test_carriers(name, precision, harness, request):
    if precision == "float64":
        request.getfixturevalue("float64")
    stack, length, carriers = STACKS[name]
    _, report = harness.cut(model_of(harness, *stack(), length=length))
    assert report.channels["a"] == (14, 14 - len(DEAD) + carriers)


@pytest.mark.usefixtures("float64")
def test_a_sum_of_two_branches(harness):
    """Maps of one convolution's border, and a constant added to them."""
    x = inputs = keras.Input((7, 2))
    a, b = layers.Conv1D(14, 1, name="a")(x), layers.Conv1D(14, 1, name="b")(x)
    x = layers.Add()([gelu()(depthwise()(a)), b])
    model = keras.Model(inputs, layers.Conv1D(3, 1)(x))
    harness.randomise(model)
    for name in ("a", "b"):
        put(model.get_layer(name).kernel, (..., DEAD))
    _, report = harness.cut(model)
    assert report.channels["a"] == report.channels["b"] == (14, 8)


def test_combine_finds_the_sums():
    values = np.random.default_rng(0).standard_normal((5, 5))
    values[:, 4] = 2 * values[:, 0] - values[:, 1] + 3
    sums = combine(values, np.array([0, 1]), np.array([2, 4]), True, 2.0**-52)
    assert sums.fits.tolist() == [False, True]
    np.testing.assert_allclose(sums.factors[:, 1], [2, -1])
    np.testing.assert_allclose(sums.shifts[1], 3)


def test_a_small_carrier_is_not_multiplied_by_a_lot():
    values = np.array([[1e-3, 1.0, 0.5], [2e-3, 2.0, 1.0]])
    missing = missing_carriers(values, np.array([0]), np.array([1, 2]), False, 2.0**-52)
    assert missing == [1]
    sums = combine(values, np.array([0, 1]), np.array([2]), False, 2.0**-52)
    assert sums.fits.all()
    np.testing.assert_allclose(values[:, :2] @ sums.factors, values[:, 2:])


MORE = {
    # Moved, averaged or padded, the kinds of positions stay what they are.
    "reshaped": (
        lambda: [depthwise(), layers.Reshape((7, 1, 14)), gelu(), layers.Conv2D(3, 1)],
        2,
    ),
    "average": (
        lambda: [depthwise(), gelu(), layers.GlobalAveragePooling1D(), layers.Dense(3)],
        0,
    ),
    "maximum": (lambda: [depthwise(), layers.GlobalMaxPooling1D(), layers.Dense(3)], 0),
    "padded": (lambda: [depthwise(), layers.ZeroPadding1D(1), gelu(), layers.Conv1D(3, 3)], 3),
    "padded by a layer": (
        lambda: [
            layers.ZeroPadding1D(1),
            depthwise(padding="valid"),
            gelu(),
            layers.GlobalAveragePooling1D(),
            layers.Dense(3),
        ],
        0,
    ),
    "padded by a layer, one side": (
        lambda: [
            layers.ZeroPadding1D((0, 1)),
            depthwise(padding="valid"),
            gelu(),
            layers.Conv1D(3, 1),
        ],
        1,
    ),
    "padded by nothing": (
        lambda: [layers.ZeroPadding1D(0), depthwise(), gelu(), layers.Conv1D(3, 1)],
        2,
    ),
    "padded, pooled": (
        lambda: [layers.ZeroPadding1D(1), layers.MaxPooling1D(2, 1), layers.Conv1D(3, 1)],
        1,
    ),
}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", MORE)
def test_what_is_known_of_positions_is_passed_on(name, harness):
    stack, carriers = MORE[name]
    model = model_of(harness, *stack())
    put(model.get_layer("a").bias, DEAD, np.linspace(-1, -0.3, len(DEAD)))
    _, report = harness.cut(model)
    assert report.channels["a"] == (14, 14 - len(DEAD) + carriers)


@pytest.mark.usefixtures("float64")
def test_one_partition_behind_two_convolutions(harness):
    """Both have the same border, so that a sum of both has it too."""
    x = inputs = keras.Input((7, 2))
    x = layers.Conv1D(14, 1, name="a")(x)
    x = layers.Add()([gelu()(depthwise()(x)), gelu()(depthwise()(x))])
    model = keras.Model(inputs, layers.Conv1D(3, 1)(x))
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., DEAD))
    _, report = harness.cut(model)
    assert report.channels["a"] == (14, 8)


@pytest.mark.usefixtures("float64")
def test_constants_in_both_operands_of_a_product(harness):
    """Scores of attention, to which they add a number."""
    x = inputs = keras.Input((5, 4))
    q, k = (layers.Dense(6, name=name)(x) for name in "qk")
    scores = keras.ops.matmul(q, keras.ops.transpose(k, (0, 2, 1)))
    model = keras.Model(inputs, [scores, keras.ops.matmul(keras.ops.softmax(scores), x)])
    harness.randomise(model)
    put(model.get_layer("q").kernel, (..., [0, 1, 2]))
    put(model.get_layer("k").kernel, (..., [1, 2, 3]))
    _, report = harness.cut(model)
    assert report.layers["q"].kept.tolist() == report.layers["k"].kept.tolist() == [0, 3, 4, 5]


@pytest.mark.usefixtures("float64")
def test_a_product_that_is_an_output(harness):
    x = inputs = keras.Input((5, 4))
    x = layers.Dense(6, name="a")(x)
    model = keras.Model(inputs, keras.ops.matmul(x, np.ones((6, 2))))
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., [0, 1]))
    compact, report = harness.cut(model)
    assert report.channels["a"] == (6, 4)
    assert compact.output_names == model.output_names


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("product", ["Dot", "matmul"])
def test_a_matrix_that_a_layer_computes_loses_rows(product, harness):
    """As in PointNet: the rows of the matrix are of the channels that it multiplies."""
    inputs = keras.Input((5, 4))
    x = layers.Dense(6, activation="relu", name="a")(inputs)
    matrix = layers.Dense(6 * 3, name="b")(layers.GlobalMaxPooling1D()(inputs))
    matrix = layers.Reshape((6, 3))(matrix)
    multiply = {"Dot": layers.Dot(axes=(2, 1)), "matmul": lambda both: keras.ops.matmul(*both)}
    model = keras.Model(inputs, layers.Dense(2)(multiply[product]([x, matrix])))
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., [1, 4]))
    put(model.get_layer("a").bias, [1, 4], -0.5)
    _, report = harness.cut(model)
    assert report.channels["a"] == (6, 4)
    assert report.channels["b"] == (18, 12)
