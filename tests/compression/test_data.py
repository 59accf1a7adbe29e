"""Data as `fit` takes them: structures, data sets, and what a folder knows of them."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse
from keras_sparse import channels

RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 8)).astype("float32")
Y = RNG.integers(0, 4, 48)
ONES = np.ones(48, "float32")
CLASSES = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
HALF = {"macs": 0.5}


def network(inputs=1, outputs=1):
    tensors = [keras.Input((8,), name=f"input{9 - i}") for i in range(inputs)]
    joined = layers.Concatenate()(tensors) if inputs > 1 else tensors[0]
    hidden = layers.Dense(16, activation="relu", name="hidden")(joined)
    hidden = layers.Dense(16, activation="relu", name="second")(hidden)
    heads = [layers.Dense(4, name=f"head{i}")(hidden) for i in range(outputs)]
    model = keras.Model(tensors if inputs > 1 else tensors[0], heads if outputs > 1 else heads[0])
    model.compile("adam", CLASSES if outputs == 1 else [CLASSES] * outputs)
    return model


def half(model, data, **options):
    return keras_sparse.compress(model, data, target=HALF, batch_size=16, verbose=0, **options)


ALL = [X, -X], [Y, 3 - Y], [ONES, 0 * ONES]
LISTS = {
    "inputs": ((2, 1), (ALL[0], Y)),
    "targets": ((1, 2), (X, ALL[1])),
    "weights": ((1, 2), (X, *ALL[1:])),
    "batches": ((2, 2), [ALL, ALL]),
}


@pytest.mark.parametrize(("shape", "data"), LISTS.values(), ids=LISTS)
def test_lists_of_inputs_targets_and_weights(shape, data, tmp_path):
    result = half(network(*shape), data, epochs=1, validation_data=data, folder=tmp_path / "run")
    assert np.isfinite(result.metrics["recovered"]["loss"])


class Endless(keras.utils.PyDataset):
    """Two batches of one epoch, without end, and perhaps without saying how many."""

    num_batches = None

    def __getitem__(self, index):
        assert index < 2, "more than an epoch was read"
        return X[24 * index :][:24], Y[24 * index :][:24]


class Counted(Endless):
    def __len__(self):
        return 2


@pytest.mark.parametrize(
    "criterion",
    [channels.APoZ(), channels.Selectivity(), channels.LargestActivation()],
    ids=lambda criterion: type(criterion).__name__,
)
def test_activations_are_read_for_an_epoch_of_an_endless_data_set(criterion):
    model = network()
    expected = criterion.scores(model, (X, Y))
    found = criterion.scores(model, Counted())
    for name, scores in expected.items():
        np.testing.assert_allclose(found[name], scores, rtol=1e-5)
    assert channels.DeadChannels(criterion).update(model, Counted()).keys() == expected.keys()
    chosen = keras_sparse.plan(model, Counted(), target=HALF, importance=criterion)
    assert max(chosen.costs["macs"][1:]) <= chosen.budget.limits["macs"]
    with pytest.raises(ValueError, match="`data` is a Endless without an end"):
        criterion.scores(model, Endless())


@pytest.mark.tensorflow
def test_an_endless_tensorflow_data_set_has_no_activations_to_read():
    import tensorflow as tf

    endless = tf.data.Dataset.from_tensor_slices((X, Y)).batch(16).repeat()
    with pytest.raises(ValueError, match=r"without an end.*`data.take\(n\)`"):
        channels.APoZ().scores(network(), endless)
    assert channels.APoZ().scores(network(), endless.take(3))


@pytest.mark.parametrize("inputs", [[X, -X], (X, -X), {"input9": X, "input8": -X}], ids=type)
@pytest.mark.parametrize("kind", [tuple, list])
def test_a_criterion_reads_arrays_as_compress_takes_them(inputs, kind):
    model = network(inputs=2)
    scores = channels.APoZ().scores(model, [X, -X])
    chosen = keras_sparse.plan(
        model, kind((inputs, Y)), target=HALF, importance=channels.APoZ(), allocation="uniform"
    )
    for group, found in chosen.scores.items():
        expected = scores[group.layers[0]]
        np.testing.assert_allclose(found, expected / expected.mean(), rtol=1e-5)
