"""Conversion of Keras models to TFLite files, with checks and timing."""

from export.benchmark import BenchmarkResult, FileTiming, benchmark
from export.convert import SparseRuntimeReport, convert, sparse_runtime_report
from export.errors import ExportError
from export.file_sizes import FileSizes
from export.latency import LatencyTable
from export.micro import Micro
from export.quantize import quantization_aware
from export.tflite_file import operators
from export.verification import Verification
from export.verify import Tolerance, verify

__all__ = [
    "BenchmarkResult",
    "ExportError",
    "FileSizes",
    "FileTiming",
    "LatencyTable",
    "Micro",
    "SparseRuntimeReport",
    "Tolerance",
    "Verification",
    "benchmark",
    "convert",
    "operators",
    "quantization_aware",
    "sparse_runtime_report",
    "verify",
]
