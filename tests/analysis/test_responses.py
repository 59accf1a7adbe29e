import keras
import numpy as np
import pytest
from keras import layers

from keras_sparse.analysis import class_specialization, selectivity


def network():
    """Two features, their sum and a shut ReLU."""
    model = keras.Sequential([keras.Input((2,)), layers.Dense(4, activation="relu", name="dense")])
    kernel = [[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0]]
    model.layers[0].set_weights([np.array(kernel), np.array([0.0, 0.0, 0.0, -1.0])])
    return model


X = np.array([[3.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 2.0]], "float32")
Y = np.array([7, 7, 5, 5])


def test_selectivity():
    np.testing.assert_array_equal(selectivity(network(), X)["dense"], [0.5, 0.25, 0, 1])
    # 1 of the first feature is less than half of 3.
    assert selectivity(network(), X, relative=0.5)["dense"][0] == 0.75


@pytest.mark.parametrize(
    "data",
    [(X, Y), [(X[:3], Y[:3]), (X[3:], Y[3:])], (X, Y[:, None]), (X, np.eye(8)[Y])],
    ids=["arrays", "batches", "column", "one-hot"],
)
def test_class_specialization(data):
    found = class_specialization(network(), data)["dense"]
    np.testing.assert_allclose(found.shares, [1, 3 / 4, 5 / 8, np.nan])
    np.testing.assert_array_equal(found.classes, [7, 5, 7, -1])


def test_labels_are_needed():
    with pytest.raises(ValueError, match="no labels"):
        class_specialization(network(), X)
    with pytest.raises(ValueError, match="Received: labels of several outputs"):
        class_specialization(network(), [(X, (Y, Y))])
