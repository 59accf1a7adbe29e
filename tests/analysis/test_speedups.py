import json

import keras
import numpy as np
import pytest
from keras import layers

from keras_sparse.analysis import LayerTime, Speedup, speedup


def test_estimates_by_hand():
    fast = LayerTime("fast", 1.0, density=1.0, empty_channels=0.0)
    slow = LayerTime("slow", 9.0, density=0.1, empty_channels=0.5)
    found = Speedup([fast, slow], 1, model_ms=12.0, compact_ms=6.0, measured=2.1)
    assert found.layers_ms == 10
    assert found.sparse_convolution == pytest.approx(10 / 1.9)
    assert found.dense_convolution == pytest.approx(10 / 5.5)
    assert json.loads(json.dumps(found.to_dict()))["layers"][1]["density"] == 0.1
    for ratio in ("5.26×", "1.82×", "2.10×"):
        assert ratio in str(found)


def network():
    """A convolution of which half is empty, called twice, and a dense layer of 60% zeros."""
    inputs = keras.Input((8, 8, 4))
    conv = layers.Conv2D(4, 3, padding="same", name="conv")
    x = layers.Flatten()(conv(layers.ReLU()(conv(inputs))))
    model = keras.Model(inputs, layers.Dense(5, name="dense")(x))
    kernel = np.ones((3, 3, 4, 4), "float32")
    kernel[..., :2] = 0
    conv.kernel.assign(kernel)
    kernel = np.ones((256, 5), "float32")
    kernel[:, :3] = 0
    model.get_layer("dense").kernel.assign(kernel)
    return model


def test_on_a_model():
    model = network()
    calls = [len(layer._inbound_nodes) for layer in model.layers]
    found = speedup(model, batch_size=2, rounds=2)
    shares = {x.name: (x.density, x.empty_channels) for x in found.layers}
    assert shares == {"conv": (0.5, 0.5), "dense": (0.4, 0.6)}
    assert found.batch_size == 2
    assert min(found.model_ms, found.compact_ms, *(x.milliseconds for x in found.layers)) > 0
    assert 1 / 0.5 < found.sparse_convolution < 1 / 0.4
    assert calls == [len(layer._inbound_nodes) for layer in model.layers]


def test_a_model_of_ones_own_to_compare_with():
    model = network()
    assert speedup(model, compact=model, rounds=1).measured > 0


@pytest.mark.parametrize("arguments", [{"batch_size": 0}, {"rounds": 1.5}])
def test_bad_arguments_are_named(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"`{name}`"):
        speedup(network(), **arguments)


def test_open_sizes_are_refused():
    model = keras.Sequential([keras.Input((None, 3)), layers.Conv1D(2, 1)])
    with pytest.raises(ValueError, match="leaves sizes open"):
        speedup(model)
