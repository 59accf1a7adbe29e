"""Quantization-aware training, and comparison of several kinds of quantization."""

from export.quantize.aware import quantization_aware

__all__ = ["quantization_aware"]
