"""The analysis leaves the graph as it was traced."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sparse.surgery.analysis import analyse
from keras_sparse.surgery.coupling import _Channels
from keras_sparse.surgery.graph import Graph
from keras_sparse.surgery.rebuild import Rebuild
from keras_sparse.surgery.report import make_report


@keras.saving.register_keras_serializable("tests")
class Block(layers.Layer):
    """A layer of layers that surgery opens."""

    def build(self, shape):
        self.expand = layers.Dense(6, activation="relu", name="expand")
        self.contract = layers.Dense(shape[-1], name="contract")
        self.expand.build(shape)
        self.contract.build((*shape[:-1], 6))

    def call(self, x):
        return x + self.contract(self.expand(x))


def images():
    inputs = keras.Input((8, 8, 2))
    x = layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same")(inputs))
    shared = layers.Conv2D(6, 3, padding="same", name="shared")
    x = layers.Concatenate()([layers.Add()([x, shared(shared(x))]), x])
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(layers.DepthwiseConv2D(3)(x))))


def sequences():
    inputs = keras.Input((5, 4))
    x = layers.TimeDistributed(layers.Dense(8))(inputs)
    x = layers.MultiHeadAttention(2, 4)(x, x)
    x = Block()(layers.LSTM(6, return_sequences=True)(x))
    return keras.Model(inputs, layers.Dense(2)(layers.GroupNormalization(3)(x)))


def attributes(graph):
    """`{(object, attribute): value}` of a graph and all its parts; lists are copied."""
    units = [*graph.units, *(scope.call.unit for scope in graph.scopes)]
    calls = [*graph.calls, *(scope.call for scope in graph.scopes)]
    values = [*graph.inputs, *(value for call in graph.calls for value in call.outputs)]
    found = {}
    for part in [graph, *graph.scopes, *units, *calls, *values]:
        names = [*getattr(part, "__dict__", ()), *getattr(type(part), "__slots__", ())]
        for name in names:
            value = getattr(part, name)
            found[id(part), name] = list(value) if isinstance(value, list) else value
    return found


@pytest.mark.parametrize("make", [images, sequences])
def test_the_graph_stays_as_it_was_traced(make, harness):
    model = make()
    harness.randomise(model)
    harness.kill(model)
    graph = Graph(model)
    before = attributes(graph)
    findings = analyse(graph, channel_multiple=2)
    make_report(findings, Rebuild(findings))
    _Channels(findings).groups()
    after = attributes(graph)
    assert before.keys() == after.keys()
    assert [key for key in before if before[key] != after[key]] == []
    assert any(not value.keep.all() for value in findings.values)


def test_two_analyses_of_one_graph_do_not_meet(harness):
    model = sequences()
    harness.randomise(model)
    harness.kill(model)
    graph = Graph(model)
    first, second = (analyse(graph, channel_multiple=multiple) for multiple in (None, 4))
    kept = [value.keep.copy() for value in first.values]
    again = analyse(graph)
    for one, two, three in zip(kept, first.values, again.values, strict=True):
        np.testing.assert_array_equal(one, two.keep)
        np.testing.assert_array_equal(one, three.keep)
    sizes = [sum(value.keep.sum() for value in found.values) for found in (first, second)]
    assert sizes[0] < sizes[1]
