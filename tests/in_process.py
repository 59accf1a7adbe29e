"""A program in this process: the same as `python -m`, without seconds of imports."""

import runpy
import sys
from unittest import mock

from absl.testing import flagsaver


def run_program(module, *arguments):
    """Runs `python -m module arguments` here.

    Returns:
        What it gives `sys.exit`: None or 0 if all went well, 1 after a line for an error, or that
        line, which a process of its own would print.
    """
    saved = flagsaver.save_flag_values()
    try:
        with mock.patch.object(sys, "argv", [module, *map(str, arguments)]):
            runpy.run_module(module, run_name="__main__")
    except SystemExit as end:
        return end.code
    finally:
        flagsaver.restore_flag_values(saved)
    return None
