"""A trained model and a budget in, a compact trained model out."""

import json

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse
from keras_sparse import channels, surgery
from keras_sparse.compression import GroupNorm, Importance, Random, Taylor, reinitialized
from keras_sparse.compression.importance import as_importance
from keras_sparse.compression.planning import measured_costs, removable_groups, remove_channels
from keras_sparse.compression.probe import unchanged
from keras_sparse.compression.recovery import base_learning_rate, recovery_optimizer
from keras_sparse.data import Batches
from tests.killing import AfterEpochs, KilledError

CRITERIA = [
    Taylor(batches=2),
    GroupNorm(),
    GroupNorm(1),
    Random(3),
    channels.IncomingNorm(),
    channels.BatchNormScale(),
    channels.LargestActivation(),
]


@pytest.mark.parametrize("criterion", CRITERIA, ids=repr)
def test_criteria_score_every_channel(trained, digits, criterion):
    groups = removable_groups(trained)
    before = [keras.ops.convert_to_numpy(v) for v in trained.variables]
    scores = as_importance(criterion).scores(trained, groups, digits[0])
    for group in groups:
        assert scores[group].shape == (group.size,)
        assert np.isfinite(scores[group]).all()
        assert (scores[group] >= 0).all()
    for variable, value in zip(trained.variables, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), value)


@pytest.mark.parametrize("frozen", ["", "first", "all"])
def test_taylor_is_the_squared_sum_of_weights_times_gradients(frozen):
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2, use_bias=False), layers.Dense(1)])
    model.layers[0].kernel.assign([[1.0, 2.0], [0.0, 0.0]])
    model.layers[1].kernel.assign([[3.0], [1.0]])
    model.compile(optimizer="sgd", loss="mse")
    x, y = np.array([[1.0, 0.0]], "float32"), np.array([[0.0]], "float32")
    (group,) = removable_groups(model)
    # Output 3 * 1 + 1 * 2 = 5; the loss' gradient is 10; w * g is 1 * 30 and 2 * 10.
    if frozen:
        (model if frozen == "all" else model.layers[0]).trainable = False
    before = [weight.trainable for weight in model.weights]
    scores = Taylor().scores(model, [group], (x, y))[group]
    np.testing.assert_allclose(scores, [900.0, 400.0], rtol=1e-5)
    assert before == [weight.trainable for weight in model.weights]


def test_a_criterion_of_ones_own(trained):
    class First(Importance):
        def scores(self, model, groups, data=None):
            return {group: np.arange(group.size)[::-1] for group in groups}

    chosen = keras_sparse.plan(trained, target={"macs": 0.6}, importance=First())
    for mask in chosen.removed.values():
        assert (np.diff(mask.astype(int)) >= 0).all()
    with pytest.raises(ValueError, match="`importance` must be"):
        keras_sparse.plan(trained, target={"macs": 0.6}, importance="taylor")


@pytest.mark.parametrize("criterion", [Taylor(3, 16), GroupNorm(1), Random(4)])
def test_criteria_survive_saving(criterion):
    config = keras.saving.serialize_keras_object(criterion)
    again = keras.saving.deserialize_keras_object(json.loads(json.dumps(config)))
    assert again.get_config() == criterion.get_config()


def test_plan_and_a_loop_of_ones_own(trained, digits):
    chosen = keras_sparse.plan(trained, digits[0], target={"macs": 0.5})
    compact, report = chosen.apply(trained)
    macs = surgery.count_macs(trained).total
    assert surgery.count_macs(compact).total <= 0.5 * macs
    assert surgery.count_macs(compact).total > 0.4 * macs
    assert report.channels["stem"] == report.channels["second"]
    assert "macs" in str(chosen)
    json.dumps(chosen.to_dict())


