import keras
import numpy as np
import pytest
from keras import layers

from keras_sparse.channels import (
    APoZ,
    BatchNormScale,
    ChannelCriterion,
    IncomingNorm,
    LargestActivation,
    Selectivity,
)

# Four images of two positions and one feature.
X = np.array([[1.0, 2.0], [-1.0, 0.0], [3.0, -2.0], [0.5, -0.5]], "float32")[..., None]


def network():
    """x, −x, 1e-14·x, 0 and −100 by five channels behind a ReLU; then three sums of them."""
    model = keras.Sequential(
        [
            keras.Input((2, 1)),
            layers.Conv1D(5, 1, activation="relu", name="conv"),
            layers.Flatten(),
            layers.Dense(3, kernel_initializer="ones", name="logits"),
        ]
    )
    weights = [[[[1.0, -1.0, 1e-14, 0.0, 1.0]]], [0.0, 0.0, 0.0, 0.0, -100.0]]
    model.get_layer("conv").set_weights([np.array(w) for w in weights])
    return model


def test_incoming_norm():
    scores = IncomingNorm().scores(network())
    np.testing.assert_allclose(scores["conv"], [1, 1, 1e-14, 0, 1], rtol=1e-6)
    assert scores["conv"].dtype == "float64"
    dead = IncomingNorm().dead(scores)
    np.testing.assert_array_equal(dead["conv"], [False, False, True, True, False])
    np.testing.assert_array_equal(dead["logits"], [False] * 3)


def test_batch_norm_scale():
    inputs = keras.Input((4,))
    x = layers.BatchNormalization(scale=False, name="unscaled")(inputs)
    model = keras.Model(inputs, layers.BatchNormalization(name="bn")(x))
    model.get_layer("bn").gamma.assign([1.0, -0.5, -9e-4, 0.0])
    scores = BatchNormScale().scores(model)
    np.testing.assert_allclose(scores.pop("bn"), [1, 0.5, 9e-4, 0], rtol=1e-6)
    assert not scores
    dead = BatchNormScale().dead(BatchNormScale().scores(model))
    np.testing.assert_array_equal(dead["bn"], [False, False, True, True])


def test_largest_activation():
    """The channel whose ReLU is shut is dead too, though its weight is not small."""
    scores = LargestActivation().scores(network(), X)
    np.testing.assert_allclose(scores["conv"], [3, 2, 3e-14, 0, 0], rtol=1e-6)
    dead = LargestActivation().dead(scores)
    np.testing.assert_array_equal(dead["conv"], [False, False, True, True, True])


def test_selectivity():
    """Images with an activation: 1, 3 and 4 of x; 2, 3 and 4 of −x."""
    criterion = Selectivity()
    scores = criterion.scores(network(), X)
    np.testing.assert_array_equal(scores["conv"], [0.75, 0.75, 0, 0, 0])
    np.testing.assert_array_equal(criterion.dead(scores)["conv"], [False, False] + [True] * 3)
    # 0.5 is below 0.3 · 3, and all that −x has is not below 0.2 · 2.
    assert Selectivity(relative=0.3).scores(network(), X)["conv"][:2].tolist() == [0.5, 0.5]
    assert Selectivity(relative=0.2).scores(network(), X)["conv"][:2].tolist() == [0.5, 0.75]


def test_apoz():
    """x is above 0 at 4 of 8 positions, −x at 3; the paper's rule is one deviation of the layer."""
    scores = APoZ().scores(network(), X)
    np.testing.assert_array_equal(scores["conv"], np.array([4, 3, 4, 0, 0]) / 8)
    shares = scores["conv"]
    below = shares < shares.mean() - shares.std()
    np.testing.assert_array_equal(below, [False, False, False, True, True])
    np.testing.assert_array_equal(APoZ().dead(scores)["conv"], below)
    np.testing.assert_array_equal(APoZ(0.4).dead(scores)["conv"], [False, True, False, True, True])


@pytest.mark.parametrize("criterion", [LargestActivation(), Selectivity(), APoZ()], ids=repr)
def test_batches_do_not_matter(criterion):
    """Seven images in batches of any size have the scores that they have at once."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(7, 2, 1)).astype("float32")
    whole = criterion.scores(network(), x)
    parts = criterion.scores(network(), [(x[:3], np.zeros(3)), (x[3:], np.zeros(4))])
    for name, scores in whole.items():
        np.testing.assert_allclose(parts[name], scores, rtol=1e-6)


@pytest.mark.parametrize("criterion", [LargestActivation(), Selectivity(), APoZ()], ids=repr)
def test_sees_new_weights_and_other_models(criterion):
    """A criterion keeps what reads a model, not what it read."""
    model = network()
    before = criterion.scores(model, X)["conv"]
    kernel, bias = model.get_layer("conv").get_weights()
    model.get_layer("conv").set_weights([kernel[..., ::-1], bias[::-1]])
    np.testing.assert_array_equal(criterion.scores(model, X)["conv"], before[::-1])
    np.testing.assert_array_equal(criterion.scores(network(), X)["conv"], before)


ALL = [
    IncomingNorm(1e-5),
    BatchNormScale(1e-2),
    LargestActivation(1e-9),
    Selectivity(0.01, 0.1),
    APoZ(),
    APoZ(0.1),
]


@pytest.mark.parametrize("criterion", ALL, ids=repr)
def test_survives_saving(criterion):
    config = keras.saving.serialize_keras_object(criterion)
    assert config["registered_name"] == f"keras_sparse>{type(criterion).__name__}"
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(criterion)
    assert again.get_config() == criterion.get_config()


@pytest.mark.parametrize("kind", [type(c) for c in ALL[:5]], ids=lambda kind: kind.__name__)
def test_bad_threshold_is_named(kind):
    with pytest.raises(ValueError, match=r"`threshold`.*Received: threshold=-1"):
        kind(-1)


def test_other_bad_arguments_are_named():
    with pytest.raises(ValueError, match="`relative`"):
        Selectivity(relative=1.0)
    with pytest.raises(ValueError, match=r"LargestActivation.*give `data`"):
        LargestActivation().scores(network())
    with pytest.raises(ValueError, match="no images"):
        LargestActivation().scores(network(), X[:0])


def test_a_criterion_of_ones_own():
    class LargestWeight(ChannelCriterion):
        def scores(self, model, data=None):
            kernel = keras.ops.convert_to_numpy(model.get_layer("conv").kernel)
            return {"conv": np.abs(kernel).max((0, 1)).astype("float64")}

    criterion = LargestWeight(0.5)
    dead = criterion.dead(criterion.scores(network()))
    np.testing.assert_array_equal(dead["conv"], [False, False, True, True, False])


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("criterion", [LargestActivation(), Selectivity()], ids=repr)
def test_silent_channels_in_mixed_precision(policy, criterion):
    inputs = keras.Input((2, 1))
    conv = layers.Conv1D(3, 1, activation="relu", name="conv", dtype=policy)
    model = keras.Model(inputs, conv(inputs))
    conv.set_weights([np.array([[[1.0, -1.0, 1.0]]]), np.array([0.0, 0.0, -100.0])])
    dead = criterion.dead(criterion.scores(model, X))
    np.testing.assert_array_equal(dead["conv"], [False, False, True])
