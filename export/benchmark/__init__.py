"""Time TFLite files. A package so that `python -m export.benchmark` runs cleanly."""

from export.benchmark.host import benchmark
from export.benchmark.result import BenchmarkResult, FileTiming

__all__ = ["BenchmarkResult", "FileTiming", "benchmark"]
