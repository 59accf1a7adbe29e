"""The measurements of files under a microcontroller's runtime, as a dictionary and a table."""

import dataclasses

import rich.box
import rich.table
from rich.markup import escape

from export.benchmark.macs import FileMacs
from export.benchmark.result import ratios_to_first
from export.micro.agreement import Agreement
from export.micro.operators import resolver_method
from export.micro.report import markdown, plot
from export.micro.texts import agreement_text
from export.shown import short_names


@dataclasses.dataclass(frozen=True)
class FileMemory:
    """The figures of one file.

    Attributes:
        path: the file, as it was given.
        bytes: its size, the flash for the model without the code.
        arena: bytes of the smallest arena in which it runs, found by trying.
        head: bytes of the arena for activations and scratch memory.
        tail: bytes that are always in use: quantization, operators, tensors.
        macs: multiply-accumulates of one inference.
        operators: dict from operator to its number.
        memory: tuple of `OperatorMemory`, the live tensors of each operator.
        agreement: `Agreement` with LiteRT.
        macs_uncounted: names of the operators that `macs` does not count, or in part.
    """

    path: str
    bytes: int
    arena: int
    head: int
    tail: int
    macs: int
    operators: dict
    memory: tuple
    agreement: Agreement
    macs_uncounted: tuple = ()

    @property
    def peak(self):
        """The `OperatorMemory` that needs most."""
        return max(self.memory, key=lambda operator: operator.bytes)

    @property
    def sizes(self):
        """The figures as text; a + marks operators that are not counted, or in part."""
        sizes = (self.bytes, self.arena, self.head, self.tail)
        macs = FileMacs(self.macs, self.macs, self.macs_uncounted)
        return [*(f"{size:,}" for size in sizes), str(macs)]

    @property
    def resolver(self):
        """Methods of `tflite::MicroMutableOpResolver` that firmware must call."""
        return [resolver_method(name) for name in sorted(self.operators)]

    def to_dict(self):
        return {
            "model": self.path,
            "flash_bytes": self.bytes,
            "arena_bytes": self.arena,
            "head_bytes": self.head,
            "tail_bytes": self.tail,
            "macs": self.macs,
            "macs_uncounted": list(self.macs_uncounted),
            "operators": self.operators,
            "resolver": self.resolver,
            "peak": dataclasses.asdict(self.peak),
            "memory": [
                {"operator": row.operator, "layer": row.layer, "bytes": row.bytes}
                for row in self.memory
            ],
            "agreement": {
                **dataclasses.asdict(self.agreement),
                "within_a_step": self.agreement.within_a_step,
            },
        }


@dataclasses.dataclass(frozen=True)
class MicroResult:
    """Figures of several files.

    `rich.print(result)` shows a table, `to_dict()` gives plain values for JSON.

    Attributes:
        files: a tuple of `FileMemory`, in the order of the given paths.
    """

    files: tuple

    @property
    def names(self):
        """The files' names; with folders or as paths if two have the same name."""
        return short_names([file.path for file in self.files])

    def to_dict(self):
        """Plain values for JSON: `{"files": [...]}`, with `FileMemory.to_dict` of each file."""
        ratios = zip(
            ratios_to_first([file.arena for file in self.files]),
            ratios_to_first([file.bytes for file in self.files]),
            strict=True,
        )
        keys = ("arena_ratio_to_first", "flash_ratio_to_first")
        return {
            "files": [
                {**file.to_dict(), **dict(zip(keys, values, strict=True))}
                for file, values in zip(self.files, ratios, strict=True)
            ]
        }

    def to_markdown(self):
        """The figures as Markdown tables, with the tensors at each file's peak."""
        return markdown(self)

    def plot(self, path):
        """Writes a picture of the live tensors of each operator, one file below the other.

        Args:
            path: file to write; its ending (`.png`, `.svg`) gives the format.

        Raises:
            ValueError: `path` cannot be written.
        """
        plot(self, path)

    def __rich__(self):
        table = rich.table.Table(
            title="LiteRT for Microcontrollers, bytes",
            box=rich.box.SIMPLE,
            pad_edge=False,
            collapse_padding=True,
        )
        table.add_column("file", overflow="fold")
        for name in ("flash", "arena", "head", "tail", "MACs", "peak at", "as LiteRT"):
            table.add_column(name, justify="right", overflow="fold")
        for name, file in zip(self.names, self.files, strict=True):
            found = agreement_text(file.agreement)
            table.add_row(*map(escape, (name, *file.sizes, file.peak.layer, found)))
        return table
