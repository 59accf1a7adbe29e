"""The console script: every program by its name, from any folder."""

import os
import subprocess
import sys
import tomllib
from importlib import util
from pathlib import Path

import pytest
from absl.testing import flagsaver

from apps import commands

ROOT = Path(__file__).parents[2]


def run(monkeypatch, *arguments):
    saved = flagsaver.save_flag_values()
    monkeypatch.setattr(sys, "argv", ["keras-sparse", *arguments])
    monkeypatch.setattr(sys, "path", sys.path.copy())
    try:
        commands.main()
    finally:
        flagsaver.restore_flag_values(saved)


@pytest.mark.parametrize("arguments", [(), ("help",), ("--help",)])
def test_the_commands_are_listed_with_a_line_each(arguments, monkeypatch, capsys):
    run(monkeypatch, *arguments)
    lines = capsys.readouterr().out.splitlines()
    for name in commands.COMMANDS:
        [line] = [line for line in lines if line.split()[:1] == [name]]
        assert len(line) < 100


def test_an_unknown_command_is_told(monkeypatch):
    with pytest.raises(SystemExit, match=r"no command 'fly'; give one of train, compress"):
        run(monkeypatch, "fly")


def test_every_command_is_a_module_that_the_wheel_holds():
    for module, _ in commands.COMMANDS.values():
        assert util.find_spec(module).origin.startswith(str(ROOT))


def test_the_script_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, function = project["scripts"]["keras-sparse"].partition(":")
    assert getattr(sys.modules[module], function) is commands.main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("latency",), "give one file, model.keras"),
        (("convert", "a.keras"), "give two files, model.keras and model.tflite"),
        (("benchmark", "absent.tflite"), "does not exist. Received: absent.tflite"),
    ],
)
def test_a_command_gets_its_arguments_in_any_folder(arguments, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=message):
        run(monkeypatch, *arguments)


def test_modules_of_the_current_folder_are_found(monkeypatch, tmp_path):
    (tmp_path / "layers_of_this_folder.py").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="give one file"):
        run(monkeypatch, "latency")
    assert util.find_spec("layers_of_this_folder")


def test_help_of_a_command_lists_its_flags(tmp_path):
    program = "from apps.commands import main; main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, "latency", "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert commands.COMMANDS["latency"][1] in done.stdout
    assert "python -m export.latency model.keras --quantize=int8" in done.stdout
    assert "flags:\n  --import: A Python module" in done.stdout
    assert "\n  --num_threads: Threads of LiteRT. (a whole number" in done.stdout
