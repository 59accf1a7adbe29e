"""Distillation from the given model."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse
from keras_sparse.compression import GroupNorm
from keras_sparse.compression.distilling import distiller
from tests.compression.blocks import Block
from tests.killing import AfterEpochs, KilledError

LOGITS = keras.distillation.LogitsDistillation(temperature=2.0)


def network(**last):
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(8, name="wide", kernel_regularizer=keras.regularizers.L2(0.1)),
            layers.Dropout(0.5),
            layers.Dense(3, name="last", **last),
        ]
    )


def compiled(model, from_logits=True, **arguments):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
    # Without graphs a training as short as these takes a fraction of the time.
    given = {"optimizer": "adam", "metrics": ["accuracy"], "run_eagerly": True, **arguments}
    model.compile(loss=loss, **given)
    return model


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(40, 4)).astype("float32"), rng.integers(0, 3, 40)


def compress(model, data, **arguments):
    given = {
        "target": {"macs": 0.5}, "importance": GroupNorm(), "allocation": "uniform", "epochs": 2,
        "batch_size": 20, "learning_rate": 0.01, "distillation": LOGITS, "verbose": 0,
    }  # fmt: skip
    return keras_sparse.compress(model, data, **{**given, **arguments})


def test_a_killed_distillation_goes_on_to_the_same_bits(tmp_path, data):
    model = compiled(network(), run_eagerly=False)

    def run(folder, callbacks=()):
        keras.utils.set_random_seed(1)
        return compress(model, data, folder=tmp_path / folder, callbacks=callbacks)

    whole = run("whole")
    with pytest.raises(KilledError):
        run("killed", [AfterEpochs(1)])
    again = run("killed")
    assert again.history == whole.history
    assert {"accuracy", "student_loss", "distillation_loss"} < set(whole.history)
    for a, b in zip(whole.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    # The result is a model by itself; the given one may be trained on.
    again.model.fit(*data, verbose=0)
    again.model.save(tmp_path / "small.keras")
    assert keras.saving.load_model(tmp_path / "small.keras").count_params() == 35
    assert all(layer.trainable for layer in model.layers)


def test_the_loss_is_the_weighted_sum_and_regularizers(data):
    model = compiled(network())
    result = compress(
        model, data, epochs=1, batch_size=40, validation_data=data, student_loss_weight=0.25
    )
    found = {name: values[0] for name, values in result.history.items()}
    losses = 0.25 * found["val_student_loss"] + 0.75 * found["val_distillation_loss"]
    added = 0.1 * np.square(result.model.get_layer("wide").kernel).sum()
    assert added > 0.01
    assert found["val_loss"] == pytest.approx(losses + added, rel=1e-4)
    assert found["val_distillation_loss"] == pytest.approx(
        divergence(model, result, data), rel=1e-4
    )
    assert result.metrics["recovered"]["accuracy"] == pytest.approx(found["val_accuracy"])


def divergence(model, result, data, temperature=2.0):
    """Equation 2 of arXiv 1503.02531 less the teacher's entropy, times the squared temperature."""
    outputs = (m.predict(data[0], verbose=0) for m in (model, result.model))
    teacher, student = (np.exp(y / temperature) for y in outputs)
    p, q = (y / y.sum(axis=-1, keepdims=True) for y in (teacher, student))
    return temperature**2 * np.mean(np.sum(p * np.log(p / q), axis=-1))


@pytest.mark.parametrize(
    "loss", ["kl_divergence", keras.losses.kl_divergence, keras.losses.KLDivergence()]
)
def test_the_divergence_is_that_of_probabilities(data, loss):
    model = compiled(network())
    distillation = keras.distillation.LogitsDistillation(3.0, loss)
    result = compress(model, data, distillation=distillation, epochs=1, validation_data=data)
    found = result.history["val_distillation_loss"][0]
    assert found == pytest.approx(divergence(model, result, data, 3.0), rel=1e-4)
    assert found > 0


@pytest.mark.parametrize(
    "loss", ["categorical_crossentropy", keras.losses.CategoricalCrossentropy(from_logits=True)]
)
def test_a_crossentropy_of_logits_is_refused(data, loss):
    distillation = keras.distillation.LogitsDistillation(3.0, loss)
    with pytest.raises(ValueError, match=r"has the loss .*[cC]rossentropy.*, and they are no prob"):
        compress(compiled(network()), data, distillation=distillation)


def test_features_of_a_layer_that_stays_whole(data):
    def features(name):
        return keras.distillation.FeatureDistillation("mse", name, name)

    model = compiled(network())
    losses = [LOGITS, features("last")]
    assert "distillation_loss" in compress(model, data, distillation=losses, epochs=1).history
    with pytest.raises(ValueError, match=r"exclude=\['wide'\]"):
        compress(model, data, distillation=features("wide"))
    with pytest.raises(ValueError, match=r"`distillation` does not fit the model: .*No such layer"):
        compress(model, data, distillation=features("gone"))


