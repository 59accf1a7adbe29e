"""What a model costs at other widths, budgets, and widths within them."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops

from keras_sparse import compress, surgery
from keras_sparse.compression import (
    Budget,
    BudgetError,
    CostModel,
    GroupNorm,
    Importance,
    Random,
    planning,
)
from keras_sparse.compression.allocation import allocate, candidates, uniform
from keras_sparse.compression.budget import in_words
from keras_sparse.compression.planning import measured_costs, plan, removable_groups

WIDTHS = st.integers(2, 9)
BLOCKS = st.lists(
    st.tuples(st.sampled_from(["plain", "residual", "depthwise", "joined"]), WIDTHS),
    min_size=1,
    max_size=3,
)


def network(start, blocks):
    """A small network with residual sums, depthwise convolutions and a flatten."""
    x = keras.Input((6, 6, 3))
    y = layers.Conv2D(start, 3, padding="same")(x)
    for kind, width in blocks:
        inner = layers.Conv2D(width, 3, padding="same", activation="relu")(y)
        if kind == "residual":
            y = layers.Add()([y, layers.Conv2D(y.shape[-1], 1)(inner)])
        elif kind == "depthwise":
            y = layers.DepthwiseConv2D(3, padding="same")(inner)
        elif kind == "joined":
            y = layers.Concatenate()([y, inner])
        else:
            y = layers.BatchNormalization()(inner)
    return keras.Model(x, layers.Dense(3)(layers.Flatten()(y)))


def hand_written(x, width):
    """Attention of operations, of which one reads a constant matrix."""
    q, k, v = (layers.Dense(width)(x) for _ in range(3))
    scores = ops.softmax(ops.einsum("btd,bsd->bts", q, k))
    return ops.matmul(ops.matmul(scores, v), np.ones((width, 3), "float32"))


def directions(mode):
    return lambda x, width: layers.Bidirectional(
        layers.GRU(width, return_sequences=True), merge_mode=mode
    )(x)


# Layers with products beside those of their kernels, and layers with equally wide parts.
SEQUENCES = {
    "feed_forward": lambda x, width: layers.Dense(width, activation="relu")(x),
    "attention": lambda x, width: layers.MultiHeadAttention(2, width)(x, x),
    "values": lambda x, width: layers.MultiHeadAttention(2, 3, value_dim=width, use_gate=True)(
        x, layers.Dense(width)(x)
    ),
    "grouped": lambda x, width: layers.GroupQueryAttention(width, 4, 2)(x, x),
    "dot_attention": lambda x, width: layers.Attention()([x, layers.Dense(width)(x), x]),
    "additive": lambda x, width: layers.AdditiveAttention()([x, layers.Dense(width)(x), x]),
    "dot": lambda x, width: layers.Dot(1)([layers.Dense(width)(x), x]),
    "hand_written": hand_written,
    "einsum": lambda x, width: layers.EinsumDense("btd,de->bte", (None, width))(x),
    "both": directions("concat"),
    "sum": directions("sum"),
    "separate": lambda x, width: layers.Concatenate()(directions(None)(x, width)),
}


def sequence_network(start, blocks):
    """A small network of attention and recurrent layers, with residual sums."""
    x = keras.Input((4, 3))
    y = layers.Dense(start)(x)
    for kind, width, residual in blocks:
        inner = SEQUENCES[kind](y, width)
        if residual and inner.shape[1] == y.shape[1]:
            inner = layers.Add()([y, layers.Dense(y.shape[-1])(inner)])
        y = inner
    model = keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling1D()(y)))
    for weight in model.trainable_weights:
        weight.assign(keras.random.normal(weight.shape, seed=1))
    return model


def cases(blocks):
    return st.tuples(
        WIDTHS,
        blocks,
        st.floats(0.3, 0.95),
        st.sampled_from(["macs", "parameters", "memory"]),
        st.integers(0, 9),
    )


CASES = cases(BLOCKS)
SEQUENCE_CASES = cases(
    st.lists(
        st.tuples(st.sampled_from(sorted(SEQUENCES)), WIDTHS, st.booleans()), min_size=1, max_size=3
    )
)


class Steps:
    """A device on which 5 to 7 channels take longer than 8, as kernels do that are not full."""

    def layer_seconds(self, layer, shapes):
        width = shapes["kernel"][-1] if layer in ("a", "b") else 0
        return {5: 9.0, 6: 9.0, 7: 9.0}.get(int(width), float(width))

    def steps(self, layer):
        return [4, 8, 16] if layer == "a" else [4, 8] if layer == "b" else []


def test_a_uniform_width_on_the_steps_of_the_latency():
    x = keras.Input((6, 6, 3))
    y = layers.Conv2D(8, 3, name="b")(layers.Conv2D(16, 3, name="a")(x))
    model = keras.Model(x, layers.Dense(3)(layers.Flatten()(y)))

    def widths(allocation, seconds):
        arguments = {"target": {"latency": f"{seconds} s"}, "latency": {"latency": Steps()}}
        return plan(model, importance=Random(), allocation=allocation, **arguments).widths.tolist()

    # Of the second layer 5 channels take 9 s.
    assert widths("uniform", 20) == [11, 5]
    assert widths("uniform_steps", 20) == [16, 4]
    # With 15 and 7 channels it would be as long.
    assert widths("uniform", 24) == [16, 8]


@settings(max_examples=5)
@given(CASES)
def test_the_budget_holds_and_the_prediction_is_exact(case):
    check_budget(network, *case)


@settings(max_examples=5)
@given(SEQUENCE_CASES)
def test_the_budget_of_sequences_holds_and_the_prediction_is_exact(case):
    check_budget(sequence_network, *case)


@pytest.mark.slow
@settings(max_examples=100)
@given(CASES)
def test_the_budget_holds_for_a_hundred_networks(case):
    check_budget(network, *case)


@pytest.mark.slow
@settings(max_examples=100)
@given(SEQUENCE_CASES)
def test_the_budget_holds_for_a_hundred_networks_of_sequences(case):
    check_budget(sequence_network, *case)


@pytest.mark.parametrize("kind", sorted(SEQUENCES))
@pytest.mark.parametrize(("residual", "share"), [(False, 0.7), (True, 0.4)])
def test_the_costs_of_each_layer_of_sequences_are_predicted(kind, residual, share):
    check_budget(sequence_network, 6, [(kind, 5, residual)], share, "macs", 0)


def check_budget(network, start, blocks, share, name, seed):
    model = network(start, blocks)
    try:
        chosen = plan(model, target={name: share}, importance=Random(seed))
    except BudgetError:
        groups = removable_groups(model)
        costs = CostModel(model, groups)
        narrowest = costs.total(name, np.ones(len(groups), int))
        assert narrowest > share * costs.total(name, costs.full())
        return
    compact, _ = chosen.apply(model)
    counted, full = measured_costs(compact), measured_costs(model)
    assert counted["macs"] == surgery.count_macs(compact).total
    assert counted[name] <= share * full[name]
    for cost, count in counted.items():
        assert chosen.costs[cost] == (full[cost], pytest.approx(count))


class Backwards(Importance):
    """Prefers the backward direction of a recurrent layer."""

    def scores(self, model, groups, data=None):
        return {group: np.arange(1.0, group.size + 1) for group in groups}


def test_both_directions_of_a_recurrent_layer_lose_units_together():
    x = keras.Input((5, 3))
    y = layers.Bidirectional(layers.LSTM(8), name="both")(x)
    model = keras.Model(x, layers.Dense(2)(y))
    assert [group.size for group in surgery.channel_groups(model) if not group.fixed] == [8]
    chosen = plan(model, target={"parameters": 0.5}, importance=Backwards())
    compact, report = chosen.apply(model)
    assert compact.count_params() == chosen.costs["parameters"][1] <= 0.5 * model.count_params()
    assert report.channels["both"] == (16, 2 * chosen.widths[0])


def two_layers():
    model = keras.Sequential([keras.Input((10,)), layers.Dense(20, name="a"), layers.Dense(1)])
    groups = removable_groups(model)
    return model, groups, CostModel(model, groups)


def test_costs_of_a_dense_network():
    _, _, costs = two_layers()
    widths = np.array([5])
    assert costs.total("parameters", widths) == 10 * 5 + 5 + 5 + 1
    assert costs.total("macs", widths) == 55
    # Kernels, channels and operators of the file.
    assert costs.total("float32_bytes", widths) == 4 * 55 + 4 * 6 + 830 * 2
    assert costs.total("int8_bytes", widths) == 55 + 28 * 6 + 960 * 2
    assert costs.change("int8_bytes", np.array([20]), 0, 5) == (11 + 28) * 15
    assert costs.change("macs", np.array([20]), 0, 5) == 11 * 15


def test_memory_is_the_most_that_is_needed_at_once():
    x = keras.Input((4, 4, 2))  # 32 numbers
    a = layers.Conv2D(8, 1, name="a")(x)  # 128, read twice
    b = layers.Conv2D(4, 1, name="b")(a)  # 64
    c = layers.Conv2D(8, 1, name="c")(b)  # 128
    y = layers.Flatten()(layers.Add(name="sum")([a, c]))  # 128 each
    model = keras.Model(x, layers.Dense(2)(y))
    groups = removable_groups(model)
    costs = CostModel(model, groups)
    by_name = {group.name: i for i, group in enumerate(groups)}
    # At the sum: a, c and the sum itself.
    assert costs.total("memory", costs.full()) == 4 * 3 * 128
    widths = costs.full()
    widths[by_name["a"]] = 2
    # Now at b: a and b, and at c: a, b and c, and at the sum: 3 of 32.
    assert costs.total("memory", widths) == 4 * (32 + 64 + 32)
    assert costs.change("memory", costs.full(), by_name["a"], 2) == 4 * (3 * 128 - 128)
    assert costs.heaviest("memory", costs.full()) == ("sum", 4 * 3 * 128)


def test_a_peak_in_two_places_falls_when_both_get_narrower():
    y = x = keras.Input((4, 4, 2))
    for _ in range(2):
        y = layers.ReLU()(layers.Conv2D(8, 1)(y))  # 128 numbers before and after
        y = layers.Conv2D(1, 1)(y)
    model = keras.Model(x, layers.Dense(2)(layers.Flatten()(y)))
    groups = removable_groups(model)
    costs = CostModel(model, groups)
    assert [costs.change("memory", costs.full(), i, 4) for i in range(2)] == [0, 0]
    scores = {group: np.ones(group.size) for group in groups}
    assert allocate(costs, scores, Budget({"memory": 4 * 200})).tolist() == [6, 6]
    assert uniform(costs, Budget({"memory": 4 * 200})).tolist() == [6, 6]


def test_room_that_is_left_is_used():
    _, groups, costs = two_layers()
    scores = {groups[0]: np.arange(20.0)}
    # 11 multiply-accumulates a channel.
    assert allocate(costs, scores, Budget({"macs": 87})).tolist() == [7]
    assert uniform(costs, Budget({"macs": 87})).tolist() == [7]


def test_all_limits_hold_and_the_important_group_stays_wide():
    x = keras.Input((8,))
    a, b = layers.Dense(16, name="a")(x), layers.Dense(16, name="b")(x)
    model = keras.Model(x, layers.Dense(2)(layers.Concatenate()([a, b])))
    groups = removable_groups(model)
    costs = CostModel(model, groups)
    scores = {groups[0]: np.full(16, 9.0), groups[1]: np.full(16, 1.0)}
    limits = {"macs": 200.0, "parameters": 180.0}
    widths = allocate(costs, scores, Budget(limits))
    assert all(costs.total(name, widths) <= limit for name, limit in limits.items())
    assert widths[0] > widths[1]
    assert uniform(costs, Budget(limits)).tolist() == [8, 8]
    found = candidates(costs, scores, Budget(limits))
    assert any((w == [8, 8]).all() for w in found)
    assert len({tuple(w) for w in found}) == len(found)


@pytest.mark.parametrize("by_cost", [True, False])
def test_importance_is_weighed_by_the_cost_or_by_the_channel(by_cost):
    """A channel of "dear" costs 33 multiply-accumulates, and matters a little more."""
    x, z = keras.Input((32,)), keras.Input((4,))
    y = layers.Dense(16, name="dear")(x), layers.Dense(16, name="cheap")(z)
    model = keras.Model([x, z], layers.Dense(1)(layers.Concatenate()(y)))
    groups = removable_groups(model)
    costs = CostModel(model, groups)
    scores = {group: np.full(16, 1.1 if group.name == "dear" else 1.0) for group in groups}
    budget = Budget({"macs": 0.9 * costs.total("macs", costs.full())})
    widths = allocate(costs, scores, budget, by_cost=by_cost)
    kept = {group.name: width for group, width in zip(groups, widths, strict=True)}
    assert kept == ({"dear": 14, "cheap": 16} if by_cost else {"dear": 16, "cheap": 3})


def test_widths_of_a_menu_only():
    _, groups, costs = two_layers()
    scores = {groups[0]: np.arange(20.0)}
    widths = allocate(costs, scores, Budget({"macs": 150}), steps={groups[0]: [4, 8, 16, 20]})
    assert widths.tolist() == [8]


@pytest.mark.parametrize("allocation", ["importance", "uniform"])
def test_a_budget_out_of_reach_tells_what_is_within_reach(allocation):
    model = two_layers()[0]
    arguments = {"importance": GroupNorm(), "allocation": allocation}
    message = (
        r"The limit of macs is 5, .*reached is 11: 0.05 of the model's 220, with one channel in "
        r"every group\. The layer 'a' needs 10 of it;.* limits of at least {'macs': 0.05}"
    )
    with pytest.raises(BudgetError, match=message):
        plan(model, target={"macs": "5"}, **arguments)
    assert plan(model, target={"macs": 0.05}, **arguments).widths.tolist() == [1]


@pytest.mark.parametrize("allocation", ["importance", "uniform"])
def test_a_latency_out_of_reach_tells_what_is_within_reach(allocation):
    """Here the fastest network is not the narrowest: one channel takes longer than four."""

    class Table:
        def layer_seconds(self, layer, shapes):
            width = shapes["kernel"][-1] if layer == "a" else 4
            return 1e-3 * max(width, 4) + (5e-3 if width < 4 else 0)

    arguments = {
        "importance": GroupNorm(),
        "allocation": allocation,
        "latency": {"latency": Table()},
    }
    message = (
        r"The limit of latency is 6 ms, .*reached is 8 ms: 0.333 of the model's 24 ms, with the "
        r"fastest widths found\. .*at least {'latency': 0.34}"
    )
    model = two_layers()[0]
    with pytest.raises(BudgetError, match=message):
        plan(model, target={"latency": "6 ms"}, **arguments)
    assert plan(model, target={"latency": 0.34}, **arguments).widths.tolist() == [4]


def test_limits_that_cannot_be_kept_together():
    class Table:
        """The narrower, the slower."""

        def layer_seconds(self, layer, shapes):
            return 1e-3 * (30 - shapes["kernel"][-1]) if layer == "a" else 0.0

    with pytest.raises(BudgetError, match=r"all limits at once.*latency 10 ms, macs 11"):
        plan(
            two_layers()[0],
            target={"latency": 1, "macs": 0.5},
            importance=GroupNorm(),
            latency={"latency": Table()},
        )


@pytest.mark.parametrize(
    ("target", "limit"),
    [
        ({"macs": 0.5}, 50.0),
        ({"macs": 1}, 100.0),
        ({"macs": 12.0}, 12.0),
        ({"macs": "12.5 M"}, 12.5e6),
        ({"float32_bytes": "100 kB"}, 1e5),
        ({"latency": "2 ms"}, 0.002),
        ({"latency": "0.5"}, 50.0),
        ({"macs": "20k"}, 2e4),
        ({"float32_bytes": "2 KiB"}, 2048.0),
        ({"latency": 0.25}, 25.0),
    ],
)
def test_limits_in_the_forms_that_people_write(target, limit):
    costs = dict.fromkeys(("macs", "float32_bytes", "latency"), 100.0)
    budget = Budget.of(target, costs)
    assert list(budget.limits.values()) == [pytest.approx(limit)]


@pytest.mark.parametrize(
    "target",
    [
        None, {}, {"flops": 0.5}, {"macs": 0}, {"macs": -1}, {"macs": True}, {"macs": float("nan")},
        {"macs": "many"}, {"macs": "2 ms"}, {"latency": "2 kB"}, {"macs": None}, {"latency": 0.5},
        {"macs": "20 kB"}, {"macs": "-5 k"}, {"macs": "nan"}, {"float32_bytes": "1 M"},
        {"macs": ""},
    ],
)  # fmt: skip
def test_limits_that_mean_nothing(target):
    with pytest.raises(ValueError, match="`target`"):
        Budget.of(target, {"macs": 100.0, "float32_bytes": 100.0})


@pytest.mark.parametrize("value", [2, "2"])
def test_a_latency_above_one_needs_a_unit(value):
    with pytest.raises(ValueError, match="unit for 'latency' above 1, such as '2 ms'"):
        Budget.of({"latency": value}, {"latency": 100.0})


def test_a_budget_out_of_reach_says_what_a_number_means():
    message = "numbers up to 1 are shares of the model's costs, larger numbers are absolute"
    with pytest.raises(BudgetError, match=message):
        plan(two_layers()[0], target={"macs": 1.5}, importance=GroupNorm())


def test_a_limit_below_one_is_not_called_zero():
    assert [in_words("macs", value) for value in (0.0004, 1.6, 2e6)] == ["0.0004", "2", "2,000,000"]


def test_units_are_named():
    with pytest.raises(ValueError, match=r"'memory': give a number and one of B, kB, MB, KiB, MiB"):
        Budget.of({"memory": "1 KB"}, {"memory": 1.0})


def test_a_model_without_anything_to_cut_says_why():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="only")])
    with pytest.raises(ValueError, match="only: output of the model"):
        plan(model, target={"macs": 0.5}, importance=GroupNorm())


def test_excluded_layers_stay_whole():
    x = keras.Input((8,))
    y = layers.Dense(16, name="a")(x)
    model = keras.Model(x, layers.Dense(2)(layers.Dense(16, name="b")(y)))
    chosen = plan(model, target={"macs": 0.6}, importance=GroupNorm(), exclude="a")
    assert [group.name for group in chosen.groups] == ["b"]
    with pytest.raises(ValueError, match=r"`exclude` names \['c'\].*\['a', 'b'"):
        plan(model, target={"macs": 0.6}, importance=GroupNorm(), exclude=["c"])


class LongerAsAWhole:
    """Latencies of layers, and of a model that has operations beside them."""

    def __init__(self, seconds):
        self.seconds = seconds

    def layer_seconds(self, layer, shapes):
        return sum(shape[-1] for name, shape in shapes.items() if name == "kernel")

    def total(self):
        return self.seconds


@pytest.mark.parametrize("allocation", ["importance", "uniform"])
@pytest.mark.parametrize("share", [0.5, 0.7, 0.95])
def test_a_plan_meets_a_limit_between_the_layers_and_the_whole(allocation, share):
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(30), layers.Dense(10), layers.Dense(2)]
    )
    found = plan(
        model,
        target={"latency": share},
        latency={"latency": LongerAsAWhole(60.0)},
        importance=GroupNorm(),
        allocation=allocation,
    )
    before, after = found.costs["latency"]
    assert before == 60.0
    assert after <= share * 60.0
    assert sum(found.widths) < 40


@keras.saving.register_keras_serializable(package="test_costs")
class Scale(layers.Layer):
    """A layer that surgery does not know."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],))

    def call(self, x):
        return x * self.scale


