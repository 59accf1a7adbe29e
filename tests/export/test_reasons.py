"""Why latency falls less than multiply-accumulates do."""

from export.benchmark.reasons import why_latency_falls_less


def file(macs, tiled, ms, pooling):
    operators = [
        {"name": "Delegate/Convolution (NHWC, F32) IGEMM", "nodes": 3, "share": 1 - pooling},
        {"name": "Delegate/Max Pooling (NHWC, F32)", "nodes": 2, "share": pooling},
    ]
    latency = {"min_ms": ms, "median_ms": ms}
    return {"macs": macs, "macs_tiled": tiled, "latency": latency, "operators": operators}


def test_every_cause_has_its_figure():
    told = why_latency_falls_less(file(100, 100, 0.2, 0.1), file(30, 50, 0.08, 0.4))
    for text in ("falls to 40%", "to 30%", "fall to 50%", "10% of the time before and 40%", "0.08"):
        assert text in told


def test_nothing_to_say_where_latency_falls_as_much():
    assert not why_latency_falls_less(file(100, 100, 2.0, 0.1), file(50, 50, 1.0, 0.1))
    assert not why_latency_falls_less(file(0, 0, 2.0, 0.1), file(0, 0, 2.0, 0.1))


def test_nothing_is_said_of_counts_that_leave_something_out():
    after = file(30, 50, 0.08, 0.4) | {"macs_uncounted": ["WHILE"]}
    assert not why_latency_falls_less(file(100, 100, 0.2, 0.1), after)


def test_shares_that_the_profiler_cannot_resolve_are_not_told():
    # Two operators may have lost 2 us of the 10 us of an inference.
    told = why_latency_falls_less(file(100, 100, 0.01, 0.0), file(30, 50, 0.008, 0.3))
    assert "falls to 80%" in told
    assert "Operators without" not in told


def test_blocks_that_save_nothing():
    told = why_latency_falls_less(file(100, 100, 0.2, 0.1), file(50, 100, 0.16, 0.1))
    assert "counted in full blocks, there is no saving." in told
    assert "100%" not in told
