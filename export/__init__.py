"""From a Keras model to a TFLite file that is proven and timed."""

from export.benchmark import BenchmarkResult, FileTiming, benchmark
from export.convert import convert
from export.errors import ExportError
from export.verify import Verification, operators, verify

__all__ = [
    "BenchmarkResult",
    "ExportError",
    "FileTiming",
    "Verification",
    "benchmark",
    "convert",
    "operators",
    "verify",
]
