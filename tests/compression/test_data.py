"""Data as `fit` takes them: structures, data sets, and what a folder knows of them."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse
from keras_sparse import channels
from keras_sparse.compression import job
from keras_sparse.compression.data import HASHES, data_hashes, first_batches

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


@pytest.mark.parametrize("changed", ["x", "y", "sample_weight"])
def test_a_folder_is_of_its_data(changed, tmp_path):
    model, data = network(), {"x": X, "y": Y, "sample_weight": ONES}
    first = half(model, tuple(data.values()), epochs=1, folder=tmp_path)
    again = half(model, tuple(data.values()), epochs=1, folder=tmp_path)
    assert again.history == first.history
    other = {**data, changed: data[changed][::-1] * 2}
    if changed == "y":
        other["y"] = 3 - Y
    words = f"started with hash_of_{changed}='[0-9a-f]+', not hash_of_{changed}='[0-9a-f]+'. Give"
    with pytest.raises(ValueError, match=words):
        half(model, tuple(other.values()), epochs=1, folder=tmp_path)
    # With a plan, only the training is in the folder.
    options = {"plan": first.plan, "epochs": 1, "batch_size": 16, "verbose": 0}
    with pytest.raises(ValueError, match=f"started with hash_of_{changed}"):
        keras_sparse.compress(model, tuple(other.values()), folder=tmp_path, **options)


def test_a_folder_without_hashes_goes_on(tmp_path, monkeypatch):
    model = network()
    with monkeypatch.context() as patched:
        patched.setattr(job, "data_hashes", lambda data: {})
        names = [name for name in job._OF_SCORES if name not in HASHES]
        patched.setattr(job, "_OF_SCORES", names)
        first = half(model, (X, Y), epochs=1, folder=tmp_path)
    assert half(model, (X, Y), epochs=1, folder=tmp_path).history == first.history


def test_batches_of_sorted_arrays_have_several_classes():
    found = first_batches((X, np.sort(Y)), batches=3, batch_size=16)
    assert all(len(set(found["y"][i : i + 16])) > 2 for i in (0, 16, 32))
    again = first_batches((X, np.sort(Y)), batches=3, batch_size=16)
    np.testing.assert_array_equal(found["x"], again["x"])


def test_hashes_are_of_the_values_and_of_all_arrays():
    words = np.array(["a", "b"] * 24, object)
    data = ({"a": X, "b": words}, Y)
    first = data_hashes(data)
    assert first == data_hashes(({"a": X.copy(), "b": words.copy()}, Y))
    assert first["hash_of_sample_weight"] is None
    last = X.copy()
    last[-1, -1] += 1
    for x in ({"a": last, "b": words}, {"a": X, "b": words[::-1]}):
        assert data_hashes((x, Y))["hash_of_x"] != first["hash_of_x"]
        assert data_hashes((x, Y))["hash_of_y"] == first["hash_of_y"]
    assert set(data_hashes(Counted()).values()) == {None}


def test_sample_weights_of_a_list_of_batches_and_distillation():
    model, distillation = network(), keras.distillation.LogitsDistillation()
    with pytest.raises(ValueError, match="`distillation` cannot be used with sample weights"):
        half(model, [(X, Y, ONES)] * 2, epochs=0, distillation=distillation)


def test_sample_weights_by_class_are_class_weights():
    weights = np.array([1.0, 0.5, 2.0, 0.0], "float32")
    model, other = network(), network()
    other.set_weights(model.get_weights())
    options = {"batch_size": 16, "shuffle": False, "verbose": 0}
    model.fit(X, Y, class_weight=dict(enumerate(weights)), **options)
    other.fit(X, Y, sample_weight=weights[Y], **options)
    for expected, found in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
    assert half(model, (X, Y, weights[Y]), epochs=1).model.count_params() < model.count_params()
