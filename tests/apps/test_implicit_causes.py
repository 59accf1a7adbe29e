"""What the table says of dead units is read from the network."""

import numpy as np
import pytest

from apps.reproduction import implicit
from apps.tables import implicit_causes
from keras_sparse import data


@pytest.mark.parametrize(("activation", "slope"), [("relu", 0.0), ("tanh", 1.0)])
def test_slope_and_scale_of_dead_units(activation, slope):
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(6, 28, 28, 1)).astype("float32"), np.zeros(6, int)
    dataset = data.Dataset("noise", images, labels, images, labels, 10)
    model = implicit.dense_network(activation, units=8)(dataset.input_shape, dataset.classes)
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    assert set(implicit_causes.measure(model, dataset)) == {"dead", "nearly_dead", "accuracy"}
    (kernel,) = model.get_layer("hidden").get_weights()
    kernel[:, :2] = 0
    model.get_layer("hidden").set_weights([kernel])
    (normalisation,) = (layer for layer in model.layers if hasattr(layer, "gamma"))
    normalisation.gamma.assign([-0.5, 0.1, 9, 9, 9, 9, 9, 9])
    # Where tanh is steep and ReLU shut.
    normalisation.beta.assign([-0.02, -0.02, 9, 9, 9, 9, 9, 9])
    found = implicit_causes.measure(model, dataset)
    assert found["dead"] == 25
    assert found["slope"] == pytest.approx(slope, abs=1e-2)
    assert found["gamma"] == pytest.approx(0.3)
