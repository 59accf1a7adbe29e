"""Which layers make the outputs of a model."""

import keras
from keras import layers

from keras_sparse import output_layers


def names(model):
    return [layer.name for layer in output_layers(model)]


def test_every_head_with_what_has_no_kernel_behind_it():
    inputs = keras.Input((6,))
    trunk = layers.Dense(8, "relu", name="trunk")(inputs)
    first = layers.Softmax()(layers.Dense(3, name="classes")(trunk))
    second = layers.BatchNormalization()(layers.Dense(8, name="box")(trunk))
    model = keras.Model(inputs, {"classes": first, "box": layers.Rescaling(2.0)(second)})
    assert sorted(names(model)) == ["box", "classes"]
    outer = keras.Input((6,))
    assert sorted(names(keras.Model(outer, model(outer)))) == ["box", "classes"]


def test_what_is_added_up_for_an_output_makes_it():
    inputs = keras.Input((6,))
    left, right = layers.Dense(4, name="left"), layers.Dense(4, name="right")
    model = keras.Model(inputs, layers.Add()([left(inputs), right(layers.ReLU()(inputs))]))
    assert names(model) == ["left", "right"]
