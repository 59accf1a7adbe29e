"""The processor that `benchmark_model` should use, and the one that it reports."""

import dataclasses
import re

from export.android.adb import AndroidError

DELEGATES = ("cpu", "gpu", "npu")
# Flags that `export.android` sets itself, and the arguments to use instead.
_OURS = {
    "graph": "the files themselves",
    "num_threads": "num_threads",
    "num_runs": "num_runs",
    "report_peak_memory_footprint": "nothing, it is always on",
    "enable_op_profiling": "nothing, the last run of each file is profiled",
    "use_profiler": "nothing, the last run of each file is profiled",
}
# Flags with which `benchmark_model` ends before it times anything.
_TIME_NOTHING = ("dry_run", "help", "helpfull", "helpmatch", "helpon", "helpshort", "version")
_FLAG = re.compile(r"--(\w+)=(.*)", re.DOTALL)
_UNKNOWN = re.compile(r"Unconsumed cmdline flags:\s*(.*\S)")
_REPLACING = re.compile(r"Replacing (\d+) out of (\d+) node\(s\) with delegate \(([^)]+)\)")
_APPLIED = re.compile(
    r"Explicitly applied (.+?) delegate, and the model graph will be (completely|partially)"
)
_REFUSED = re.compile(r"Though (.+?) delegate is explicitly applied, the model graph will not")
# Part of a delegate's name, and where it runs.
_PROCESSORS = (
    ("xnnpack", "CPU (XNNPACK)"),
    ("nnapi", "NNAPI"),
    ("dispatch", "NPU"),
    ("gpu", "GPU"),
    ("litert_cl", "GPU"),
    ("litert_gl", "GPU"),
    ("opencl", "GPU"),
)
_BUILT_IN = "CPU (built-in kernels)"
_ACCELERATORS = {"gpu": ("GPU",), "npu": ("NNAPI", "NPU")}


@dataclasses.dataclass(frozen=True)
class Execution:
    """The processors on which a run of `benchmark_model` reports that it executed the graph.

    Attributes:
        processors: tuple of names, such as `("GPU", "CPU (XNNPACK)")`; empty if the program does
            not report them.
        nodes: tuple with `(nodes on it, nodes in total)` for each processor, or None if the program
            prints no numbers.
        refused: tuple of the delegates without a node, by the program's names.
    """

    processors: tuple
    nodes: tuple
    refused: tuple

    def __str__(self):
        parts = [
            f"{name}, {nodes[0]} of {nodes[1]} nodes" if nodes else name
            for name, nodes in zip(self.processors, self.nodes, strict=True)
        ]
        text = " + ".join(parts) or "not told"
        return f"{text} (refused by {', '.join(self.refused)})" if self.refused else text


def parse_execution(text):
    """Reads the processors that ran the graph from the output of `benchmark_model`.

    Args:
        text: stdout and stderr together.

    Returns:
        An `Execution`. The last line on each delegate counts.

    Example:

    >>> str(parse_execution(output))
    'GPU, 31 of 31 nodes'
    """
    nodes = {}
    for taken, total, delegate in _REPLACING.findall(text):
        nodes[_processor(delegate)] = (int(taken), int(total))
    for delegate, _ in _APPLIED.findall(text):
        nodes.setdefault(_processor(delegate), None)
    refused = tuple(dict.fromkeys(_REFUSED.findall(text)))
    for delegate in refused:
        nodes.pop(_processor(delegate), None)
    counts = list(nodes.values())
    if counts and None not in counts:
        # A later delegate counts the parts that the earlier ones took as one node each.
        total = counts[0][1]
        rest = total - sum(taken for taken, _ in counts)
        if rest > 0:
            nodes[_BUILT_IN] = (rest, total)
    return Execution(tuple(nodes), tuple(nodes.values()), refused)


def _processor(delegate):
    known = (name for part, name in _PROCESSORS if part in delegate.lower())
    return next(known, delegate)


def check_flags(flags):
    """The flags as a tuple of text, or a ValueError.

    Args:
        flags: list of `"--name=value"`, or None.
    """
    flags = tuple(flags or ())
    for flag in flags:
        match = _FLAG.fullmatch(flag) if isinstance(flag, str) else None
        if not match:
            raise ValueError(
                "`benchmark_flags` must be flags of benchmark_model, each as --name=value. "
                f"Received: {flag!r}"
            )
        if match[1] in _OURS:
            raise ValueError(
                f"`benchmark_flags` may not set --{match[1]}: give {_OURS[match[1]]}. "
                f"Received: {flag}"
            )
        if match[1] in _TIME_NOTHING:
            raise ValueError(
                f"`benchmark_flags` may not set --{match[1]}: with it benchmark_model times "
                "nothing. Give flags of a measurement, such as --warmup_runs=50; `adb shell "
                "/data/local/tmp/benchmark_model --help` lists them. "
                f"Received: {flag}"
            )
    return flags


def check_delegate(delegate):
    """Raises a ValueError unless `delegate` is None or one of `DELEGATES`."""
    if delegate is not None and delegate not in DELEGATES:
        raise ValueError(
            f"`delegate` must be None or one of {', '.join(DELEGATES)}. "
            f"Received: delegate={delegate!r}"
        )


def delegate_flags(delegate, usage):
    """The flags of `benchmark_model` for a delegate.

    Args:
        delegate: one of `DELEGATES`, or None for the program's default.
        usage: the output of `benchmark_model --help`: LiteRT's program and TFLite's have different
            names for the NPU.

    Raises:
        AndroidError: the program knows no such delegate.
    """
    names = {None: (), "cpu": ("use_cpu", "use_xnnpack"), "gpu": ("use_gpu",)}
    names["npu"] = ("use_npu", "use_nnapi")
    known = [name for name in names[delegate] if f"--{name}" in usage]
    if delegate and not known:
        wanted = " or ".join(f"--{name}" for name in names[delegate])
        raise AndroidError(
            f"This benchmark_model has no {wanted}, so it cannot run on the {delegate.upper()}. "
            "Get another program (docs/phone.md), or choose another delegate."
        )
    return tuple(f"--{name}=true" for name in known[:1])


def unknown_flags(text):
    """The flags that `benchmark_model` reports as ignored, as text, or None."""
    found = _UNKNOWN.search(text)
    return found[1] if found else None


def missed(delegate, execution):
    """Whether a run did not use the requested GPU or NPU, or does not report it.

    Args:
        delegate: one of `DELEGATES`, or None.
        execution: `Execution`.
    """
    wanted = _ACCELERATORS.get(delegate, ())
    return bool(wanted) and not set(wanted) & set(execution.processors)
