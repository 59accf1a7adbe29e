"""Names of processors."""

import pathlib
import platform
import types

import pytest

from export import machine

X86 = """processor\t: 0
model name\t: Some CPU @ 2.5GHz
flags\t\t: fpu avx2 avx512f

processor\t: 1
model name\t: Some CPU @ 2.5GHz
flags\t\t: fpu avx2 avx512f
"""
ARM = """processor\t: 0
Features\t: fp asimd asimddp
CPU implementer\t: 0x41
CPU part\t: {part}

processor\t: 1
Features\t: fp asimd asimddp
CPU implementer\t: 0x41
CPU part\t: {part}

{board}"""
PI_5 = "Model\t\t: Raspberry Pi 5 Model B Rev 1.0\n"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (X86, "Some CPU @ 2.5GHz avx512f avx2"),
        (ARM.format(part="0xd0b", board=PI_5), "Raspberry Pi 5 Model B Rev 1.0 0x41/0xd0b asimddp"),
        (ARM.format(part="0xd08", board=""), "aarch64 0x41/0xd08 asimddp"),
        ("", "aarch64"),
    ],
)
def test_linux(text, name, monkeypatch):
    monkeypatch.setattr(pathlib.Path, "read_text", lambda _: text)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert machine.processor() == name


def test_macos(monkeypatch):
    def missing(_):
        raise FileNotFoundError

    monkeypatch.setattr(pathlib.Path, "read_text", missing)
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    found = types.SimpleNamespace(stdout="Apple M2\n")
    monkeypatch.setattr(machine.subprocess, "run", lambda command, **_: found)
    assert machine.processor() == "Apple M2"
