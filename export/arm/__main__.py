"""Check that TFLite files give the same outputs on ARM, emulated by qemu. It does not time them.

export/arm/prepare.sh arm
python -m export.arm --root=arm model.tflite
python -m export.arm --root=arm *.tflite

The first command makes the folder, as root; docs/devices.md describes it.
"""

import sys

import rich
import rich.table
from absl import flags
from rich.markup import escape

from export import ExportError
from export.arm import check_on_arm
from export.command_line import clean_up_when_terminated, run

ROOT = flags.DEFINE_string("root", None, "The folder that export/arm/prepare.sh made.")


def main(argv):
    """Checks the files `argv[1:]` and prints a table."""
    if len(argv) < 2 or not ROOT.value:
        sys.exit("export.arm: give --root=FOLDER and one or more .tflite files")
    clean_up_when_terminated()
    try:
        checks = check_on_arm(argv[1:], ROOT.value)
    except (ExportError, ValueError) as error:
        sys.exit(f"export.arm: {error}")
    table = rich.table.Table(title="LiteRT on emulated ARM: correctness, not speed")
    for name in ("file", "difference to the host", "relative", "sparse kernels"):
        table.add_column(name)
    for check in checks:
        errors = (f"{check.max_abs_error:.2g}", f"{check.max_relative_error:.2g}")
        table.add_row(escape(check.path), *errors, "yes" if check.sparse else "no")
    rich.print(table)


if __name__ == "__main__":
    run("export.arm", main)
