"""A layer of layers."""

import keras
from keras import layers


@keras.saving.register_keras_serializable("tests")
class Block(layers.Layer):
    """A layer of two layers, of which one has the name of a layer outside."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.parts = [layers.Dense(8, name="same"), layers.Dense(8, name="inside")]

    def build(self, shape):
        self.parts[0].build(shape)
        self.parts[1].build((*shape[:-1], 8))

    def call(self, inputs):
        return self.parts[1](self.parts[0](inputs))
