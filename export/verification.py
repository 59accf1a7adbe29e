"""The figures of a TFLite file compared with its Keras model."""

import dataclasses
import pathlib
from typing import Any

import rich.table
import rich.text

from export.shown import Shown


@dataclasses.dataclass(frozen=True)
class Verification(Shown):
    """The figures of a TFLite file that equals its Keras model; `print` shows them.

    Attributes:
        path: `pathlib.Path` of the file.
        quantize: None, `"float16"`, `"dynamic"` or `"int8"`.
        bytes: its size.
        operators: dict from an operator's name to its number.
        samples: number of compared samples.
        drawn: True if the samples were drawn at random, False if the user gave them.
        max_abs_error: largest absolute difference to Keras over samples and float outputs.
        max_relative_error: the same, relative to the largest absolute value of that output.
        output_errors: dict from each output's name to its relative error; for integers, to the
            share of elements that differ.
        agreement: for vectors, the share of samples with the same largest output; for integers, the
            share of equal elements; the minimum over the outputs, or None without such outputs.
        accuracy, keras_accuracy: accuracy of the file and of the model; None without labels.
        float_operators: for an int8 file, dict from an operator's name to the number of times it
            computes in floats, because LiteRT has no int8 version (`CONV_3D`); usually empty.
    """

    path: pathlib.Path
    quantize: str | None
    bytes: int
    operators: dict[str, int]
    samples: int
    drawn: bool
    max_abs_error: float
    max_relative_error: float
    output_errors: dict
    agreement: float | None
    accuracy: float | None
    keras_accuracy: float | None
    float_operators: dict = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The attributes as plain values, for JSON."""
        return {**dataclasses.asdict(self), "path": str(self.path)}

    def __rich__(self):
        table = rich.table.Table(box=None, show_header=False, pad_edge=False)
        for label, text in self._facts():
            table.add_row(label, rich.text.Text(text))
        return table

    def _facts(self):
        """List of labels and values to show."""
        kinds = ", ".join(f"{count} {name}" for name, count in self.operators.items())
        yield "file", f"{self.path.name}, {self.quantize or 'float32'}, {self.bytes:,} bytes"
        drawn = "random samples" if self.drawn else "samples"
        yield "compared with Keras", f"on {self.samples:,} {drawn}"
        if len(self.output_errors) > 1:
            yield "largest difference", f"{self.max_abs_error:.1e}"
            relative = f"{self.max_relative_error:.1e} of the largest value of an output"
            yield "relative to its output", relative
        else:
            relative = f"{self.max_relative_error:.1e} of the largest output"
            yield "largest difference", f"{self.max_abs_error:.1e}, {relative}"
        # With random samples it says little.
        if self.agreement is not None and not self.drawn:
            yield "same prediction", f"{self.agreement:.2%}"
        if self.accuracy is not None:
            yield "accuracy", f"{self.accuracy:.4f}, of Keras {self.keras_accuracy:.4f}"
        yield "operators", kinds
        if self.float_operators:
            yield "computed in floats", ", ".join(self.float_operators)
