"""Data that do not fit: told before any work, by `compress` and by `plan`."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse
from keras_sparse.compression import GroupNorm, Importance
from keras_sparse.compression.checks import check_data
from keras_sparse.data import Batches

X = np.random.default_rng(0).normal(size=(12, 8)).astype("float32")
Y = (X[:, 0] > 0).astype("int32")
CLASSES = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def with_nan(array):
    array = array.astype("float32")
    array.flat[9] = np.nan
    return array


def two_inputs(as_dict=False):
    inputs = {"zeta": keras.Input((8,), name="zeta"), "alpha": keras.Input((4,), name="alpha")}
    outputs = layers.Dense(2)(layers.Concatenate()(list(inputs.values())))
    model = keras.Model(inputs if as_dict else list(inputs.values()), outputs)
    model.compile("adam", "mse")
    return model


@pytest.fixture(scope="module")
def classifier():
    model = keras.Sequential([keras.Input((8,)), layers.Dense(16), layers.Dense(2)])
    model.compile("adam", CLASSES)
    return model


WRONG = {
    "classes from 1": ((X, Y + 1), "y of `data` must hold classes from 0 to 1.*from 1 to 2"),
    "negative classes": ((X, Y - 1), "classes from 0 to 1"),
    "one-hot": ((X, np.eye(2)[Y]), r"the number of a class .*argmax.*\(12, 2\) for 2 classes"),
    "words": ((X, Y.astype(str)), "classes from 0 to 1.*<U"),
    "targets with NaN": ((X, with_nan(Y)), "y of `data` must be finite.*first in sample 9"),
    "samples with NaN": ((with_nan(X), Y), "x of `data` must be finite.*1 of 12.*sample 1"),
    "complex": ((X * 1j, Y), "x of `data` must hold real numbers"),
    "fewer targets": ((X, Y[:-1]), r"as many targets as samples.*\[12\].*\[11\]"),
    "fewer weights": ((X, Y, np.ones(3)), r"sample_weight: \[3\]"),
    "none": ((X[:0], Y[:0]), "x of `data` must hold at least one sample"),
    "no arrays": (([], []), "x of `data` must hold at least one sample"),
    "another width": ((X[:, :5], Y), "`data` does not fit the model"),
    "images as targets": ((X, np.zeros((12, 3, 3))), "`data` does not fit the model"),
    "samples alone": (X, r"`data` must be \(x, y\)"),
    "numbers in lists": ((X.tolist(), Y), "x of `data` must be an array: .*numpy.asarray"),
    "targets in a list": ((X, Y.tolist()), "y of `data` must be an array: .*a list with [01]"),
    "one of a pair": ((X,), r"`data` must be \(x, y\)"),
    "nothing": (None, r"`data` must be \(x, y\)"),
}


@pytest.mark.parametrize("call", [keras_sparse.compress, keras_sparse.plan])
def test_a_path_is_no_model(call):
    words = r"`model` must be a `keras.Model`.*m\.keras.*load_model"
    with pytest.raises(ValueError, match=words):
        call("m.keras", (X, Y), target={"macs": 0.5})
    with pytest.raises(ValueError, match=words):
        keras_sparse.surgery.remove_dead_channels("m.keras")


@pytest.mark.parametrize("call", [keras_sparse.compress, keras_sparse.plan])
def test_a_table_of_latency_stands_in_a_dict(call, classifier):
    data, target = (X, Y), {"latency": 0.5}
    with pytest.raises(ValueError, match=r"`latency` must be a dict.*Received: .*type object"):
        call(classifier, data, target=target, latency=object())
    with pytest.raises(ValueError, match=r"give `latency=\{'latency': table\}`"):
        call(classifier, data, target=target)


@pytest.mark.parametrize(("data", "words"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_named(data, words, classifier):
    with pytest.raises(ValueError, match=words):
        check_data("data", data, classifier)


@pytest.mark.parametrize(
    "loss", ["categorical_crossentropy", keras.losses.CategoricalCrossentropy()]
)
@pytest.mark.parametrize("targets", [Y, Y[:, None]], ids=["numbers", "a column"])
def test_classes_where_the_loss_wants_one_hot(loss, targets):
    model = keras.Sequential([keras.Input((8,)), layers.Dense(2, activation="softmax")])
    model.compile("adam", loss)
    check_data("data", (X, np.eye(2)[Y]), model)
    with pytest.raises(ValueError, match=r"a number for each class .*to_categorical"):
        check_data("data", (X, targets), model)


class Pairs(keras.utils.PyDataset):
    """Batches of some arrays, or single samples."""

    def __init__(self, *arrays, size=4):
        super().__init__()
        self.arrays, self.size = arrays, size

    def __len__(self):
        return 3

    def __getitem__(self, index):
        rows = slice(self.size * index, self.size * (index + 1)) if self.size else index
        found = tuple(array[rows] for array in self.arrays)
        return found if len(found) > 1 else found[0]


def tensorflow_batches(*arrays, size=4):
    import tensorflow as tf

    samples = tf.data.Dataset.from_tensor_slices(arrays if len(arrays) > 1 else arrays[0])
    return samples.batch(size) if size else samples


def listed(*arrays, size=4):
    return list(Pairs(*arrays, size=size))


DATA_SETS = [Pairs, pytest.param(tensorflow_batches, marks=pytest.mark.tensorflow)]
KINDS = [listed, *DATA_SETS]
WRONG_BATCHES = {
    "another width": ((X[:, :5], Y), "the first batch of `data` does not fit the model"),
    "classes from 1": ((X, Y + 1), "y of the first batch of `data` must hold classes from 0 to 1"),
    "one-hot": ((X, np.eye(2)[Y]), "the number of a class .*argmax"),
    "with NaN": ((with_nan(X), Y), "x of the first batch of `data` must be finite"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("arrays", "words"), WRONG_BATCHES.values(), ids=WRONG_BATCHES)
def test_the_first_batch_is_checked_as_arrays_are(arrays, words, kind, classifier):
    with pytest.raises(ValueError, match=words):
        check_data("data", kind(*arrays), classifier)
    check_data("data", kind(X, Y), classifier)
    check_data("data", kind(X, Y, np.ones(12)), classifier)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("targets", [Y, np.eye(2)[Y]], ids=["numbers", "one-hot"])
def test_single_samples_are_no_batches(targets, kind, classifier):
    with pytest.raises(ValueError, match=r"`data` must give batches with .*\.batch\(128\)"):
        check_data("data", kind(X, targets, size=None), classifier)


@pytest.mark.parametrize("kind", DATA_SETS)
def test_batches_without_targets(kind, classifier):
    with pytest.raises(ValueError, match=r"`data` must give batches \(x, y\).*type ndarray"):
        check_data("data", kind(X), classifier)


def test_a_batch_may_say_that_it_has_no_weights(classifier):
    check_data("data", [(X, Y, None)], classifier)


def test_data_sets_of_validation_are_checked_before_any_work(classifier):
    class Unused(keras_sparse.compression.Importance):
        def scores(self, model, groups, data=None):
            raise AssertionError("channels were scored")

    for validation, words in (
        (Pairs(X, Y + 1), "y of the first batch of `validation_data` must hold classes"),
        (((X, Y) for _ in range(3)), "an iterator gives its batches once.*`list"),
        (iter([(X, Y)]), "an iterator gives its batches once.*list_iterator"),
    ):
        with pytest.raises(ValueError, match=words):
            keras_sparse.compress(
                classifier,
                Pairs(X, Y),
                target={"parameters": 0.5},
                importance=Unused(),
                validation_data=validation,
                epochs=1,
            )


def test_compress_and_plan_check(classifier):
    target = {"parameters": 0.5}
    for call in (keras_sparse.compress, keras_sparse.plan):
        with pytest.raises(ValueError, match="classes from 0 to 1"):
            call(classifier, (X, Y + 1), target=target)
    with pytest.raises(ValueError, match="x of `validation_data` must be finite"):
        keras_sparse.compress(
            classifier, (X, Y), target=target, validation_data=(with_nan(X), Y), epochs=1
        )


@pytest.mark.parametrize("as_dict", [False, True])
def test_inputs_go_by_name(as_dict):
    model, y = two_inputs(as_dict), X[:, :2]
    check_data("data", ({"zeta": X, "alpha": X[:, :4]}, y), model)
    for names, words in (
        (["zeta"], "x of `data` has no alpha"),
        (["zeta", "alpha", "beta"], "x of `data` has beta, which is no input"),
    ):
        with pytest.raises(ValueError, match=words):
            check_data("data", (dict.fromkeys(names, X[:, :4]), y), model)


def test_targets_by_name_are_those_of_the_outputs():
    inputs = keras.Input((8,))
    hidden = layers.Dense(16)(inputs)
    heads = [layers.Dense(3, name="age")(hidden), layers.Dense(2, name="sex")(hidden)]
    model = keras.Model(inputs, heads)
    model.compile("adam", {"age": CLASSES, "sex": CLASSES})
    for y, words in (
        ({"age": Y}, "has no sex"),
        ({"age": Y, "sex": Y, "six": Y}, "unknown six"),
        ({"age": Y, "sex": Y + 1}, r"y\['sex'\] of `data` must hold classes from 0 to 1"),
    ):
        with pytest.raises(ValueError, match=words):
            check_data("data", (X, y), model)
    # A loss for each output by name, in the trials of a plan as well.
    data = (X, {"age": Y, "sex": Y})
    assert keras_sparse.plan(model, data, target={"parameters": 0.5}).widths


def test_targets_of_a_dict_of_outputs_go_by_its_keys():
    inputs = keras.Input((8,))
    hidden = layers.Dense(16)(inputs)
    kind, box = layers.Dense(3, name="a")(hidden), layers.Dense(1, name="b")(hidden)
    model = keras.Model(inputs, {"kind": kind, "box": box})
    fitting, box = {"kind": Y, "box": X[:, :1]}, X[:, :1]
    # Keras takes lists in the order of the sorted keys.
    for loss in ({"kind": CLASSES, "box": "mse"}, ["mse", CLASSES], {"kind": CLASSES}):
        model.compile("adam", loss)
        check_data("data", (X, fitting), model)
        check_data("data", (X, [box, Y]), model)
        for y, words in (
            ({"kind": Y + 2, "box": box}, r"y\['kind'\] of `data` must hold classes from 0 to 2"),
            ([box, Y + 2], r"y\['kind'\] of `data` must hold classes from 0 to 2"),
            ({"box": box}, "has no kind. The model's outputs are box, kind"),
            ({**fitting, "a": Y}, "unknown a"),
        ):
            with pytest.raises(ValueError, match=words):
                check_data("data", (X, y), model)


def test_each_target_of_a_shared_layer_is_checked():
    head, inputs = layers.Dense(2, name="head"), [keras.Input((8,)), keras.Input((8,))]
    model = keras.Model(inputs, [head(tensor) for tensor in inputs])
    model.compile("adam", CLASSES)
    check_data("data", ([X, X], [Y, Y]), model)
    with pytest.raises(ValueError, match="must hold classes from 0 to 1"):
        check_data("data", ([X, X], [Y + 1, Y]), model)


def test_data_sets(classifier):
    check_data("data", Batches(X, Y, batch_size=4), classifier)
    check_data("data", [(X, Y)] * 4, classifier)
    with pytest.raises(ValueError, match="at least one batch"):
        check_data("data", [], classifier)
    with pytest.raises(ValueError, match="scores that are NaN"):
        keras_sparse.plan(
            classifier, Batches(with_nan(X), Y, batch_size=4), target={"parameters": 0.5}
        )


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_list_of_batches(number, classifier):
    batches = [(X, Y)] * number
    result = keras_sparse.compress(
        classifier,
        batches,
        target={"parameters": 0.5},
        validation_data=batches,
        epochs=1,
        verbose=0,
    )
    assert result.model.count_params() <= 0.5 * classifier.count_params()


@pytest.mark.tensorflow
def test_a_data_set_without_an_end_is_refused(classifier):
    import tensorflow as tf

    endless = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4).repeat()
    check_data("data", endless.take(3), classifier)
    with pytest.raises(ValueError, match=r"`data.take\(n\)`"):
        check_data("data", endless, classifier)


class Scores(Importance):
    """An importance that a function computes."""

    def __init__(self, function):
        self.function = function

    def scores(self, model, groups, data=None):
        return self.function(groups)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda groups: {group: np.ones(3) for group in groups}, r"shape \(16,\).*shape \(3,\)"),
        (lambda groups: {g: np.ones((g.size, 1)) for g in groups}, r"Received: shape \(16, 1\)"),
        (lambda groups: {g.name: np.ones(g.size) for g in groups}, "keys such as 'hidden', and no"),
        (lambda groups: dict.fromkeys(groups[1:]), "a dict without keys, and no scores of 1 of 1"),
        (lambda groups: None, "a NoneType without keys"),
        (lambda groups: {g: np.full(g.size, np.nan) for g in groups}, "NaN or infinite"),
    ],
)
def test_scores_of_ones_own_that_do_not_fit(function, message):
    with pytest.raises(ValueError, match=rf"Scores\(.*{message}"):
        plan_of(hidden(16), importance=Scores(function))
    assert plan_of(hidden(16), importance=Scores(lambda groups: {groups[0]: [1] * 16})).widths == 8


def hidden(units, name="hidden"):
    model = keras.Sequential([keras.Input((8,)), layers.Dense(units, name=name), layers.Dense(2)])
    model.compile("sgd", CLASSES)
    return model


def plan_of(model, **arguments):
    given = {"target": {"macs": 0.5}, "importance": GroupNorm(), "allocation": "uniform"}
    return keras_sparse.plan(model, **{**given, **arguments})


@pytest.mark.parametrize("other", [hidden(8), hidden(32), hidden(16, "another")])
def test_a_plan_of_another_model_is_refused(other):
    chosen = plan_of(hidden(16))
    with pytest.raises(
        ValueError, match=r"'hidden' is not of this model.*or a plan for this model"
    ):
        chosen.apply(other)
    with pytest.raises(ValueError, match="'hidden' is not of this model"):
        keras_sparse.compress(other, (X, Y), plan=chosen, schedule="growing", epochs=2, verbose=0)


def with_two(nested):
    first = layers.Dense(8, name="first")
    if nested:
        first = keras.Sequential([keras.Input((8,)), first], name="inner")
    chain = [keras.Input((8,)), first, layers.Dense(8, name="second"), layers.Dense(2, name="out")]
    model = keras.Sequential(chain)
    model.compile("sgd", CLASSES)
    return model


@pytest.mark.parametrize(
    "exclude",
    [
        lambda model: model.layers[0],
        lambda model: [model.layers[0]],
        lambda model: (model.layers[0].name,),
        lambda model: [model.layers[0], model.layers[0].name],
    ],
)
@pytest.mark.parametrize("schedule", ["one_shot", "iterative"])
def test_layers_to_exclude(exclude, schedule, tmp_path):
    model = with_two(nested=False)
    chosen = plan_of(model, target={"macs": 0.7}, exclude=exclude(model))
    assert [(group.name, group.size) for group in chosen.groups] == [("second", 8)]
    result = keras_sparse.compress(
        model, (X, Y), target={"macs": 0.7}, importance=GroupNorm(), allocation="uniform",
        exclude=exclude(model), schedule=schedule, epochs=4, folder=tmp_path, verbose=0,
    )  # fmt: skip
    assert result.report.channels["first"] == (8, 8)


def test_layers_of_nested_models_to_exclude():
    model = with_two(nested=True)
    inner = model.layers[0]
    for layer in (inner, inner.layers[0]):
        chosen = plan_of(model, target={"macs": 0.7}, exclude=layer)
        assert [group.name for group in chosen.groups] == ["second"]
    assert len(plan_of(model, exclude=None).groups) == 2


@pytest.mark.parametrize(
    ("exclude", "message"),
    [
        (3, "must have names of layers, or layers of the model. Received: 3"),
        (
            [layers.Dense(2, name="alien")],
            r"'alien', which is no layer .*\['first', 'out', 'second'",
        ),
        ("third", r"`exclude` names \['third'\]"),
    ],
)
def test_what_cannot_be_excluded(exclude, message):
    with pytest.raises(ValueError, match=message):
        plan_of(with_two(nested=False), exclude=exclude)
