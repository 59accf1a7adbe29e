"""Quantization-aware training, and files of several kinds of numbers side by side."""

from export.quantize.aware import quantization_aware

__all__ = ["quantization_aware"]