def same_names():
    """A nested and an outer layer of one name."""
    parts = [layers.Dense(8, name="same"), layers.Dense(8, name="inside")]
    inner = keras.Sequential([keras.Input((4,)), *parts], name="inner")
    x = keras.Input((4,))
    return keras.Model(x, layers.Dense(3)(layers.Dense(8, name="same")(inner(x))))


@pytest.mark.parametrize("name", ["same", "inner/same"])
def test_features_of_a_layer_in_a_model_with_equal_names(data, name):
    features = keras.distillation.FeatureDistillation("mse", name, name)
    model = compiled(same_names())
    arguments = {"epochs": 0, "exclude": name, "distillation": None}
    student = compress(model, data, **arguments).model
    trained = distiller(model, student, features, 0.5)
    named = {"same": model.get_layer("same"), "inner/same": model.get_layer("inner").layers[0]}
    (loss,) = trained.distillation_losses
    kernel = trained.teacher.get_layer(loss.teacher_layer_name).kernel
    np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (kernel, named[name].kernel)))
    assert student.get_layer(loss.student_layer_name).units == 8
    assert features.teacher_layer_name == name
    history = compress(model, data, epochs=1, exclude=name, distillation=features).history
    assert "distillation_loss" in history
    with pytest.raises(ValueError, match=rf"exclude=\['{name}'\]"):
        compress(model, data, distillation=features)


def test_features_of_a_layer_that_is_not_there_or_cannot_be_told(data):
    def features(name):
        return keras.distillation.FeatureDistillation("mse", name, name)

    model = compiled(same_names())
    with pytest.raises(ValueError, match=r"No such layer: 'same_1'. Give one of .*'inner/same'"):
        compress(model, data, distillation=features("same_1"))
    x = keras.Input((4,))
    y = layers.Dense(8, name="other")(layers.Dense(8, name="same")(Block(name="block")(x)))
    model = compiled(keras.Model(x, layers.Dense(3, name="last")(y)))

    def distilled(exclude, name):
        arguments = {"epochs": 0, "exclude": exclude, "distillation": None, "target": {"macs": 0.8}}
        student = compress(model, data, **arguments).model
        return distiller(model, student, features(name), 0.5)

    with pytest.raises(ValueError, match="A layer of layers, from which channels were removed"):
        distilled("same", "same")
    distilled("same", "last")
    distilled(["same", "block/same", "block/inside"], "same")


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (lambda: compiled(network()), {"distillation": 2.0}, "must be a `keras.distillation"),
        (lambda: compiled(network()), {"distillation": []}, "must have at least one loss"),
        (lambda: compiled(network()), {"student_loss_weight": 1.5}, "`student_loss_weight`"),
        (lambda: compiled(network(), loss_weights=[2.0]), {}, "does not use `loss_weights`"),
        (lambda: compiled(network(activation="softmax"), False), {}, "ends in logits"),
    ],
)
def test_what_keras_cannot_distil(data, model, arguments, message):
    with pytest.raises(ValueError, match=message):
        compress(model(), data, **arguments)


def test_several_outputs_are_not_distilled(data):
    x = keras.Input((4,))
    y = layers.Dense(8)(x)
    model = keras.Model(x, [layers.Dense(3)(y), layers.Dense(3)(y)])
    model.compile(optimizer="adam", loss=["mse", "mse"])
    targets = np.zeros((40, 3))
    with pytest.raises(ValueError, match="needs a model with one output"):
        compress(model, (data[0], [targets, targets]))


class OfOnesOwn(keras.Model):
    """A subclassed model."""

    def __init__(self, **last):
        super().__init__()
        self.wide, self.last = layers.Dense(8), layers.Dense(3, **last)

    def call(self, inputs):
        return self.last(self.wide(inputs))


def test_a_subclassed_teacher(data):
    model = OfOnesOwn()
    model(data[0])
    assert "distillation_loss" in compress(compiled(model), data, epochs=1).history
    model = OfOnesOwn(activation="softmax")
    model(data[0])
    with pytest.raises(ValueError, match="ends in logits"):
        compress(compiled(model, False), data)


def test_sample_weights_are_refused(data):
    model, weighted = compiled(network()), (*data, np.ones(40))
    with pytest.raises(ValueError, match="sample weights"):
        compress(model, weighted)
    with pytest.raises(ValueError, match="sample weights"):
        compress(model, data, validation_data=weighted)
    with pytest.warns(UserWarning, match="`student_loss_weight` is for `distillation`"):
        compress(model, weighted, distillation=None, student_loss_weight=0.3, epochs=0)
