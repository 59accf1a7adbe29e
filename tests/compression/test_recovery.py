"""The optimizer of the training after a cut: its learning rate and its weight decay."""

import json
import warnings

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse
from keras_sparse import RDA, RigL, ShrinkingTrainer, surgery
from keras_sparse.channels import DeadChannels
from keras_sparse.compression import GroupNorm, reinitialized
from keras_sparse.compression.recovery import default_peak
from keras_sparse.loss_scaling import bare_optimizer

RNG = np.random.default_rng(0)
DATA = RNG.normal(size=(16, 4)).astype("float32"), RNG.normal(size=(16, 1)).astype("float32")


def network(optimizer=None):
    """Three hidden layers, two of them in a nested model, with names that are used twice."""
    inner = keras.Sequential(
        [keras.Input((4,)), layers.Dense(8, name="second"), layers.Dense(8, name="last")],
        name="inner",
    )
    model = keras.Sequential(
        [keras.Input((4,)), inner, layers.Dense(8, name="second"), layers.Dense(1, name="last")]
    )
    if optimizer is not None:
        model.compile(optimizer, "mse", run_eagerly=True)
    return model


def compress(model, **arguments):
    given = {
        "target": {"macs": 0.5}, "epochs": 0, "importance": GroupNorm(),
        "allocation": "uniform", "verbose": 0,
    }  # fmt: skip
    return keras_sparse.compress(model, DATA, **{**given, **arguments})


@pytest.mark.parametrize(
    ("optimizer", "lowered"),
    [
        (keras.optimizers.SGD(0.1), 1e-4),
        (keras.optimizers.Adam(), 1e-5),
        (keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(1e-6, 10, 0.5)), None),
        (RigL(density=0.5), 1e-6),
    ],
)
def test_a_rate_that_a_callback_lowered_is_told(optimizer, lowered):
    model = network(optimizer)
    if lowered:
        optimizer.learning_rate = lowered
    peak = 0.3 * float(optimizer.learning_rate)
    told = rf"peak of the learning rate is {peak:.3g}: 0\.3 times .* model's .*`learning_rate="
    with pytest.warns(UserWarning, match=told):
        assert compress(model).model.count_params() < model.count_params()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        compress(model, learning_rate=0.01)


def test_a_longer_training_that_hardly_learns_is_told():
    model = network(keras.optimizers.SGD(1e-4))
    told = r"peak of the learning rate is 0\.0001: the learning .* such as the largest rate"
    with pytest.warns(UserWarning, match=told):
        assert default_peak(model, 8) == pytest.approx(1e-4)


def test_the_rate_of_a_compression_depends_on_its_epochs():
    seen = {}

    def rates(epochs):
        class Seen(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                found = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
                seen.setdefault(epochs, []).append(found)

        compress(network("sgd"), epochs=epochs, batch_size=8, callbacks=[Seen()])

    for epochs in (7, 8):
        rates(epochs)
    assert max(seen[7]) == pytest.approx(0.003)
    assert max(seen[8]) == pytest.approx(0.01)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", keras.optimizers.Adam(2e-5), RigL()])
def test_a_usual_rate_is_taken_without_a_word(optimizer):
    model = network(optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        rate = float(model.optimizer.learning_rate)
        peaks = [default_peak(model, epochs) for epochs in (0, 1, 7, 8, 100)]
    assert peaks == pytest.approx([0.3 * rate] * 3 + [rate] * 2)


def test_without_a_rate_the_schedule_is_named():
    schedule = keras.optimizers.schedules.CosineDecay(0.0, 100, warmup_target=0.1, warmup_steps=10)
    told = "not given, and the largest .* SGD in the 0 steps of its schedule CosineDecay is 0"
    with pytest.raises(ValueError, match=f"{told}.*warm-up.*Give `learning_rate=`"):
        compress(network(keras.optimizers.SGD(schedule)))
    with pytest.raises(ValueError, match="not given, and the learning rate of the model's SGD is"):
        compress(network(keras.optimizers.SGD(0.0)))
    assert compress(network(keras.optimizers.SGD(schedule)), learning_rate=0.1)


def test_a_model_that_is_not_compiled_is_told_what_it_lacks():
    with pytest.raises(ValueError, match=r"has no loss: call `model\.compile"):
        keras_sparse.plan(network(), DATA, target={"macs": 0.5})
    with pytest.raises(ValueError, match=r"has no optimizer: call `model\.compile"):
        compress(network(), learning_rate=0.1)


def decayed(model):
    """Indices of the weights that change if the gradient is 0, by weight decay alone."""
    for weight in model.trainable_weights:
        weight.assign(keras.ops.ones_like(weight))
    model.optimizer.build(model.trainable_weights)
    model.optimizer.iterations.assign(0)  # at the end of a recovery the learning rate is 0
    model.optimizer.apply([keras.ops.zeros_like(w) for w in model.trainable_weights])
    return {i for i, w in enumerate(model.trainable_weights) if not np.allclose(w, 1.0, atol=1e-7)}


def decaying(kind):
    sgd = keras.optimizers.SGD(0.01, weight_decay=0.1)
    return sgd if kind == "sgd" else RigL(0.01, density=1.0, inner=sgd)


EXCLUDED = {
    "by_name": (lambda model: {"var_names": ["bias"]}, {0, 2, 4, 6}),
    "one_by_one": (lambda model: {"var_list": model.weights[:4:2]}, {1, 3, 4, 5, 6, 7}),
}


@pytest.mark.parametrize("kind", ["sgd", "masks"])
@pytest.mark.parametrize("way", EXCLUDED)
def test_what_is_excluded_from_weight_decay_stays_so(kind, way):
    arguments, expected = EXCLUDED[way]
    optimizer = decaying(kind)
    model = network(optimizer)
    optimizer.exclude_from_weight_decay(**arguments(model))
    optimizer.build(model.trainable_weights)
    results = [
        compress(model, schedule=schedule, epochs=epochs).model
        for schedule, epochs in (("one_shot", 0), ("iterative", 4), ("growing", 2))
    ]
    results.append(reinitialized(results[0], like=model))
    first = model.layers[0].layers[0]
    first.set_weights([array * (np.arange(8) > 2) for array in first.get_weights()])
    compact, report = surgery.remove_dead_channels(model)
    compact.compile(surgery.slice_optimizer(optimizer, report, compact), "mse")
    assert compact.count_params() < model.count_params()
    assert [decayed(found) for found in (*results, compact, model)] == [expected] * 6


def clash():
    """A nested layer and an outer layer of the same name."""
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(8, name="same")], name="inner")
    return keras.Sequential(
        [keras.Input((4,)), inner, layers.Dense(8, name="same"), layers.Dense(1, name="last")]
    )


