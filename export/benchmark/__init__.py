"""Time TFLite files: `python -m export.benchmark`."""

from export.benchmark.host import benchmark
from export.benchmark.result import BenchmarkResult, FileTiming

__all__ = ["BenchmarkResult", "FileTiming", "benchmark"]
