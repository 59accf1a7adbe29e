"""Figures that are too small to be drawn."""

from export.page import parts


def file(*shares):
    found = [
        {"name": f"operator {i}", "nodes": 1, "share": share} for i, share in enumerate(shares)
    ]
    return {"operators": found, "operators_error": None, "latency": {"min_ms": 0.008}}


def test_operators_that_the_profiler_sees_nothing_of_are_left_out():
    assert parts.operators([file(0.0, 0.0), file(0.0)], ["before", "after"]) is None
    assert parts.operators([file(1.0), file()], ["before", "after"]) is None


def test_operators_are_compared_with_the_longest():
    bars = parts.operators([file(0.25, 0.75), file(0.5)], ["before", "after"])
    rows = {name: [share for share, _ in values] for name, values in bars.rows}
    assert rows == {"operator 0": [1 / 3, 2 / 3], "operator 1": [1.0, 0.0]}


def test_times_below_the_resolution_of_the_profiler_are_limits():
    bars = parts.operators([file(0.995, 0.003, 0.002), file(0.8, 0.2)], ["before", "after"])
    texts = {name: [text for _, text in values] for name, values in bars.rows}
    assert texts == {
        "operator 0": ["0.00796 ms", "0.0064 ms"],
        "operator 1": ["< 0.001 ms", "0.0016 ms"],
        "others": ["< 0.001 ms", "0 ms"],
    }


def test_a_network_that_is_too_short_for_the_profiler_has_no_bars():
    short = {**file(), "operators_error": "the network is too short"}
    bars = parts.operators([file(0.25, 0.75), short], ["before", "after"])
    assert not bars.rows
    assert bars.about == "Not known. after: the network is too short."
