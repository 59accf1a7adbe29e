import keras
import numpy as np
import pytest
from keras import layers

from keras_sparse.channels import activations

RNG = np.random.default_rng(0)


def read(model, x, **options):
    """The activations of all batches at once."""
    found = [batch for batch, _ in activations(model, x, **options)]
    return {name: np.concatenate([batch[name] for batch in found]) for name in found[0]}


def randomise(model):
    for weight in model.weights:
        weight.assign(RNG.uniform(0.1, 1.0, weight.shape) * RNG.choice([-1, 1], weight.shape))
        if "variance" in weight.path:
            weight.assign(np.ones(weight.shape))


def at(model, tensor, x):
    """What Keras computes for a tensor of the model."""
    values = keras.Model(model.inputs, tensor).predict(x, verbose=0)
    return values.reshape(len(values), -1, values.shape[-1])


def test_reads_behind_the_nonlinearity():
    inputs = keras.Input((6, 6, 2))
    own = layers.Conv2D(3, 3, activation="relu", name="own")(inputs)
    normed = layers.BatchNormalization()(layers.Conv2D(3, 3, name="normed")(inputs))
    normed = layers.Dropout(0.5)(layers.ReLU()(normed))
    called = keras.ops.relu(layers.Conv2D(3, 3, name="called")(inputs))
    layer = layers.Activation("tanh")(layers.Conv2D(3, 3, name="layer")(inputs))
    added = layers.BatchNormalization()(layers.Conv2D(3, 3, name="added")(inputs))
    twice = layers.Conv2D(3, 3, name="twice")(inputs)
    x = layers.ReLU()(
        layers.Add()([own, normed, called, layer, added, twice, layers.ReLU()(twice)])
    )
    logits = layers.Dense(4, name="logits")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, layers.Softmax()(logits))
    randomise(model)
    relu = next(layer for layer in model.layers if isinstance(layer, layers.ReLU))
    x = RNG.normal(size=(5, 6, 6, 2)).astype("float32")
    expected = {
        "own": own,
        "normed": relu.output,
        "called": called,
        "layer": layer,
        "added": added,
        "twice": twice,
        "logits": logits,
    }
    found = read(model, x, batch_size=2)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_allclose(found[name], at(model, tensor, x), rtol=1e-5, atol=1e-6)
    assert found["own"].shape == (5, 16, 3)


def test_shared_and_nested():
    """A model in a model, called twice, gives each of its channels twice as many positions."""
    shared = layers.Dense(3, activation="relu", name="shared")
    inner = keras.Sequential([keras.Input((4,)), shared], name="inner")
    first, second = keras.Input((4,)), keras.Input((4,))
    model = keras.Model([first, second], layers.Add()([inner(first), inner(second)]))
    calls = [len(layer._inbound_nodes) for layer in (shared, inner)]
    readers = [len(layer._outbound_nodes) for layer in model.layers]
    x = [RNG.normal(size=(5, 4)).astype("float32") for _ in range(2)]
    expected = np.stack([inner.predict(values, verbose=0) for values in x], axis=1)
    np.testing.assert_allclose(read(model, x)["shared"], expected, rtol=1e-5, atol=1e-6)
    # The user's layers are as they were.
    assert calls == [len(layer._inbound_nodes) for layer in (shared, inner)]
    assert readers == [len(layer._outbound_nodes) for layer in model.layers]


def test_dict_inputs():
    inputs = {"b": keras.Input((3,), name="b"), "a": keras.Input((2,), name="a")}
    left = layers.Dense(2, name="left")(inputs["a"])
    right = layers.Dense(2, name="right")(inputs["b"])
    model = keras.Model(inputs, layers.Add()([left, right]))
    x = {"b": np.ones((2, 3), "float32"), "a": np.ones((2, 2), "float32")}
    found = read(model, x)
    kernel = keras.ops.convert_to_numpy(model.get_layer("right").kernel)
    np.testing.assert_allclose(found["right"][0, 0], kernel.sum(0), rtol=1e-5, atol=1e-6)


class Batches(keras.utils.PyDataset):
    """Two batches of three."""

    def __len__(self):
        return 2

    def __getitem__(self, i):
        return X[3 * i : 3 * i + 3], np.arange(3 * i, 3 * i + 3)


X = np.arange(12, dtype="float32").reshape(6, 2)
DATA = {
    "arrays": (X, np.arange(6)),
    "dataset": Batches(),
    "batches": [(X[:4], np.arange(4)), (X[4:], np.arange(4, 6), np.ones(2))],
}


@pytest.mark.parametrize("kind", DATA)
def test_kinds_of_data(kind):
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2, use_bias=False, name="dense")])
    model.layers[0].kernel.assign(np.eye(2))
    found = list(activations(model, DATA[kind], batch_size=4))
    np.testing.assert_array_equal(np.concatenate([f["dense"] for f, _ in found])[:, 0], X)
    np.testing.assert_array_equal(np.concatenate([y for _, y in found]), np.arange(6))


@pytest.mark.tensorflow
def test_tensorflow_data():
    import tensorflow as tf

    model = keras.Sequential([keras.Input((2,)), layers.Dense(2, use_bias=False, name="dense")])
    data = tf.data.Dataset.from_tensor_slices((X, np.arange(6))).batch(4)
    labels = np.concatenate([y for _, y in activations(model, data)])
    np.testing.assert_array_equal(labels, np.arange(6))


def test_labels_of_several_outputs():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2)])
    labels = np.arange(6), np.ones((6, 3))
    ((_, found),) = activations(model, [(X, labels)])
    for own, label in zip(found, labels, strict=True):
        np.testing.assert_array_equal(own, label)


def test_labels_are_optional():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2)])
    assert [y for _, y in activations(model, X)] == [None]


def test_a_model_without_a_graph_is_refused():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(2)

        def call(self, x):
            return self.dense(x)

    model = Own()
    model(X)
    with pytest.raises(ValueError, match="type Own"):
        list(activations(model, X))
