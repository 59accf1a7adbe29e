"""From a Keras model to a TFLite file that is proven and timed."""

from export.benchmark import BenchmarkResult, FileTiming, benchmark
from export.convert import convert
from export.errors import ExportError
from export.tflite_file import operators
from export.verify import Tolerance, Verification, verify

__all__ = [
    "BenchmarkResult",
    "ExportError",
    "FileTiming",
    "Tolerance",
    "Verification",
    "benchmark",
    "convert",
    "operators",
    "verify",
]