def test_compress_meets_the_budget_and_recovers(trained, digits):
    training, held_out = digits
    before = trained.get_weights()
    result = keras_sparse.compress(
        trained, training, target={"macs": 0.5, "parameters": 0.6}, epochs=4, batch_size=64,
        validation_data=held_out, verbose=0,
    )  # fmt: skip
    asked, full, after = result.costs["macs"]
    assert after <= asked == 0.5 * full
    assert result.costs["parameters"][2] <= 0.6 * trained.count_params()
    assert result.metrics["recovered"]["accuracy"] > result.metrics["cut"]["accuracy"]
    assert result.metrics["recovered"]["accuracy"] > result.metrics["given"]["accuracy"] - 0.1
    assert len(result.history["loss"]) == 4
    assert "recovered" in str(result)
    for a, b in zip(before, trained.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", ["arrays", pytest.param("batches", marks=pytest.mark.slow)])
def test_a_killed_recovery_goes_on_to_the_same_bits(tmp_path, kind):
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(8), layers.Dropout(0.5), layers.Dense(1)]
    )
    model.compile(optimizer="adam", loss="mse", run_eagerly=kind == "batches")
    x, y = np.random.default_rng(0).normal(size=(2, 40, 4)).astype("float32")
    data = (x, y[:, :1]) if kind == "arrays" else Batches(x, y[:, :1], 16, seed=3, first_epoch=4)

    def run(folder, callbacks=()):
        keras.utils.set_random_seed(1)
        return keras_sparse.compress(
            model, data, target={"macs": 0.5}, epochs=3, batch_size=16,
            importance=Taylor(batches=4, batch_size=16), learning_rate=0.01,
            folder=tmp_path / folder, callbacks=callbacks, verbose=0,
        )  # fmt: skip

    whole = run("whole")
    with pytest.raises(KilledError):
        run("killed", [AfterEpochs(2)])
    again = run("killed")
    assert again.history == whole.history
    for a, b in zip(whole.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_loaded_model_goes_on_in_its_folder(tmp_path):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8), layers.Dense(1)], name="deep")
    model.compile(optimizer="adam", loss="mse", run_eagerly=True)
    model.save(tmp_path / "model.keras")
    x, y = np.random.default_rng(0).normal(size=(2, 16, 4)).astype("float32")

    def run(model, callbacks=()):
        return keras_sparse.compress(
            model, (x, y[:, :1]), target={"macs": 0.5}, epochs=2, learning_rate=0.01,
            importance=GroupNorm(), folder=tmp_path / "run", callbacks=callbacks, verbose=0,
        )  # fmt: skip

    with pytest.raises(KilledError):
        run(model, [AfterEpochs(1)])
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert [w.path for w in loaded.weights] != [w.path for w in model.weights]
    assert len(run(loaded).history["loss"]) == 2


def test_criteria_of_channels_score_the_layers_of_their_own_names():
    """Nested layers, two of them with the name of an outer one."""
    x = keras.Input((4,))
    deepest = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4, name="same"), layers.Dense(4, name="once")], name="low"
    )
    first = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="same")], name="first")
    second = keras.Sequential([keras.Input((4,)), deepest], name="second")
    y = layers.Dense(4, name="same")(second(first(x)))
    model = keras.Model(x, layers.Dense(1, name="last")(y))
    groups = [group for group in surgery.channel_groups(model) if not group.fixed]
    scores = as_importance(channels.IncomingNorm()).scores(model, groups)
    weights = {weight.path: np.array(weight) for weight in model.weights}
    assert [group.name for group in groups] == [
        "first/same", "second/low/same", "second/low/once", "same",
    ]  # fmt: skip
    for group in groups:
        kernel = weights[group.members[0].path]
        norms = np.linalg.norm(kernel, axis=0)
        np.testing.assert_allclose(scores[group], norms / norms.mean(), rtol=1e-5)


def test_criteria_count_all_outputs_of_a_depthwise_channel():
    x = keras.Input((6, 6, 3))
    y = layers.Conv2D(4, 1, name="made")(x)
    y = layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False, name="spread")(y)
    model = keras.Model(x, layers.Conv2D(2, 1)(y))
    (group,) = [group for group in surgery.channel_groups(model) if not group.fixed]
    kernel = model.get_layer("spread").kernel
    kernel.assign(np.array(kernel) * np.array([1, 1, 100, 1])[:, None])
    scores = as_importance(channels.IncomingNorm()).scores(model, [group])[group]
    assert scores.argmax() == 2
    assert scores[2] > 10 * np.delete(scores, 2).max()