def sparse(optimizer):
    """Names of the variables that an optimizer makes sparse."""
    optimizer = bare_optimizer(optimizer)
    if isinstance(optimizer, RigL):
        return list(optimizer.masks)
    return [variable.path for variable in optimizer.thresholded_variables]


SPARSE = {
    "masks": lambda exclude: RigL(0.01, density=0.5, exclude=exclude),
    "thresholds": lambda exclude: RDA(0.01, l1=1e-6, exclude=exclude),
    "loss_scale": lambda exclude: keras.optimizers.LossScaleOptimizer(
        RigL(density=0.5, exclude=exclude)
    ),
}


@pytest.mark.parametrize("kind", SPARSE)
@pytest.mark.parametrize("trained", [True, False])
def test_what_is_excluded_from_sparsity_stays_so(kind, trained):
    model = clash()
    optimizer = SPARSE[kind]([model.layers[1], model.layers[2]])
    model.compile(optimizer, "mse", run_eagerly=True)
    if trained:
        optimizer.build(model.trainable_variables)
    results = [
        compress(model, schedule=schedule, epochs=epochs, learning_rate=0.01).model
        for schedule, epochs in (("one_shot", 1), ("iterative", 4), ("growing", 2))
    ]
    for result in results:
        chosen = sparse(result.optimizer)
        # The nested layer comes first in the compact model.
        assert chosen == [result.trainable_variables[0].path]
    new = reinitialized(results[0], like=model)
    new.fit(*DATA, verbose=0)
    assert sparse(new.optimizer) == [new.trainable_variables[0].path]


def test_a_layer_called_before_and_after_a_nested_one_stays_excluded_from_weight_decay():
    inputs = keras.Input((4,))
    twice = layers.Dense(4, name="same")
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="same")], name="inner")
    outputs = layers.Dense(1, name="last")(twice(inner(twice(inputs))))
    model = keras.Model(inputs, outputs)
    model.compile(decaying("sgd"), "mse", run_eagerly=True)
    model.optimizer.exclude_from_weight_decay([twice.kernel])
    result = compress(model, target={"macs": 0.9}).model
    excluded = [
        {new.trainable_variables[i].path for i in {*range(6)} - decayed(new)}
        for new in (result, reinitialized(result, like=model))
    ]
    assert excluded == [{"same/kernel"}] * 2


@pytest.mark.parametrize("of_an_older_version", [False, True])
def test_a_training_that_goes_on_excludes_the_same_from_weight_decay(tmp_path, of_an_older_version):
    def trainer():
        model = network(decaying("sgd"))
        model.optimizer.exclude_from_weight_decay(model.weights[:1], ["bias"])
        return ShrinkingTrainer(model, folder=tmp_path)

    trainer().fit(*DATA, epochs=1, verbose=0)
    if of_an_older_version:
        state = json.loads((tmp_path / "state.json").read_text())
        del state["without_weight_decay"]
        (tmp_path / "state.json").write_text(json.dumps(state))
    again = trainer()
    assert int(again.model.optimizer.iterations) == 1
    assert decayed(again.model) == {2, 4, 6}


def with_a_dead_branch():
    """A nested branch that surgery removes has a layer of the same name as an outer layer."""
    inputs = keras.Input((4,))
    dead = layers.Dense(4, use_bias=False, kernel_initializer="zeros", name="dead")
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="same"), dead], name="inner")
    x = layers.Dense(4, name="first")(inputs)
    x = layers.Dense(4, activation="relu", name="same")(layers.Add()([x, inner(x)]))
    return keras.Model(inputs, layers.Dense(1, name="last")(x))


@pytest.mark.parametrize("kind", ["sgd", "masks"])
def test_a_training_that_goes_on_without_a_branch_excludes_the_same(kind, tmp_path):
    def trainer():
        model = with_a_dead_branch()
        model.compile(decaying(kind), "mse", run_eagerly=True)
        # The branch stays dead.
        model.optimizer.learning_rate = 1e-12
        model.optimizer.exclude_from_weight_decay([model.get_layer("same").kernel])
        found = DeadChannels(epochs=1)
        return ShrinkingTrainer(model, found, must_pay=False, folder=tmp_path)

    first = trainer()
    first.fit(*DATA, epochs=2, verbose=0)
    again = trainer()
    for model in (first.model, again.model):
        assert len(model.trainable_variables) == 6
        model.optimizer.learning_rate = 0.01
        assert decayed(model) == {0, 1, 3, 4, 5}