def partly_unknown():
    names = [
        layers.Conv2D(16, 3, name="first"),
        Scale(name="scale"),
        layers.Conv2D(8, 3, name="free"),
    ]
    return keras.Sequential([keras.Input((8, 8, 3)), *names, layers.Flatten(), layers.Dense(3)])


def test_a_plan_says_what_stays_and_why(tmp_path):
    model = partly_unknown()
    found = plan(model, target={"parameters": 0.9}, importance=GroupNorm())
    why = "scale: Scale has no rule (surgery.register_rule adds one)"
    assert found.fixed == {"first": why, "scale": why}
    assert f"all stay  {why}" in str(found)
    assert found.to_dict()["fixed"] == found.fixed
    with pytest.raises(BudgetError, match=r"All channels of first, scale stay: scale: Scale"):
        plan(model, target={"parameters": 0.01}, importance=GroupNorm())
    model.compile("sgd", "mse")
    data = np.zeros((4, 8, 8, 3), "float32"), np.zeros((4, 3), "float32")
    arguments = {"target": {"parameters": 0.9}, "importance": GroupNorm(), "verbose": 0}
    for _ in range(2):  # the second time from the folder
        result = compress(model, data, epochs=0, folder=tmp_path, **arguments)
        assert result.plan.fixed == found.fixed
        assert f"All channels of first, scale stay: {why}." in str(result)


def test_a_budget_error_has_only_some_of_the_reasons(monkeypatch):
    monkeypatch.setattr(planning, "_SHOWN", 0)
    with pytest.raises(BudgetError, match=r"Others stay for 1 other reasons\.$"):
        plan(partly_unknown(), target={"parameters": 0.01}, importance=GroupNorm())


def test_a_plan_of_a_known_model_has_nothing_to_say():
    found = plan(network(4, []), target={"parameters": 0.9}, importance=GroupNorm())
    assert found.fixed == {}
    assert "stay" not in str(found)
