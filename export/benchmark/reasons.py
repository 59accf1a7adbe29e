"""Reasons why latency falls less than multiply-accumulates, from the figures of a benchmark."""

from export.benchmark.summary import PROFILER_MS

# The smallest difference, and the smallest share of the time, that are mentioned.
_WORTH, _SHARE = 1.1, 0.05
_PRODUCTS = ("convolution", "conv_", "fully", "matrix", "matmul")


def why_latency_falls_less(before, after):
    """Sentences that explain why latency falls less for two files of one benchmark.

    Args:
        before, after: entries of `BenchmarkResult.to_dict()["files"]`.

    Returns:
        Text; "" if latency falls about as much as multiply-accumulates, or if these do not fall or
        are not all counted.

    Example:

    >>> dense, compact = benchmark(["dense.tflite", "compact.tflite"]).to_dict()["files"]
    >>> print(why_latency_falls_less(dense, compact))
    """
    if not before["macs"] or after["macs"] >= before["macs"]:
        return ""
    if before.get("macs_uncounted") or after.get("macs_uncounted"):
        return ""
    latency = after["latency"]["min_ms"] / before["latency"]["min_ms"]
    macs, tiled = (after[key] / before[key] for key in ("macs", "macs_tiled"))
    if latency <= _WORTH * macs:
        return ""
    found = [
        f"Latency falls to {latency:.0%}, multiply-accumulates to {macs:.0%}, as not all time is "
        "multiplication."
    ]
    if tiled > _WORTH * macs:
        fall = (
            f"multiply-accumulates fall to {tiled:.0%}"
            if round(tiled, 2) < 1
            else "there is no saving"
        )
        found.append(
            "Kernels compute output channels in blocks, and a block that is partly filled costs as "
            f"much as a full one: counted in full blocks, {fall}."
        )
    shares = [_beside_products(file) for file in (before, after)]
    if None not in shares and shares[1] > _SHARE:
        found.append(
            "Operators without multiply-accumulates, which move data, take "
            f"{shares[0]:.0%} of the time before and {shares[1]:.0%} after."
        )
    if after["latency"]["min_ms"] < 0.1:
        found.append(
            f"At {after['latency']['min_ms']:.2g} ms the fixed cost of a call and of starting "
            "each operator shows: a larger network gains more."
        )
    return " ".join(found)


def _beside_products(file):
    """Share of the time in operators without multiply-accumulates; None if unknown."""
    operators = file["operators"]
    beside = [o for o in operators if not any(name in o["name"].lower() for name in _PRODUCTS)]
    lost_ms = PROFILER_MS * sum(operator["nodes"] for operator in beside)
    if not operators or lost_ms > _SHARE * file["latency"]["min_ms"]:
        return None
    return sum(operator["share"] for operator in beside)
