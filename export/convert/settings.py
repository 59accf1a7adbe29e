"""The settings of a conversion, checked."""

import dataclasses

from export.kinds import kind_of

_ROUTES = ("litert", "quantizer")
_INPUT_OUTPUT = ("float32", "int8", "uint8")
# Required values for kinds without calibration.
_FLOAT_DEFAULTS = {"route": "litert", "input_output": "float32"}


@dataclasses.dataclass(frozen=True)
class Settings:
    """The kind of file; an invalid combination is a ValueError.

    Args:
        quantize, route, input_output, sparse_encoding, representative: see `convert`.
    """

    quantize: str | None
    route: str
    input_output: str
    sparse_encoding: bool
    representative: object

    def __post_init__(self):
        kind = kind_of(self.quantize)
        _choice("route", self.route, _ROUTES)
        _choice("input_output", self.input_output, _INPUT_OUTPUT)
        if kind.calibrated and self.representative is None:
            raise ValueError(
                f"quantize={self.quantize!r} needs `representative`: 100 to 200 real samples, from "
                "which the ranges of the activations are read. Received: representative=None"
            )
        if self.sparse_encoding and not kind.takes_sparse_encoding:
            raise ValueError(
                "`sparse_encoding` works with float32 and float16 only: LiteRT does not load files "
                "with sparse int8 weights, or computes garbage from them. Leave it away; a zip of "
                f"the int8 file is as small. Received: quantize={self.quantize!r}"
            )
        for name, default in _FLOAT_DEFAULTS.items():
            if getattr(self, name) != default and not kind.calibrated:
                raise ValueError(
                    f"`{name}` is for quantize='int8'. Received: {name}={getattr(self, name)!r}, "
                    f"quantize={self.quantize!r}"
                )
        if self.route == "quantizer" and self.input_output == "uint8":
            raise ValueError(
                "route='quantizer' writes files with float32 or int8 inputs and outputs. "
                "Received: input_output='uint8'"
            )


def _choice(name, value, choices):
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {choices}. Received: {name}={value!r}")
