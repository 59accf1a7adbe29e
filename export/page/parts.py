"""Sections for the pages of several programs, from their `report.json`."""

import numpy as np

from export.benchmark.summary import PROFILER_MS
from export.page.page import Bars, Picture, Table
from export.page.svg import svg

# An operator with at least this share of a file's time has its own row.
_SEEN = 0.01
_LATENCY = "Latency by operator"
_COLOURS = ("#999999", "#0072b2", "#d55e00")
_MARKERS = {"float32": "o", "float16": "s", "dynamic": "^", "int8": "D"}


def frontier(rows, names, samples):
    """A `Picture` of accuracy by latency; None if either is unknown.

    Args:
        rows: the result of `export.quantize.variants.rows`.
        names: `{network in the rows: its name in the picture}`.
        samples: int, the number of samples for the accuracy.
    """
    from matplotlib.figure import Figure

    known = [row for row in rows if row.get("accuracy") is not None and "error" not in row]
    if len(known) < 2:
        return None
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    for row in known:
        colour = _COLOURS[list(names).index(row["network"])]
        p, marker = row["accuracy"], _MARKERS[row["quantize"]]
        axes.errorbar(
            row["latency_ms_min"],
            p,
            yerr=(p * (1 - p) / samples) ** 0.5,
            fmt=marker,
            color=colour,
            markersize=7,
            elinewidth=1,
            alpha=0.9,
            label=f"{names[row['network']]}, {row['quantize']}",
        )
    axes.set(xlabel="latency, ms (fastest)", ylabel="accuracy")
    axes.set_xlim(0, 1.1 * max(row["latency_ms_min"] for row in known))
    axes.locator_params(axis="x", nbins=5)
    axes.grid(alpha=0.3)
    # Above the axes, so that it covers no mark.
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=8)
    return Picture(
        "Accuracy by latency",
        f"To the left is faster, above is better. One mark for each TFLite file, on {samples:,} "
        "samples; the bars are one standard error.",
        svg(figure, "Accuracy by latency of each file"),
    )


def epochs(history, dense=None):
    """A `Picture` of accuracy and sparsity by epoch; None if neither was logged."""
    from keras_sparse.analysis import plot_history

    try:
        figure = plot_history(history, dense)
    except ValueError:
        return None
    return Picture(
        "Training by epoch",
        "The axis of accuracy shows the range of the last two thirds of the epochs.",
        svg(figure, "Accuracy and sparsity by epoch"),
    )


def channels(surgery, names):
    """`Bars` of the output channels of each layer with a kernel, before and after.

    Args:
        surgery: `Report.to_dict()`.
        names: names of the network before and after.
    """
    layers = {
        name: layer["channels"]
        for name, layer in surgery["layers"].items()
        if "Normalization" not in layer["kind"]
    }
    most = max((before for before, _ in layers.values()), default=1)
    rows = [
        (name, [(count / most, f"{count:,}") for count in counts])
        for name, counts in layers.items()
    ]
    return Bars("Channels by layer", list(names), rows)


def _short(milliseconds, nodes):
    """A time with three significant digits, or the profiler's resolution where it is below that."""
    if milliseconds < nodes * PROFILER_MS:
        return f"< {nodes * PROFILER_MS:.3f} ms"
    number = np.format_float_positional(milliseconds, precision=3, fractional=False, trim="-")
    return f"{number} ms"


def operators(files, names):
    """`Bars` of the milliseconds that each kind of operator takes; without rows if it is unknown.

    Args:
        files: entries of `BenchmarkResult.to_dict()["files"]`.
        names: the name of each file.

    Returns:
        `Bars`; None if the profiler saw nothing.
    """
    errors = [
        f"{name}: {file['operators_error']}."
        for name, file in zip(names, files, strict=True)
        if file["operators_error"]
    ]
    if errors:
        return Bars(_LATENCY, [], [], f"Not known. {' '.join(errors)}")
    if not all(file["operators"] for file in files):
        return None
    times = [
        {o["name"]: o["share"] * file["latency"]["min_ms"] for o in file["operators"]}
        for file in files
    ]
    seen = sorted(
        (name for own in times for name, ms in own.items() if ms > _SEEN * sum(own.values())),
        key=lambda name: -max(own.get(name, 0.0) for own in times),
    )
    found = {name: [_time(file, {name}) for file in files] for name in seen}
    others = [_time(file, own.keys() - set(seen)) for file, own in zip(files, times, strict=True)]
    if any(ms for ms, _ in others):
        found["others"] = others
    if not found:  # all times are below a microsecond
        return None
    longest = max(ms for values in found.values() for ms, _ in values)
    rows = [
        (
            name.removeprefix("Delegate/"),
            [(ms / longest, _short(ms, nodes)) for ms, nodes in values],
        )
        for name, values in found.items()
    ]
    return Bars(
        _LATENCY,
        list(names),
        rows,
        "Milliseconds of one inference: the fastest of the file, in the shares that LiteRT's "
        "profiler gives. It rounds the time of each operator down to whole microseconds.",
    )


def _time(file, names):
    """`(milliseconds, nodes)` of the operators of a file with these names."""
    own = [operator for operator in file["operators"] if operator["name"] in names]
    share = sum(operator["share"] for operator in own)
    return share * file["latency"]["min_ms"], sum(operator["nodes"] for operator in own)


def stays(surgery):
    """A `Table` of the dead channels that stay, by reason, the heaviest first; None without any."""
    groups = surgery["dead_kept"]
    if not groups:
        return None
    rows = [
        [
            group["reason"],
            f"{group['channels']:,}",
            f"{group['parameters']:,}",
            f"{group['macs']:,}",
            ", ".join(group["layers"]),
        ]
        for group in groups
    ]
    header = ["reason", "channels", "parameters", "MACs", "layers"]
    about = (
        "Channels that are dead, that is, do not depend on the input, and could not be removed "
        "without changing the outputs; what they weigh in the compact network."
    )
    return Table("What stayed, and why", header, rows, about)


def machine(report):
    """A sentence with processor, threads and versions."""
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    return f"{timed_on(report)} Versions: {versions}."


def timed_on(report):
    """Sentences on where and how the files were timed; "" if they were not timed."""
    if "processor" not in report:
        return ""
    threads = report["num_threads"]
    return (
        f"Latency on {report['processor']}, {threads} thread{'s' * (threads > 1)}: one sample at a "
        "time, all files timed alternately in one run; the fastest of many inferences, which other "
        "work on the machine disturbs least."
    )