@pytest.mark.parametrize("name", ["batches", "batch_size"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "3"])
def test_taylor_reads_one_batch_at_least(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        Taylor(**{name: value})


def test_several_outputs_and_regression():
    x = keras.Input((6,))
    y = layers.Dense(12, activation="relu", name="shared")(x)
    outputs = {"age": layers.Dense(1, name="age")(y), "kind": layers.Dense(3, name="kind")(y)}
    model = keras.Model(x, outputs)
    loss = {"age": "mse", "kind": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
    model.compile(optimizer="adam", loss=loss, loss_weights={"age": 1.0, "kind": 0.5})
    rng = np.random.default_rng(0)
    data = rng.normal(size=(64, 6)).astype("float32")
    labels = {"age": rng.normal(size=(64, 1)), "kind": rng.integers(0, 3, 64)}
    result = keras_sparse.compress(
        model, (data, labels), target={"parameters": 0.6}, epochs=1, verbose=0
    )
    assert set(result.model(data[:2])) == {"age", "kind"}


class Table:
    """Time of a device that takes a second for each output channel of two layers."""

    def __init__(self, error=1.0, can_time=True):
        self.error = error
        self.can_time = can_time

    def layer_seconds(self, layer, shapes):
        return float(shapes["kernel"][-1]) if layer in ("stem", "last") else 0.0

    def steps(self, layer):
        return [4, 8, 12, 24] if layer in ("stem", "last") else []

    def models_seconds(self, models):
        return [self.seconds(model) for model in models]

    def seconds(self, model):
        widths = {x.name: x.filters for x in model.layers if hasattr(x, "filters")}
        whole = widths["stem"] + widths["last"]
        return whole if whole == 36 else self.error * whole


def test_latency_is_met_as_it_is_measured(trained):
    def run(table):
        return keras_sparse.compress(
            trained, (np.zeros((1, 8, 8, 1)), np.zeros(1)), target={"latency": 0.7}, epochs=0,
            importance=GroupNorm(), allocation="uniform", latency={"latency": table}, verbose=0,
        )  # fmt: skip

    plain, slow = run(Table()), run(Table(error=1.3))
    for result in (plain, slow):
        asked, before, after = result.costs["latency"]
        assert (asked, before) == (pytest.approx(0.7 * 36), 36)
        assert after <= asked
    assert slow.model.count_params() < plain.model.count_params()
    with pytest.warns(UserWarning, match="above the 2.52e\\+04 ms that were requested"):
        run(Table(error=30.0))
    with pytest.warns(UserWarning, match="latency of the compact model is predicted, not measured"):
        elsewhere = run(Table(error=1.3, can_time=False))
    assert elsewhere.costs == plain.costs


def test_a_folder_is_of_its_latency_table(trained, tmp_path):
    def run(device):
        table = Table()
        table.machine = {"device": device}
        return keras_sparse.compress(
            trained, (np.zeros((1, 8, 8, 1)), np.zeros(1)), target={"latency": 0.7}, epochs=0,
            importance=GroupNorm(), allocation="uniform", latency={"latency": table}, verbose=0,
            folder=tmp_path,
        )  # fmt: skip

    assert run("phone").costs == run("phone").costs
    with pytest.raises(ValueError, match="latency"):
        run("board")


def carriers():
    """A model in which channels stay that carry constants under a padded border."""
    x = keras.Input((6, 6, 2))
    y = layers.Conv2D(8, 1, activation="sigmoid", name="a")(x)
    y = layers.Conv2D(8, 3, padding="same", activation="sigmoid", name="b")(y)
    y = layers.Flatten()(layers.Conv2D(4, 3, padding="same")(y))
    return keras.Model(x, layers.Dense(2)(y))


def parts():
    """A model with channels of one group that are read by different layers."""
    x = keras.Input((6, 6, 2))
    y = layers.Conv2D(8, 1, name="a")(x)
    y = keras.ops.concatenate(
        [y[..., :4], layers.Conv2D(4, 3, padding="same")(y[..., 4:])], axis=-1
    )
    return keras.Model(x, layers.Dense(2)(layers.Flatten()(y)))


def uniform(model, target, importance):
    return keras_sparse.plan(model, target=target, importance=importance, allocation="uniform")


@pytest.mark.parametrize(
    ("network", "target", "importance", "schedule"),
    [
        (carriers, {"parameters": 0.5}, GroupNorm(), "one_shot"),
        (carriers, {"macs": 0.5}, GroupNorm(), "growing"),
        (carriers, {"memory": 0.5}, GroupNorm(), "iterative"),
        (parts, {"macs": 0.6}, Random(0), "one_shot"),
        (parts, {"memory": 0.6}, Random(1), "one_shot"),
    ],
)
@pytest.mark.filterwarnings("error:The compact model's")
def test_counted_costs_are_met_as_they_are_counted(network, target, importance, schedule):
    model, (name,) = network(), target
    chosen = uniform(model, target, importance)
    compact, _ = remove_channels(model, chosen)
    assert chosen.costs[name][1] <= chosen.asked[name] < measured_costs(compact)[name]
    model.compile(optimizer="sgd", loss="mse")
    result = keras_sparse.compress(
        model, (np.ones((8, 6, 6, 2)), np.ones((8, 2))), target=target, epochs=5,
        importance=importance, allocation="uniform", schedule=schedule, verbose=0,
    )  # fmt: skip
    limit, before, after = result.costs[name]
    assert limit == target[name] * before
    assert before == measured_costs(model)[name]
    assert after == measured_costs(result.model)[name] <= limit


def test_a_plan_says_why_the_compact_model_misses_a_limit():
    reason = r"\(2 of a and 1 more layers: carries the constants under its padded border\)"
    model = carriers()
    with pytest.warns(UserWarning, match=f"parameters is .* requested. Channels stay .*{reason}"):
        uniform(model, {"parameters": 0.5}, GroupNorm()).apply(model)
    model = parts()
    with pytest.warns(UserWarning, match="macs is .* takes all channels of a group to cost the"):
        uniform(model, {"macs": 0.6}, Random(0)).apply(model)


def test_the_rate_of_the_base_training_is_found_again():
    rise = keras.optimizers.schedules.PiecewiseConstantDecay([60], [0.1, 0.3])
    accumulating = keras.optimizers.SGD(rise, gradient_accumulation_steps=2)
    variable = keras.Variable([1.0])
    accumulating.build([variable])
    for _ in range(100):
        accumulating.apply([keras.ops.ones(1)], [variable])
    assert base_learning_rate(accumulating) == pytest.approx(0.3)
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 100)
    optimizer = keras.optimizers.SGD(schedule, momentum=0.9)
    optimizer.build([keras.Variable([1.0])])
    optimizer.iterations.assign(100)
    assert base_learning_rate(optimizer) == pytest.approx(0.1)
    again = recovery_optimizer(optimizer, peak=0.03, steps=40, warmup=10)
    assert again.momentum == 0.9
    schedule = keras.saving.deserialize_keras_object(again.get_config()["learning_rate"])
    rates = [float(schedule(step)) for step in (0, 5, 10, 25, 40)]
    assert rates == pytest.approx([0.0, 0.015, 0.03, 0.015, 0.0], abs=1e-6)


def of_ones_own(y_true, y_pred):
    """A metric that is not registered."""
    return keras.ops.mean(y_pred)


class Largest(keras.metrics.Metric):
    """A metric that is not registered."""

    def __init__(self, name="largest", **kwargs):
        super().__init__(name=name, **kwargs)
        self.found = self.add_weight(name="found", initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Takes a batch."""
        self.found.assign(keras.ops.maximum(self.result(), keras.ops.max(y_pred)))

    def result(self):
        """The largest output."""
        return keras.ops.convert_to_tensor(self.found)


class WithoutConfig(Largest):
    """A metric whose config lacks an argument."""

    def __init__(self, floor):
        super().__init__()


class Rate(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that is not registered, without a config."""

    def __call__(self, step):
        return 0.5


def dense(metrics, weighted_metrics=None):
    model = keras.Sequential([keras.Input((2,)), layers.Dense(4), layers.Dense(1)])
    optimizer = keras.optimizers.SGD(Rate(), momentum=0.5)
    given = {"metrics": metrics, "weighted_metrics": weighted_metrics, "run_eagerly": True}
    model.compile(optimizer, "mse", **given)
    return model, (np.ones((2, 2), "float32"), np.ones((2, 1), "float32"))


def test_metrics_and_a_schedule_of_ones_own():
    largest = Largest()
    model, data = dense([of_ones_own, lambda y, p: keras.ops.max(p)], [largest, "mae"])
    assert keras_sparse.plan(model, data, target={"macs": 0.5}).widths == [2]
    arguments = {"target": {"macs": 0.5}, "validation_data": data, "epochs": 0, "verbose": 0}
    result = keras_sparse.compress(model, data, **arguments)
    names = {"loss", "of_ones_own", "lambda", "largest", "mae"}
    assert set(result.metrics["recovered"]) == names
    assert result.model.optimizer.momentum == 0.5
    new = reinitialized(result.model, model)
    assert set(new.evaluate(*data, verbose=0, return_dict=True)) == names
    assert float(new.optimizer.learning_rate) == 0.5
    assert base_learning_rate(model.optimizer) == 0.5
    assert base_learning_rate(keras.optimizers.SGD(lambda: 0.25)) == 0.25
    # A metric's state is its own model's.
    largest.found.assign(7.0)
    result.model.evaluate(*data, verbose=0)
    assert float(largest.found) == 7.0


def test_a_metric_that_cannot_be_made_again_is_named():
    model, data = dense([WithoutConfig(floor=0.0)])
    assert keras_sparse.plan(model, data, target={"macs": 0.5}).widths == [2]
    with pytest.raises(ValueError, match=r"metric 'largest' of the model .*give it a `get_config`"):
        keras_sparse.compress(model, data, target={"macs": 0.5}, epochs=0)


class Above(Largest):
    """A metric whose config lacks an argument with a default."""

    def __init__(self, threshold=0.9, **kwargs):
        super().__init__(**kwargs)
        self.threshold = threshold


class Scaled(keras.optimizers.SGD):
    """An optimizer whose config lacks an argument with a default."""

    def __init__(self, learning_rate=0.01, scale=1.0, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.scale = scale


class Power(keras.losses.Loss):
    """A loss whose config lacks an argument with a default."""

    def __init__(self, power=1.0):
        super().__init__()
        self.power = power

    def call(self, y_true, y_pred):
        """The mean power of the differences."""
        return keras.ops.mean(keras.ops.abs(y_true - y_pred) ** self.power, axis=-1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": [Above(0.4)]}, r"The metric 'largest' .* Above.*'threshold': 0\.4"),
        ({"optimizer": Scaled(scale=5.0)}, r"The optimizer of .* Scaled.*'scale': 5\.0"),
        ({"loss": Power(4.0)}, r"The loss of .* Power.*'power': 4\.0"),
    ],
)
def test_what_another_object_would_not_have_is_told(changes, message, tmp_path):
    model, data = dense([])
    model.compile(**{"optimizer": "sgd", "loss": "mse", **changes})
    with pytest.raises(ValueError, match=message):
        keras_sparse.compress(model, data, target={"macs": 0.5}, epochs=1, folder=tmp_path / "run")
    model.compile(Scaled(), Power(), metrics=[Above()])
    keras_sparse.compress(model, data, target={"macs": 0.5}, epochs=1, folder=tmp_path, verbose=0)


def test_a_metric_with_a_value_for_each_class_is_its_mean(tmp_path):
    model = keras.Sequential([keras.Input((2,)), layers.Dense(4), layers.Dense(3)])
    model.compile("sgd", "categorical_crossentropy", metrics=[keras.metrics.F1Score()])
    data = np.random.default_rng(0).normal(size=(6, 2)), np.eye(3)[[0, 1, 2] * 2]
    arguments = {"target": {"macs": 0.5}, "validation_data": data, "epochs": 1, "verbose": 0}
    for _ in range(2):  # the second continues
        result = keras_sparse.compress(model, data, folder=tmp_path, **arguments)
        assert "f1_score" in str(result)
        assert all(isinstance(v, float) for v in result.history["val_f1_score"])
    f1 = np.mean(model.evaluate(*data, verbose=0, return_dict=True)["f1_score"])
    assert result.metrics["given"]["f1_score"] == pytest.approx(f1)


class Dataset:
    """What `tf.data` says of a data set of unknown length."""

    def cardinality(self):
        return -2

    def __iter__(self):
        return iter(())

    def __len__(self):
        raise TypeError("The dataset length is unknown.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": -1}, "`epochs`"),
        ({"learning_rate": float("nan")}, "`learning_rate`"),
        ({"batch_size": 0}, "`batch_size`"),
        ({"allocation": "best"}, "`allocation`"),
        ({"allocation": "uniform_steps"}, "give `latency={.latency.: table}`"),
        ({"callbacks": [keras.callbacks.ReduceLROnPlateau()]}, "must not set the learning rate"),
        ({"callbacks": keras.callbacks.LearningRateScheduler(abs)}, "must not set the learning"),
        ({"data": iter([])}, "how many batches"),
        ({"data": Dataset()}, r"known length.*assert_cardinality"),
        ({"validation_data": Batches(np.zeros((4, 1)), np.zeros(4), 2)}, "Batches without an end"),
    ],
)
def test_bad_arguments_are_told_before_any_work(trained, digits, arguments, message):
    given = {"verbose": 0, "data": digits[0], "target": {"macs": 0.5}, **arguments}
    with pytest.raises(ValueError, match=message):
        keras_sparse.compress(trained, given.pop("data"), **given)


