"""Run TFLite files on an emulated ARM processor: `python -m export.arm`."""

from export.arm.check import ArmCheck, check_on_arm

__all__ = ["ArmCheck", "check_on_arm"]
