"""The measurements on a phone."""

import dataclasses
import statistics

import rich.box
import rich.text

from export.android.delegates import missed
from export.android.phone import Phone
from export.benchmark.macs import FileMacs, uncounted_notes
from export.benchmark.result import MEGABYTE, ratios_to_first
from export.shown import Shown, figures_table, short_names

_MEANS = ("init_ms", "warmup_first_ms", "warmup_avg_ms", "median_ms", "std_ms", "p5_ms", "p95_ms")
_TERMINAL = (0, 1, 4, 5, 7, 9, 10)  # the columns that fit 80 characters


@dataclasses.dataclass
class ModelRuns:
    """The runs of one file.

    Attributes:
        path: the file, as it was given.
        bytes: its size.
        macs: `FileMacs`, with the tiles of ARM.
        runs: list of `Measurement`, one a round.
        operators: list of `OperatorTime`, from a separate run; empty before it.
        operators_error: None, or why the network is too short for times by operator.
    """

    path: str
    bytes: int
    macs: FileMacs
    runs: list = dataclasses.field(default_factory=list)
    operators: list = dataclasses.field(default_factory=list)
    operators_error: str | None = None

    @property
    def latency(self):
        """Statistics over all rounds, in ms, with the keys of `litert-benchmark`.

        Minimum, maximum, mean and number are over all inferences. Other statistics are medians over
        the rounds, because the phone prints no single times. Values that the program does not print
        are None.
        """
        columns = {key: [run.latency[key] for run in self.runs] for key in self.runs[0].latency}
        return {
            key: None if None in column else self._join(key, column)
            for key, column in columns.items()
        }

    def _join(self, key, column):
        if key in _MEANS:
            return statistics.median(column)
        if key == "avg_ms":
            return statistics.fmean(column, [run.latency["num_runs"] for run in self.runs])
        return {"min_ms": min, "max_ms": max}.get(key, sum)(column)

    @property
    def peak_mb(self):
        """Largest peak memory of the whole process, or None."""
        return max((run.memory["peak_mb"] or 0 for run in self.runs), default=0) or None

    @property
    def execution(self):
        """The processors that ran the file, as an `Execution`; None before the first run."""
        return self.runs[0].execution if self.runs else None

    def to_dict(self, num_threads):
        """Plain values for JSON, with the keys of `litert-benchmark` and some more."""
        return {
            "model": self.path,
            "model_size_mb": self.bytes / MEGABYTE,
            "model_size_bytes": self.bytes,
            "accelerators": list(self.execution.processors) if self.runs else None,
            "execution": dataclasses.asdict(self.execution) if self.runs else None,
            "num_threads": num_threads,
            "latency": self.latency if self.runs else None,
            "memory": {"peak_mb": self.peak_mb},
            "macs": self.macs.total,
            "macs_tiled": self.macs.tiled,
            "macs_uncounted": list(self.macs.uncounted),
            "benchmark_version": self.runs[0].version if self.runs else None,
            "rounds": [{"latency": run.latency, "memory": run.memory} for run in self.runs],
            "operators": [dataclasses.asdict(operator) for operator in self.operators],
            "operators_error": self.operators_error,
        }


