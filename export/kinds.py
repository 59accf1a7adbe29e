"""Kinds of numbers that a TFLite file may be in: one `Kind` each, in `KINDS`.

A new kind is an entry here, which flags, checks, converter and verification read.
"""

import dataclasses
import numbers
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """How far a file may be from its Keras model.

    Args:
        error: largest difference, relative to the largest absolute value of the output tensor over
            all samples. Columns of the last axis that vary must not be lost either: none may
            differ by more than this, or half, of the range that it has itself, and by four times
            as much as the best column does, or be constant.
        agreement: smallest share of samples whose largest output is the same, and of equal
            elements where an output is integers; of any number one may differ.
        accuracy: largest loss of accuracy, as a share of the samples; one sample is no loss.
    """

    error: float
    agreement: float
    accuracy: float

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            # Infinity is no limit.
            if not is_limit(value):
                raise ValueError(
                    f"`{name}` must be a number of 0 or more. Received: {name}={value!r}"
                )


def is_limit(value):
    """Whether a value limits something: a number of 0 or more."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and value >= 0


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of numbers.

    Attributes:
        weight_bytes: int, bytes of a weight in the file.
        tolerance: the `Tolerance` of a file by default.
        advice: what to do about a file that is too far from its model, in a sentence.
        configure: function of the module `tensorflow` and a `tf.lite.TFLiteConverter` that sets the
            attributes of the converter, besides those of calibrated kinds.
        calibrated: whether ranges of activations are read from representative samples. Then the
            file computes in int8, and its inputs and outputs may be integers.
        takes_sparse_encoding: whether LiteRT loads files of this kind without their zeros.
    """

    weight_bytes: int
    tolerance: Tolerance
    advice: str = ""
    configure: Callable = lambda tf, converter: None
    calibrated: bool = False
    takes_sparse_encoding: bool = False


def _optimized(tf, converter):
    converter.optimizations = [*converter.optimizations, tf.lite.Optimize.DEFAULT]


def _float16(tf, converter):
    _optimized(tf, converter)
    converter.target_spec.supported_types = [tf.float16]


# Only a broken file shall fail; rounding errors are in the report.
# A network trained on the digits has errors of 5e-7, 4e-4, 0.006 and 0.05 of the outputs' scale and
# agrees on all samples; a ResNet-18 with random weights, whose predictions are nearer to ties,
# agrees on 1, 1, 0.97 and 0.94 of them (`benchmarks/quantized.py`).
KINDS = {
    None: Kind(
        weight_bytes=4,
        tolerance=Tolerance(error=1e-4, agreement=0.995, accuracy=0.005),
        takes_sparse_encoding=True,
    ),
    "float16": Kind(
        weight_bytes=2,
        tolerance=Tolerance(error=1e-2, agreement=0.98, accuracy=0.01),
        advice="`tolerance=` accepts it; a file in float32 (quantize=None) is nearer.",
        configure=_float16,
        takes_sparse_encoding=True,
    ),
    "dynamic": Kind(
        weight_bytes=1,
        tolerance=Tolerance(error=0.3, agreement=0.8, accuracy=0.05),
        advice="`tolerance=` accepts it; quantize='float16' is nearer.",
        configure=_optimized,
    ),
    "int8": Kind(
        weight_bytes=1,
        tolerance=Tolerance(error=0.3, agreement=0.8, accuracy=0.05),
        advice="`tolerance=` accepts it. Nearer may be the other route (route='quantizer', by "
        "ai-edge-quantizer, or 'litert'), quantize='dynamic', which leaves activations in floats, "
        "or export.quantization_aware, which trains for int8.",
        configure=_optimized,
        calibrated=True,
    ),
}
# Besides float32.
NAMES = tuple(name for name in KINDS if name)


def kind_of(quantize):
    """The `Kind` that `quantize=` names, or a ValueError."""
    if quantize not in KINDS:
        raise ValueError(
            f"`quantize` must be one of {tuple(KINDS)}. Received: quantize={quantize!r}"
        )
    return KINDS[quantize]
