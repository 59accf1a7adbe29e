"""Keras model in, TFLite file out. A package so that `python -m export.convert` runs cleanly."""

from export.convert.litert import convert
from export.convert.sparse_report import SparseRuntimeReport, sparse_runtime_report

__all__ = ["SparseRuntimeReport", "convert", "sparse_runtime_report"]
