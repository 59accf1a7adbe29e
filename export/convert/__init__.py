"""Conversion of Keras models to TFLite files: `python -m export.convert`."""

from export.convert.litert import convert
from export.convert.sparse_report import SparseRuntimeReport, sparse_runtime_report

__all__ = ["SparseRuntimeReport", "convert", "sparse_runtime_report"]
