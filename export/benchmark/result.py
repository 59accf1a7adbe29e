"""The result of a benchmark: statistics, a dictionary and a table."""

import dataclasses
import os
from typing import Any

import numpy as np
import rich.text

from export.benchmark.macs import FileMacs, uncounted_notes
from export.machine import processor
from export.shown import Shown, figures_table, short_names

MEGABYTE = 2**20  # the definition of litert-benchmark


@dataclasses.dataclass(frozen=True)
class FileTiming:
    """The figures of one file.

    Attributes:
        path: the file, as it was given.
        bytes: its size.
        gzip_bytes: its size in gzip, level 6: about the size of a download.
        num_threads: threads of the interpreter.
        signature: name of the file's first signature, or None.
        input_bytes: size of the inputs of one inference.
        init_ms: start-up (making the interpreter and allocating its tensors), the median over a few
            processes.
        first_ms: the first inference, also the median.
        warm_up_ms: milliseconds of the inferences before the bursts, an array of shape `(rounds *
            warmup_runs,)`.
        rounds_ms: milliseconds of every timed inference, an array of shape `(rounds, runs)`.
        peak_memory: increase of the process's peak resident memory since before the file was
            loaded, in bytes; None on a system without /proc.
        anonymous_memory: increase of the part that cannot be read again from the file, in bytes,
            the largest after any burst; or None.
        file_backed_memory: increase of the part that the system may drop and read again, measured
            in the same way.
        macs: `FileMacs`.
        operators: a tuple of `OperatorTime`, the longest first; empty if there is an
            `operators_error`.
        operators_error: None, or the reason why there are no times: the profiler failed, or the
            network is too short for it.
    """

    path: str
    bytes: int
    gzip_bytes: int
    num_threads: int
    signature: str | None
    input_bytes: int
    init_ms: float
    first_ms: float
    warm_up_ms: np.ndarray
    rounds_ms: np.ndarray
    peak_memory: int | None
    anonymous_memory: int | None
    file_backed_memory: int | None
    macs: FileMacs
    operators: tuple
    operators_error: str | None

    @property
    def median_ms(self) -> float:
        """Median over all inferences."""
        return float(np.median(self.rounds_ms))

    @property
    def min_ms(self) -> float:
        """Fastest inference."""
        return float(self.rounds_ms.min())

    def percentile_ms(self, q: float) -> float:
        """The `q`-th percentile of the times of inferences."""
        return float(np.percentile(self.rounds_ms, q))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the keys of `litert-benchmark` and some more."""
        average_ms = float(self.rounds_ms.mean())
        return {
            "model": self.path,
            "model_size_mb": self.bytes / MEGABYTE,
            "model_size_bytes": self.bytes,
            "gzip_size_bytes": self.gzip_bytes,
            "accelerators": ["CPU"],
            "signature": self.signature,
            "fully_accelerated": True,  # the value of litert-benchmark for the CPU
            "num_threads": self.num_threads,
            "latency": {
                "init_ms": self.init_ms,
                "warmup_first_ms": self.first_ms,
                "warmup_avg_ms": float(self.warm_up_ms.mean()),
                "num_warmup_runs": self.warm_up_ms.size,
                "avg_ms": average_ms,
                "min_ms": self.min_ms,
                "max_ms": float(self.rounds_ms.max()),
                "median_ms": self.median_ms,
                "std_ms": float(self.rounds_ms.std()),
                **{f"p{q}_ms": self.percentile_ms(q) for q in (5, 90, 95, 99)},
                "num_runs": self.rounds_ms.size,
            },
            "throughput_mb_s": 1000 * self.input_bytes / MEGABYTE / average_ms,
            "memory": {
                "peak_mb": _megabytes(self.peak_memory),
                "anonymous_mb": _megabytes(self.anonymous_memory),
                "file_backed_mb": _megabytes(self.file_backed_memory),
            },
            "macs": self.macs.total,
            "macs_tiled": self.macs.tiled,
            "macs_uncounted": list(self.macs.uncounted),
            "operators": [dataclasses.asdict(operator) for operator in self.operators],
            "operators_error": self.operators_error,
        }


@dataclasses.dataclass(frozen=True)
class BenchmarkResult(Shown):
    """Figures of several files that were timed side by side.

    `print(result)` shows a table, `to_dict()` gives plain values for JSON.

    Attributes:
        files: a tuple of `FileTiming`, in the order of the given paths.
    """

    files: tuple[FileTiming, ...]

    @property
    def ratios(self) -> list[float]:
        """Latency of each file relative to the first, as the ratio of the fastest inferences.

        Medians would favour smaller files, because on a busy machine a long inference is
        interrupted more often than a short one.
        """
        return [file.min_ms / self.files[0].min_ms for file in self.files]

    @property
    def macs_ratios(self) -> list[float | None]:
        """Multiply-accumulates of each file relative to the first; None if the first has none."""
        return ratios_to_first([file.macs.total for file in self.files])

    @property
    def tiled_macs_ratios(self) -> list[float | None]:
        """`macs_ratios` for tiled multiply-accumulates."""
        return ratios_to_first([file.macs.tiled for file in self.files])

    @property
    def names(self) -> list[str]:
        """The files' names; with folders or as paths if two have the same name."""
        return short_names([file.path for file in self.files])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: `{"files": [...]}`, with `FileTiming.to_dict` of each file."""
        ratios = zip(self.ratios, self.macs_ratios, self.tiled_macs_ratios, strict=True)
        keys = ("ratio_to_first", "macs_ratio_to_first", "macs_tiled_ratio_to_first")
        return {
            "files": [
                {**file.to_dict(), **dict(zip(keys, values, strict=True))}
                for file, values in zip(self.files, ratios, strict=True)
            ]
        }

    def to_markdown(self) -> str:
        """The figures as a Markdown table, and the slowest operators of each file."""
        from export.benchmark.report import markdown

        return markdown(self)

    def to_html(self, command: str = "") -> str:
        """The figures as a page: one file of HTML that loads nothing.

        Args:
            command: the command that timed the files, to copy; "" to omit it.
        """
        from export.benchmark.page import html

        return html(self, command)

    def plot(self, path: str | os.PathLike) -> None:
        """Writes a picture: latency ratio against MACs ratio, and the line where both are equal.

        Args:
            path: file to write; its ending (`.png`, `.svg`) gives the format.

        Raises:
            ValueError: `path` cannot be written, or a file has no multiply-accumulates.
        """
        from export.benchmark.report import plot

        plot(self, path)

    def __rich__(self):
        threads = self.files[0].num_threads
        notes = [
            f"{processor()}. Ratios are to the first file; that of latency is of min.",
            *uncounted_notes(self.names, self.files),
        ]
        return figures_table(
            ["file", "MB", "median", "p90", "p99", "min", "peak MB", "ratio", "MACs ratio"],
            self._rows(),
            title=f"LiteRT on this machine, {threads} thread(s), milliseconds",
            caption=rich.text.Text(" ".join(notes)),
            caption_justify="left",
            box=None,
        )

    def _rows(self):
        columns = zip(self.names, self.files, self.ratios, self.macs_ratios, strict=True)
        for name, file, ratio, macs_ratio in columns:
            times = (file.median_ms, *map(file.percentile_ms, (90, 99)), file.min_ms)
            peak = _megabytes(file.peak_memory)
            yield [
                name,
                f"{file.bytes / MEGABYTE:.3f}",
                *(f"{time:#.3g}" for time in times),
                "-" if peak is None else f"{peak:.1f}",
                f"{ratio:.3f}",
                "-" if macs_ratio is None else f"{macs_ratio:.3f}",
            ]


def ratios_to_first(counts):
    """Each count divided by the first; None if the first is 0."""
    return [count / counts[0] if counts[0] else None for count in counts]


def _megabytes(size):
    return None if size is None else size / MEGABYTE
