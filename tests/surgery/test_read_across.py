"""A layer that reads channels, of a tensor whose positions are followed, and needs none of them."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_sparse import surgery

READERS = {
    "attention": lambda: layers.MultiHeadAttention(1, 2),
    "bidirectional": lambda: layers.Bidirectional(layers.GRU(2, return_sequences=True)),
    "conv": lambda: layers.Conv1D(2, 1),
    "dense": lambda: layers.Dense(2),
    "depthwise": lambda: layers.DepthwiseConv1D(1, depth_multiplier=2),
    "recurrent": lambda: layers.SimpleRNN(2, return_sequences=True),
    "separable": lambda: layers.SeparableConv1D(2, 1),
    "transposed": lambda: layers.Conv1DTranspose(2, 1),
}


def network(reader):
    """Five positions of one channel; the outputs read the first and the last."""
    inputs = keras.Input((3,))
    x = layers.Dense(5, activation="relu")(inputs)
    x = layers.Reshape((5, 1), name="positions")(x)
    x = reader(x, x) if isinstance(reader, layers.MultiHeadAttention) else reader(x)
    parts = ops.unstack(x, axis=1)
    outputs = layers.Dense(2)(layers.Concatenate()([parts[0], parts[-1]]))
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize("name", READERS)
def test_all_positions_stay(name):
    reader, rng = READERS[name](), np.random.default_rng(0)
    model = network(reader)
    for weight in reader.weights:
        is_bias = "bias" in weight.path
        weight.assign(rng.uniform(0.5, 1.0, weight.shape) if is_bias else np.zeros(weight.shape))
    compact, _ = surgery.remove_dead_channels(model)
    x = rng.standard_normal((4, 3)).astype("float32")
    wanted, found = model.predict_on_batch(x), compact.predict_on_batch(x)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert compact.get_layer("positions").output.shape == (None, 5, 1)
