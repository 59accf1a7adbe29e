"""Figures that are too small to be drawn."""

from export.page import parts


def file(*shares):
    found = [{"name": f"operator {i}", "share": share} for i, share in enumerate(shares)]
    return {"operators": found, "latency": {"min_ms": 0.002}}


def test_operators_that_the_profiler_sees_nothing_of_are_left_out():
    assert parts.operators([file(0.0, 0.0), file(0.0)], ["before", "after"]) is None
    assert parts.operators([file(1.0), file()], ["before", "after"]) is None


def test_operators_are_compared_with_the_longest():
    bars = parts.operators([file(0.25, 0.75), file(0.5)], ["before", "after"])
    rows = {name: [share for share, _ in values] for name, values in bars.rows}
    assert rows == {"operator 0": [1 / 3, 2 / 3], "operator 1": [1.0, 0.0]}
