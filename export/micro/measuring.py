"""Measuring the memory that a file needs on a microcontroller, on this machine."""

import os
import pathlib
import re

from export.benchmark.arguments import check_paths
from export.benchmark.macs import file_macs
from export.errors import ExportError
from export.micro.agreement import compare, file_samples, run_rows
from export.micro.memory import file_tensors
from export.micro.operators import lacking
from export.micro.process import RefusedError, Runtime
from export.micro.result import FileMemory, MicroResult
from export.tflite_file import operators

_ALIGNMENT = 16
# Upper bounds of the runtime's memory for each operator and each tensor, besides activations.
_BY_OPERATOR, _BY_TENSOR, _MORE = 4096, 256, 65536
_ALLOCATION = re.compile(r"Arena allocation (total|head|tail) (\d+) bytes")


def measure(paths, *, samples=None, arena=None):
    """Run TFLite files under LiteRT for Microcontrollers and report the memory that they need.

    The runtime is the one for firmware, compiled for this machine. Its arena is the memory for
    everything that it needs. On a 32-bit processor the part with pointers is smaller. Each file
    runs in a separate process, which ends if the runtime aborts.

    Args:
        paths: list of `.tflite` files that take one sample at a time.
        samples: an array `(n, ...)`, a list or dict of arrays for several inputs, or a `.npy` or
            `.npz` file. With None a few random samples are drawn; real ones are a better check.
        arena: int, limit of the arena in bytes; None for no limit.

    Returns:
        A `MicroResult`.

    Raises:
        ValueError: a file that does not exist, or samples of another shape.
        ExportError: `tflite-micro` is not installed; a file that is damaged, has operators that the
            runtime lacks, has half-precision weights, or does not fit into `arena`.

    Example:

    >>> [file] = measure(["model.tflite"], samples=x_test[:100]).files
    >>> file.arena, file.head, file.tail
    (55952, 49152, 6800)
    """
    return MicroResult(tuple(_measure(path, samples, arena) for path in check_paths(paths)))


def _measure(path, source, limit):
    names = operators(path)
    tensors = file_tensors(path)
    _check_operators(path, names, tensors)
    samples, drawn = file_samples(path, source)
    with Runtime(path) as runtime:
        plenty = _plenty(tensors)
        agreement, log = compare(path, tensors, samples, drawn, runtime, plenty)
        used = {name: int(size) for name, size in _ALLOCATION.findall(log)}
        smallest = smallest_arena(runtime, used["total"], plenty)
    if limit is not None and smallest > limit:
        raise ExportError(_too_small(path, smallest, limit, tensors))
    macs = file_macs(path)
    return FileMemory(
        path=os.fspath(path),
        bytes=pathlib.Path(path).stat().st_size,
        arena=smallest,
        head=used["head"],
        tail=used["tail"],
        macs=macs.total,
        macs_uncounted=macs.uncounted,
        operators=names,
        memory=tensors.operators,
        agreement=agreement,
    )


def arena_of(path):
    """The smallest arena of a file in bytes, without comparing its outputs.

    Raises:
        ExportError: the runtime does not run the file.
    """
    names, tensors = operators(path), file_tensors(path)
    _check_operators(path, names, tensors)
    samples, _ = file_samples(path, None)
    with Runtime(path) as runtime:
        plenty = _plenty(tensors)
        # Some operators refuse their tensors only when they run.
        run_rows(runtime, plenty, [array[:1, None] for array in samples], count=len(tensors.steps))
        return smallest_arena(runtime, _ALIGNMENT, plenty)


def smallest_arena(runtime, low, high):
    """The smallest arena, a multiple of 16 bytes, in which the runtime loads a file.

    Args:
        runtime: a `Runtime`.
        low: bytes that may be too few.
        high: a sufficient number of bytes.
    """
    low, high = low // _ALIGNMENT - 1, -(-high // _ALIGNMENT)
    width = 1
    # The runtime's own report is nearly right, so search just above it first.
    while low + width < high and not _fits(runtime, (low + width) * _ALIGNMENT):
        low, width = low + width, 2 * width
    high = min(high, low + width)
    while high - low > 1:
        middle = (low + high) // 2
        if _fits(runtime, middle * _ALIGNMENT):
            high = middle
        else:
            low = middle
    return high * _ALIGNMENT


def _fits(runtime, arena):
    try:
        runtime.ask(arena=arena)
    except RefusedError:
        return False
    return True


def _plenty(tensors):
    """An arena that is large enough for any plan."""
    own = {id(tensor): tensor.bytes for row in tensors.operators for tensor in row.tensors}
    # Kernels may need scratch memory of about the size of their tensors.
    count = len(tensors.operators)
    return 4 * sum(own.values()) + _BY_OPERATOR * count + _BY_TENSOR * len(own) + _MORE


def _check_operators(path, names, tensors):
    if tensors.float16:
        raise ExportError(
            f"{path} has weights in float16, which LiteRT for Microcontrollers does not unpack. "
            "Convert with quantize='int8', or without `quantize`."
        )
    missing = lacking(names)
    if missing:
        raise ExportError(
            f"{path} has operators that LiteRT for Microcontrollers does not have: "
            f"{', '.join(missing)}. Use other layers for them."
        )


def _too_small(path, arena, limit, tensors):
    peak = tensors.peak
    parts = ", ".join(f"{tensor.name} {tensor.bytes:,}" for tensor in peak.tensors)
    return (
        f"{path} needs an arena of {arena:,} bytes, {arena - limit:,} more than the {limit:,} of "
        f"`arena`. Most activations are needed at {peak.layer} ({peak.operator}): {parts} bytes."
    )
