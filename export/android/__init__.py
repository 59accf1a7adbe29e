"""Time TFLite files on an Android phone: `python -m export.android`."""

from export.android.adb import AndroidError
from export.android.phone import Phone, find_phone
from export.android.result import AndroidResult, ModelRuns
from export.android.session import benchmark_on_android

__all__ = [
    "AndroidError",
    "AndroidResult",
    "ModelRuns",
    "Phone",
    "benchmark_on_android",
    "find_phone",
]
