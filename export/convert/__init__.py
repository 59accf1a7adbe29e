"""Keras model in, TFLite file out. A package so that `python -m export.convert` runs cleanly."""

from export.convert.litert import convert

__all__ = ["convert"]
