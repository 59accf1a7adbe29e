"""What a benchmark found: statistics over the raw samples, a dictionary and a table."""

import dataclasses
import os

import numpy as np
import rich.box
import rich.table

MEGABYTE = 2**20  # as litert-benchmark counts


@dataclasses.dataclass(frozen=True)
class FileTiming:
    """One file's figures.

    Attributes:
        path: the file, as it was given.
        bytes: its size.
        num_threads: threads of the interpreter.
        init_ms: start-up, making the interpreter and allocating its tensors: the median over a few
            processes.
        first_ms: the first inference, likewise.
        rounds_ms: milliseconds of every timed inference, an array of shape `(rounds, runs)`.
        peak_memory: growth of the process's peak resident memory since before the file was
            loaded, in bytes; None where the system has no /proc.
        anonymous_memory: growth of the part that cannot be read again from the file, in bytes, at
            the end; or None.
    """

    path: str
    bytes: int
    num_threads: int
    init_ms: float
    first_ms: float
    rounds_ms: np.ndarray
    peak_memory: int | None
    anonymous_memory: int | None

    @property
    def median_ms(self):
        """Median over all inferences."""
        return float(np.median(self.rounds_ms))

    @property
    def min_ms(self):
        """Fastest inference."""
        return float(self.rounds_ms.min())

    def percentile_ms(self, q):
        """The time that `q` percent of the inferences stayed below."""
        return float(np.percentile(self.rounds_ms, q))

    def to_dict(self):
        """Plain values for JSON, with the keys of `litert-benchmark` and some more."""
        return {
            "model": self.path,
            "model_size_mb": self.bytes / MEGABYTE,
            "model_size_bytes": self.bytes,
            "num_threads": self.num_threads,
            "latency": {
                "init_ms": self.init_ms,
                "warmup_first_ms": self.first_ms,
                "avg_ms": float(self.rounds_ms.mean()),
                "min_ms": self.min_ms,
                "max_ms": float(self.rounds_ms.max()),
                "median_ms": self.median_ms,
                "std_ms": float(self.rounds_ms.std()),
                **{f"p{q}_ms": self.percentile_ms(q) for q in (5, 90, 95, 99)},
                "num_runs": self.rounds_ms.size,
            },
            "memory": {
                "peak_mb": _megabytes(self.peak_memory),
                "anonymous_mb": _megabytes(self.anonymous_memory),
            },
        }


@dataclasses.dataclass(frozen=True)
class BenchmarkResult:
    """Figures of several files that were timed side by side.

    `rich.print(result)` shows a table, `to_dict()` gives plain values for JSON.

    Attributes:
        files: a tuple of `FileTiming`, in the order of the given paths.
    """

    files: tuple

    @property
    def ratios(self):
        """Latency of each file relative to the first, as the ratio of the fastest inferences.

        Not of the medians: on a busy machine a long inference is interrupted more often than a
        short one, which makes the smaller file look better than it is.
        """
        return [file.min_ms / self.files[0].min_ms for file in self.files]

    def to_dict(self):
        """Plain values for JSON: `{"files": [...]}`, one entry of `FileTiming.to_dict` each."""
        return {
            "files": [
                {**file.to_dict(), "ratio_to_first": ratio}
                for file, ratio in zip(self.files, self.ratios, strict=True)
            ]
        }

    def __rich__(self):
        threads = self.files[0].num_threads
        table = rich.table.Table(
            title=f"LiteRT on this machine, {threads} thread(s), milliseconds",
            box=rich.box.SIMPLE,
            pad_edge=False,
            collapse_padding=True,
        )
        table.add_column("file", overflow="fold")
        for name in ("MB", "init", "median", "p90", "p99", "min", "peak MB", "ratio"):
            table.add_column(name, justify="right")
        names = [os.path.basename(file.path) for file in self.files]
        if len(set(names)) < len(names):
            names = [file.path for file in self.files]
        for name, file, ratio in zip(names, self.files, self.ratios, strict=True):
            times = (file.init_ms, file.median_ms, *map(file.percentile_ms, (90, 99)), file.min_ms)
            peak = _megabytes(file.peak_memory)
            table.add_row(
                name,
                f"{file.bytes / MEGABYTE:.3f}",
                *(f"{time:#.3g}" for time in times),
                "-" if peak is None else f"{peak:.1f}",
                f"{ratio:.3f}",
            )
        return table


def _megabytes(size):
    return None if size is None else size / MEGABYTE
