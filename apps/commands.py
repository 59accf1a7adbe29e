"""`keras-sparse COMMAND`: the programs of this project under one name, from any folder."""

import ast
import importlib.util
import os
import pathlib
import runpy
import sys

# Name: (module, description). Each also runs as `python -m MODULE`.
COMMANDS = {
    "train": ("apps.train", "Train a sparse network, cut out what died, convert and time."),
    "compress": ("apps.compress", "Make a model smaller: dead channels, or down to a budget."),
    "report": ("export.report", "Set runs beside each other on one page."),
    "reproduce": ("apps.reproduce", "Run a table of a paper and set it beside what was published."),
    "convert": ("export.convert", "Convert a model to a TFLite file that is proven equal."),
    "quantize": ("export.quantize", "Train a model for int8, then convert it."),
    "benchmark": ("export.benchmark", "Time TFLite files side by side on this machine."),
    "android": ("export.android", "Time TFLite files on an Android phone, through adb."),
    "micro": ("export.micro", "Measure what a file needs of a microcontroller."),
    "latency": ("export.latency", "Measure what each layer of a model costs on this machine."),
}
_HELP = ("help", "--help", "-help", "-h", "--h")


def main():
    """Run the program that the first argument names, with the other arguments as its own."""
    name, *arguments = sys.argv[1:] or ["help"]
    if name in _HELP:
        print(_overview())
        return
    if name not in COMMANDS:
        sys.exit(f"keras-sparse: there is no command {name!r}; give one of {', '.join(COMMANDS)}")
    # For modules of the user, which `python -m` also finds here.
    sys.path.append(os.getcwd())
    module, _ = COMMANDS[name]
    sys.modules["__main__"].__doc__ = _docstring(module)  # absl prints it for --help
    sys.argv = [f"keras-sparse {name}", *arguments]
    runpy.run_module(module, run_name="__main__")


def _docstring(module):
    """The docstring of a program, read without importing it."""
    spec = importlib.util.find_spec(module)
    if spec.submodule_search_locations:
        spec = importlib.util.find_spec(f"{module}.__main__")
    return ast.get_docstring(ast.parse(pathlib.Path(spec.origin).read_text(encoding="utf-8")))


def _overview():
    lines = [f"  {name:10} {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(
        [
            "keras-sparse COMMAND [ARGUMENTS]",
            "",
            *lines,
            "",
            "keras-sparse COMMAND --help lists the flags of a command.",
        ]
    )
