"""Parsing the output of `benchmark_model`, of TFLite's program (v1) and LiteRT's (v2)."""

import dataclasses
import re

from export.android.delegates import Execution, parse_execution
from export.benchmark.summary import parse_summary

# At the start of a line, because the profiler's summary has such counts after other words.
_STATISTICS = re.compile(r"^(?:INFO: )?(?:\[\S+\] )?count=(\d+)\b(.*)", re.MULTILINE)
_FIELD = re.compile(r"\b(first|curr|min|max|avg|std|p5|median|p95)=([-+.\deE]+)")
_V2 = re.compile(
    r"(Model initialization|Warmup \((?:first|avg)\)|Inference \(\w+\)|Init footprint"
    r"|Overall footprint|Peak memory): +([\d.]+)(?: *(?:ms|MB))?(?: \((\d+) runs\))?"
)
_V1_TIMES = re.compile(
    r"Inference timings in us: Init: ([\d.eE+]+), First inference: ([\d.eE+]+), "
    r"Warmup \(avg\): ([\d.eE+]+), Inference \(avg\): ([\d.eE+]+)"
)
_V1_FOOTPRINT = re.compile(r"Memory footprint delta .*?init=([-\d.]+) overall=([-\d.]+)")
_V1_PEAK = re.compile(r"Overall peak memory footprint \(MB\) .*?: ([\d.]+)")
_STATISTIC_KEYS = ("min", "max", "avg", "std", "p5", "median", "p95")


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One run of `benchmark_model`.

    Attributes:
        version: 1 for TFLite's program, 2 for LiteRT's.
        latency: dict with the keys of `litert-benchmark`, in ms; None for values that were not
            printed.
        memory: dict with `init_mb`, `overall_mb` and `peak_mb`, likewise.
        operators: list of `OperatorTime`; empty where nothing was profiled.
        execution: `Execution`, the processors that the program reports.
    """

    version: int
    latency: dict
    memory: dict
    operators: list
    execution: Execution


def parse_output(text):
    """Parses the output of `benchmark_model`.

    Args:
        text: stdout and stderr together; other lines may be in between.

    Returns:
        A `Measurement`.

    Raises:
        ValueError: a part that every run prints is missing: the output is incomplete, or from
            another program.

    Example:

    >>> parse_output(output).latency["median_ms"]
    8.702
    """
    v2 = {label: (float(value), runs) for label, value, runs in _V2.findall(text)}
    v1 = _V1_TIMES.search(text)
    if v1:
        version, latency = 1, _latency_v1(v1)
    elif "Inference (avg)" in v2:
        version, latency = 2, _latency_v2(v2)
    else:
        raise ValueError("benchmark_model printed no result, or its output was cut")
    _add_statistics(latency, text)
    if not latency["num_runs"]:
        raise ValueError("benchmark_model printed no number of runs, or its output was cut")
    memory = _memory_v2(v2) if version == 2 else _memory_v1(text)
    return Measurement(version, latency, memory, parse_summary(text), parse_execution(text))


def _latency_v1(times):
    init, first, warm_up, average = (float(value) / 1000 for value in times.groups())
    return {
        "init_ms": init,
        "warmup_first_ms": first,
        "warmup_avg_ms": warm_up,
        "num_warmup_runs": None,
        "avg_ms": average,
        **{f"{key}_ms": None for key in _STATISTIC_KEYS if key != "avg"},
        "num_runs": None,
    }


def _latency_v2(found):
    def value(label, position=0):
        return found[label][position] if label in found else None

    def runs(label):
        return int(value(label, 1) or 0) or None

    return {
        "init_ms": value("Model initialization"),
        "warmup_first_ms": value("Warmup (first)"),
        "warmup_avg_ms": value("Warmup (avg)"),
        "num_warmup_runs": runs("Warmup (avg)"),
        **{f"{key}_ms": value(f"Inference ({key})") for key in _STATISTIC_KEYS},
        "num_runs": runs("Inference (avg)"),
    }


def _add_statistics(latency, text):
    """Adds the values of the lines `count=...`: of the warm-up, then of the runs, in microseconds.

    Both programs print these lines, with more digits than elsewhere; older versions without
    percentiles.
    """
    lines = _STATISTICS.findall(text)
    if len(lines) < 2:
        return
    (warm_up_runs, _), (runs, rest) = lines[-2:]
    latency.update(num_warmup_runs=int(warm_up_runs), num_runs=int(runs))
    fields = {key: float(value) / 1000 for key, value in _FIELD.findall(rest)}
    if "(all same)" in rest or int(runs) == 1:
        same = fields["curr"]
        fields = dict.fromkeys(_STATISTIC_KEYS, same) | {"std": 0.0}
    latency.update({f"{k}_ms": fields[k] for k in _STATISTIC_KEYS if k in fields})


def _memory_v1(text):
    footprint, peak = _V1_FOOTPRINT.search(text), _V1_PEAK.search(text)
    return {
        "init_mb": float(footprint[1]) if footprint else None,
        "overall_mb": float(footprint[2]) if footprint else None,
        "peak_mb": float(peak[1]) if peak else None,
    }


def _memory_v2(found):
    labels = {"init_mb": "Init footprint", "overall_mb": "Overall footprint"}
    labels["peak_mb"] = "Peak memory"
    return {key: found[label][0] if label in found else None for key, label in labels.items()}