def test_a_model_that_is_not_compiled(digits):
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(10)])
    with pytest.raises(ValueError, match="has no optimizer: call"):
        keras_sparse.compress(model, digits[0], target={"macs": 0.5})


def test_a_probe_gives_the_model_back_as_it_was(trained):
    before = [np.array(weight) for weight in trained.get_weights()]
    with unchanged(trained):
        for variable in trained.variables:
            variable.assign(keras.ops.ones_like(variable))
    for a, b in zip(before, trained.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_numbers_of_numpy():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(4), layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    numbers = {"epochs": np.int64(0), "batch_size": np.int64(2), "learning_rate": np.float32(0.1)}
    result = keras_sparse.compress(
        model,
        (np.ones((2, 2), "float32"), np.ones((2, 1), "float32")),
        target={"macs": np.float32(0.5), "parameters": np.int64(12)},
        importance=GroupNorm(),
        verbose=0,
        **numbers,
    )
    assert result.model.count_params() <= 12


@keras.saving.register_keras_serializable(package="test")
class OfOnesOwn(keras.Model):
    """A subclassed model."""

    def __init__(self):
        super().__init__()
        self.inner, self.last = layers.Dense(4), layers.Dense(1)

    def call(self, inputs):
        return self.last(self.inner(inputs))


class OfOnesOwnSteps(OfOnesOwn):
    """A subclassed model with a loss of its own."""

    def compute_loss(self, *args, **kwargs):
        return 2.0 * super().compute_loss(*args, **kwargs)


class Prints(keras.Model):
    """A functional model with a step of its own."""

    def train_step(self, *args):
        return super().train_step(*args)


def test_training_of_ones_own_is_refused():
    x, y = np.ones((4, 2), "float32"), np.ones((4, 1), "float32")
    inputs = keras.Input((2,))
    prints = Prints(inputs, layers.Dense(1)(layers.Dense(4)(inputs)))
    losses = OfOnesOwnSteps()
    losses(x)
    for model, step in ((prints, "train_step"), (losses, "compute_loss")):
        model.compile(optimizer="sgd", loss="mse")
        with pytest.raises(ValueError, match=f"`model` overrides `{step}`"):
            keras_sparse.compress(model, (x, y), target={"macs": 0.5})
        with pytest.raises(ValueError, match=f"`model` overrides `{step}`"):
            reinitialized(keras.Model(inputs, layers.Dense(1)(inputs)), like=model)
    with pytest.raises(ValueError, match="`model` overrides `compute_loss`"):
        keras_sparse.plan(losses, (x, y), target={"macs": 0.5})
    assert keras_sparse.plan(prints, (x, y), target={"macs": 0.5}).widths == [2]


@pytest.mark.parametrize("schedule", ["one_shot", "growing"])
def test_a_subclassed_model(schedule):
    x, y = np.ones((4, 2), "float32"), np.ones((4, 1), "float32")
    model = OfOnesOwn()
    model(x)
    model.compile(optimizer="sgd", loss="mse")
    epochs = 0 if schedule == "one_shot" else 2
    result = keras_sparse.compress(
        model, (x, y), target={"macs": 0.5}, schedule=schedule, epochs=epochs, verbose=0
    )
    assert result.costs["macs"][1:] == (12, 6)