@dataclasses.dataclass
class AndroidResult(Shown):
    """Figures of several files on one phone; `print` shows a table.

    Attributes:
        phone: the `Phone`.
        num_threads: threads of the interpreter.
        cores: tuple of the cores that were requested; empty for the system's choice.
        rounds: how many were requested.
        files: list of `ModelRuns`, in the order of the given paths.
        delegate: the delegate that was requested, or None.
        benchmark_flags: tuple of the flags that were passed on.
        abi: of the `benchmark_model` that ran, such as `"arm64-v8a"`.
        battery_before, battery_after: dicts from `read_battery`, or None.
        complete: True if nothing is missing.
        error: None, or the error that ended the work.
    """

    phone: Phone
    num_threads: int
    cores: tuple
    rounds: int
    files: list
    delegate: str | None = None
    benchmark_flags: tuple = ()
    abi: str = ""
    battery_before: dict | None = None
    battery_after: dict | None = None
    complete: bool = False
    error: str | None = None

    @property
    def names(self):
        """The files' names; with folders or as paths if two have the same name."""
        return short_names([file.path for file in self.files])

    @property
    def ratios(self):
        """Latency of each file relative to the first, by the fastest inferences; None if unknown.

        The fastest are used because a phone that throttles slows long inferences more than short
        ones.
        """
        fastest = [file.latency["min_ms"] if file.runs else None for file in self.files]
        return [f / fastest[0] if f and fastest[0] else None for f in fastest]

    @property
    def macs_ratios(self):
        """Multiply-accumulates of each file relative to the first; None if the first has none."""
        return ratios_to_first([file.macs.total for file in self.files])

    def to_dict(self):
        """Plain values for JSON: the phone, its battery, and `files`."""
        return {
            "device": dataclasses.asdict(self.phone),
            "battery": {"before": self.battery_before, "after": self.battery_after},
            "num_threads": self.num_threads,
            "cores": list(self.cores),
            "rounds": self.rounds,
            "delegate": self.delegate,
            "benchmark_flags": list(self.benchmark_flags),
            "abi": self.abi,
            "complete": self.complete,
            "error": self.error,
            "files": [
                {
                    **file.to_dict(self.num_threads),
                    "ratio_to_first": ratio,
                    "macs_ratio_to_first": macs_ratio,
                    "delegate_used": self._used(file),
                }
                for file, ratio, macs_ratio in zip(
                    self.files, self.ratios, self.macs_ratios, strict=True
                )
            ],
        }

    def _used(self, file):
        """Whether the file ran on the requested delegate; None without a request."""
        if self.delegate is None or not file.runs:
            return None
        return not missed(self.delegate, file.execution)

    @property
    def placements(self):
        """A sentence for each file that was run: the processors that ran it or refused it."""
        files = zip(self.names, self.files, strict=True)
        return [self._placement(name, file) for name, file in files if file.runs]

    def _placement(self, name, file):
        text = f"{name} ran on: {file.execution}"
        if self._used(file) is False:
            text += f"; not on the {self.delegate.upper()} that was requested"
        return f"{text}."

    def to_markdown(self):
        """The figures as text with a table."""
        head, *rows = self._table()
        lines = [f"# {self.title}", "", self._conditions(), ""]
        if self.error:
            lines += [f"**Not complete:** {self.error}", ""]
        lines += [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
        lines += [f"| {' | '.join(row)} |" for row in rows]
        lines += ["", *(f"- {placement}" for placement in self.placements)]
        for name, file in zip(self.names, self.files, strict=True):
            if file.operators:
                lines += ["", f"Operators of `{name}`:", ""]
                lines += [f"- {o.share:.1%} {o.name} ({o.nodes})" for o in file.operators[:5]]
            elif file.operators_error:
                lines += ["", f"`{name}`: no time by operator; {file.operators_error}."]
        return "\n".join([*lines, ""])

    @property
    def title(self):
        """The phone and its system."""
        phone = self.phone
        name = " ".join(filter(None, (phone.manufacturer, phone.model))) or phone.serial
        return f"{name}, Android {phone.android or 'unknown'}"

    def _conditions(self):
        cores = ", ".join(map(str, self.cores)) or "any"
        parts = [f"{self.num_threads} thread(s)", f"cores: {cores}", f"ABI {self.abi}"]
        if self.delegate:
            parts.append(f"requested: {self.delegate.upper()}")
        if self.benchmark_flags:
            parts.append(" ".join(self.benchmark_flags))
        for when, battery in (("before", self.battery_before), ("after", self.battery_after)):
            if battery:
                parts.append(
                    f"{when}: {battery['temperature_c']} °C, battery {battery['level_percent']}%"
                )
        return "; ".join(parts) + "."

    def _table(self):
        """Rows of text; the first is the header."""
        head = ["file", "MB", "rounds", "start-up ms", "min ms", "median ms", "mean ms", "p95 ms"]
        yield [*head, "peak MB", "ratio", "MACs ratio"]
        columns = (self.names, self.files, self.ratios, self.macs_ratios)
        for name, file, ratio, macs_ratio in zip(*columns, strict=True):
            latency = file.latency if file.runs else {}
            keys = ("init_ms", "min_ms", "median_ms", "avg_ms", "p95_ms")
            yield [
                name,
                f"{file.bytes / MEGABYTE:.3f}",
                f"{len(file.runs)}",
                *(_text(latency.get(key), "#.3g") for key in keys),
                _text(file.peak_mb, ".1f"),
                _text(ratio, ".3f"),
                _text(macs_ratio, ".3f"),
            ]

    def _notes(self):
        return uncounted_notes(self.names, self.files)

    def __rich__(self):
        head, *rows = ([row[i] for i in _TERMINAL] for row in self._table())
        return figures_table(
            head,
            rows,
            title=rich.text.Text(f"{self.title}\n{self._conditions()}", justify="center"),
            caption=rich.text.Text("\n".join([*self.placements, *self._notes()])) or None,
            caption_justify="left",
            box=rich.box.SIMPLE,
        )


def _text(value, pattern):
    return "-" if value is None else format(value, pattern)
