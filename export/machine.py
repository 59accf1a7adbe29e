"""The machine on which files are timed."""

import pathlib
import platform


def processor():
    """The processor's name and its widest vector instructions."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        facts = dict(map(str.strip, line.split(":", 1)) for line in reversed(lines) if ":" in line)
        flags = [f for f in ("avx512f", "avx512_vnni", "avx2") if f in facts.get("flags", "")]
        return " ".join([facts.get("model name", platform.machine()), *flags])
    except OSError:
        return platform.processor() or platform.machine()
