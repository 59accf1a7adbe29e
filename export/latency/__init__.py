"""Measured latency by layer and width."""

from export.latency.table import LatencyTable

__all__ = ["LatencyTable"]
