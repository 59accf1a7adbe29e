"""What files of earlier versions describe continues as it did there.

`saved/configs.json` and `saved/states.npz` hold what version 0.1.0 of November 2026 saved of a
network with two dense layers, and its weights some steps later; "older" ones have no such weights.
"""

import json
import pathlib

import keras
import numpy as np
import pytest
from keras import ops

import keras_sparse

FOLDER = pathlib.Path(__file__).parent / "saved"
CONFIGS = json.loads((FOLDER / "configs.json").read_text(encoding="utf-8"))
STATES = np.load(FOLDER / "states.npz")
CLASSES = {
    "target": keras_sparse.DPF,
    "target_by_channel": keras_sparse.DPF,
    "l1": keras_sparse.AccumulatedRDA,
    "l1_by_channel": keras_sparse.AccumulatedRDA,
    "published": keras_sparse.PublishedRDA,
    "published_by_channel": keras_sparse.PublishedRDA,
    "published_center": keras_sparse.PublishedRDA,
    "published_target": keras_sparse.PublishedRDAToTarget,
}


def arrays(name, kind):
    found = [key for key in STATES.files if key.startswith(f"{name}/{kind}/")]
    return [STATES[f"{name}/{kind}/{i}"] for i in range(len(found))]


def loaded(name):
    """The optimizer and its network, as `keras.saving.load_model` makes them."""
    keras.utils.clear_session()
    layers = [keras.layers.Dense(8, name="hidden"), keras.layers.Dense(3, name="head")]
    model = keras.Sequential([keras.Input((6,)), *layers], name="net")
    optimizer = keras.saving.deserialize_keras_object(CONFIGS[name])
    optimizer.build(model.trainable_variables)
    optimizer.load_own_variables({str(i): x for i, x in enumerate(arrays(name, "state"))})
    model.set_weights(arrays(name, "weights"))
    return optimizer, model


def steps(optimizer, model, count):
    rng = np.random.default_rng(2)
    variables = model.trainable_variables
    for _ in range(count):
        gradients = [0.1 * ops.convert_to_numpy(v) + rng.normal(0, 0.3, v.shape) for v in variables]
        optimizer.apply([ops.convert_to_tensor(g, "float32") for g in gradients], variables)


@pytest.mark.parametrize("name", [name for name in CONFIGS if not name.startswith("older")])
def test_goes_on_as_it_did(name):
    optimizer, model = loaded(name)
    if name in CLASSES:
        assert type(optimizer) is CLASSES[name]
    # With the search of step 60.
    steps(optimizer, model, 17 if name == "target" else 3)
    for weight, expected in zip(model.get_weights(), arrays(name, "after"), strict=True):
        np.testing.assert_allclose(weight, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(weight == 0, expected == 0)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name.startswith("older")])
def test_an_older_state_has_no_jump(name):
    """It lacks what was added to the state since, which starts such that nothing changes."""
    optimizer, model = loaded(name)
    assert int(optimizer.iterations) == 45
    before = model.get_weights()
    if "published" in name:
        # Its rate falls by a share of 1/90 a step.
        before = [w * np.sqrt(45 / 46) for w in before]
    gradients = [ops.zeros(v.shape) for v in model.trainable_variables]
    optimizer.apply(gradients, model.trainable_variables)
    for weight, expected in zip(model.get_weights()[::2], before[::2], strict=True):
        np.testing.assert_allclose(weight, expected, atol=0.02)


def test_a_front_chooses_the_class():
    assert type(keras_sparse.RDA()) is keras_sparse.DPF
    assert type(keras_sparse.RDA(l1=1e-3)) is keras_sparse.AccumulatedRDA
    assert type(keras_sparse.RDA(l1=1e-3, variant="published")) is keras_sparse.PublishedRDA
    found = keras_sparse.RDA(variant="published")
    assert type(found) is keras_sparse.PublishedRDAToTarget
    assert found.target_sparsity == 0.9
    made = keras.optimizers.get({"class_name": "keras_sparse>RDA", "config": {}})
    assert type(made) is keras_sparse.DPF
