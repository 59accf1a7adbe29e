import json
import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from keras_sparse import surgery
from keras_sparse.channels import DeadChannels, IncomingNorm, LargestActivation, gap, layer_gaps


def network(norms):
    """One dense layer whose channels have these norms, and a second one."""
    hidden = layers.Dense(len(norms), activation="relu", name="hidden")
    model = keras.Sequential([keras.Input((1,)), hidden, layers.Dense(1, name="out")])
    set_norms(model, norms)
    return model


def set_norms(model, norms):
    model.get_layer("hidden").set_weights([np.array([norms]), np.zeros(len(norms))])


class Norms(IncomingNorm):
    """Scores that the test sets."""

    def scores(self, model, data=None):
        return {"hidden": np.asarray(model, "float64")}


@settings(deadline=None)
@given(
    st.integers(1, 4),
    st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=8),
)
def test_dead_is_what_was_below_in_the_last_epochs(epochs, history):
    dead_channels = DeadChannels(Norms(0.5), epochs)
    for i, below in enumerate(history):
        dead = dead_channels.update(1.0 - np.array(below))["hidden"]
        last = np.array(history[max(0, i + 1 - epochs) : i + 1])
        np.testing.assert_array_equal(dead, (len(last) == epochs) & last.all(0))


def test_on_a_model():
    model = network([1.0, 1e-9, 1e-9])
    dead_channels = DeadChannels(epochs=2)
    assert not dead_channels.update(model)["hidden"].any()
    set_norms(model, [1e-9, 1.0, 1e-9])
    dead = dead_channels.update(model)
    np.testing.assert_array_equal(dead["hidden"], [False, False, True])
    np.testing.assert_array_equal(dead["out"], [False])
    np.testing.assert_array_equal(dead_channels.below["hidden"], [True, False, True])


def test_goes_on_from_its_state():
    dead_channels = DeadChannels(Norms(), epochs=2)
    dead_channels.update([0.0, 1.0])
    again = DeadChannels(Norms(), epochs=2)
    again.set_state(json.loads(json.dumps(dead_channels.get_state())))
    np.testing.assert_array_equal(again.update([0.0, 0.0])["hidden"], [True, False])


def test_follows_surgery():
    """What was dead for one epoch before the cut is dead for two after it."""
    model = network([0.0, 1.0, 1e-9, 1.0])
    dead_channels = DeadChannels(epochs=2)
    dead_channels.update(model)
    compact, report = surgery.remove_dead_channels(model)
    assert report.channels["hidden"] == (4, 3)
    dead_channels.keep({name: layer.kept for name, layer in report.layers.items()})
    np.testing.assert_array_equal(dead_channels.update(compact)["hidden"], [False, True, False])


def test_keep_takes_bools_and_forgets_layers_that_are_gone():
    dead_channels = DeadChannels(Norms())
    dead_channels.update([0.0, 1.0, 0.0])
    dead_channels.keep({"hidden": np.array([True, True, False]), "unknown": [0]})
    np.testing.assert_array_equal(dead_channels.dead["hidden"], [True, False])
    np.testing.assert_array_equal(dead_channels.scores["hidden"], [0.0, 1.0])
    dead_channels.keep({"hidden": []})
    assert dead_channels.dead == dead_channels.get_state() == {}


def test_another_number_of_channels_starts_again():
    dead_channels = DeadChannels(Norms(), epochs=2)
    dead_channels.update([0.0, 0.0, 0.0])
    assert not dead_channels.update([0.0, 0.0])["hidden"].any()
    assert dead_channels.update([0.0, 0.0])["hidden"].all()


def test_gap():
    scores = {"a": np.array([1e-20, 0.1, 1e-18]), "b": np.array([0.01, 2.0])}
    dead = IncomingNorm().dead(scores)
    found = gap(scores, dead)
    assert (found.dead, found.alive) == (1e-18, 0.01)
    assert found.decades == pytest.approx(16)
    by_layer = layer_gaps(scores, dead)
    assert by_layer["a"].decades == pytest.approx(17)
    assert (by_layer["b"].dead, by_layer["b"].alive) == (None, 0.01)
    assert math.isnan(by_layer["b"].decades)
    scores["a"][:] = 0
    assert gap(scores, IncomingNorm().dead(scores)).decades == math.inf


def test_survives_saving():
    dead_channels = DeadChannels(LargestActivation(1e-9), epochs=3)
    config = keras.saving.serialize_keras_object(dead_channels)
    again = keras.saving.deserialize_keras_object(json.loads(json.dumps(config)))
    assert again.get_config() == dead_channels.get_config()
    assert isinstance(again.criterion, LargestActivation)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"`criterion`.*Received: criterion=1e-06"):
        DeadChannels(1e-6)
    for epochs in (0, 1.5):
        with pytest.raises(ValueError, match=f"`epochs`.*Received: epochs={epochs}"):
            DeadChannels(epochs=epochs)
