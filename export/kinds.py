"""The kinds of quantization of a TFLite file: one `Kind` each, in `KINDS`.

To add a kind, add an entry here; flags, checks, converter and verification read it.
"""

import dataclasses
import numbers
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """The allowed difference between a file and its Keras model.

    Args:
        error: largest difference, relative to the largest absolute value of the output tensor over
            all samples. Also, no column of the last axis that varies may be lost. A column is lost
            if it is constant, or if its error exceeds both this share (or half) of its own range
            and four times the error of the best column.
        agreement: smallest share of samples with the same largest output, and of equal elements for
            integer outputs; one sample or element may always differ.
        accuracy: largest loss of accuracy, as a share of the samples; a loss of one sample is
            always allowed.
    """

    error: float
    agreement: float
    accuracy: float

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            # Infinity means no limit.
            if not is_limit(value):
                raise ValueError(
                    f"`{name}` must be a number of 0 or more. Received: {name}={value!r}"
                )


def is_limit(value):
    """Whether a value is a limit: a number of 0 or more."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and value >= 0


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of quantization.

    Attributes:
        weight_bytes: int, bytes of a weight in the file.
        tolerance: the default `Tolerance` of a file.
        advice: a sentence with advice for a file that differs too much from its model.
        configure: function of the module `tensorflow` and a `tf.lite.TFLiteConverter` that sets the
            attributes of the converter, besides those of calibrated kinds.
        calibrated: whether ranges of activations are measured on representative samples. If so, the
            file computes in int8, and its inputs and outputs may be integers.
        takes_sparse_encoding: whether LiteRT loads sparsely encoded files of this kind.
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


# Only a broken file should fail; the report has the rounding errors. A network trained on the
# digits has errors of 5e-7, 4e-4, 0.006 and 0.05 of the outputs' scale and agrees on all samples; a
# ResNet-18 with random weights, whose predictions are nearer to ties, agrees on 1, 1, 0.97 and 0.94
# of them (`benchmarks/quantized.py`).
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
# All kinds except float32.
NAMES = tuple(name for name in KINDS if name)


def kind_of(quantize):
    """The `Kind` of an argument `quantize`; a ValueError if unknown."""
    if quantize not in KINDS:
        raise ValueError(
            f"`quantize` must be one of {tuple(KINDS)}. Received: quantize={quantize!r}"
        )
    return KINDS[quantize]
