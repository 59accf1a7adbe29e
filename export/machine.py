"""The machine on which files are timed."""

import pathlib
import platform
import subprocess

_INSTRUCTIONS = ("avx512f", "avx512_vnni", "avx2", "asimddp", "i8mm", "sve")


def processor():
    """The processor's name and its widest vector instructions."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return _apple() or platform.processor() or platform.machine()
    facts = {}
    for line in lines:
        key, _, value = map(str.strip, line.partition(":"))
        facts.setdefault(key, []).append(value)
    flags = " ".join(facts.get("flags", []) + facts.get("Features", [])).split()
    names = facts.get("model name") or [_arm(facts)]
    return " ".join([names[0], *(name for name in _INSTRUCTIONS if name in flags)])


def _arm(facts):
    """The board and the kinds of cores: ARM has no names of processors in /proc/cpuinfo."""
    kinds = zip(facts.get("CPU implementer", []), facts.get("CPU part", []), strict=False)
    cores = sorted({f"{maker}/{part}" for maker, part in kinds})
    return " ".join([*(facts.get("Model") or [platform.machine()])[:1], *cores])


def _apple():
    """The name of the chip on macOS; None elsewhere."""
    if platform.system() != "Darwin":
        return None
    command = ("sysctl", "-n", "machdep.cpu.brand_string")
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
