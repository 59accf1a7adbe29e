"""Measure what each layer of a model costs on this machine.

python -m export.latency model.keras
python -m export.latency model.keras --quantize=int8
python -m export.latency model.keras --table=table.json --num_threads=4
"""

import os
import sys

from absl import flags

from export.command_line import (
    check_model,
    check_output,
    clean_up_when_terminated,
    count,
    quiet_import,
    run,
)
from export.custom_objects import define_import, register_objects


def define_flags():
    """Defines the flags; not on import, because other programs share some names."""
    flags.DEFINE_enum("quantize", None, ["int8"], "Default: float32.")
    define_import()
    count("num_threads", 1, "Threads of LiteRT.")
    flags.DEFINE_string("table", None, "JSON file that keeps the measured times.")


def main(argv, values=flags.FLAGS):
    """Measures the layers of the model `argv[1]` and prints their costs."""
    if len(argv) != 2:
        sys.exit("export.latency: give one file, model.keras (--help shows the flags)")
    # Before the slow imports.
    if not os.path.exists(argv[1]):
        sys.exit(f"export.latency: there is no file {argv[1]}")
    clean_up_when_terminated()
    try:
        check_model(argv[1])
        check_output(values.table)
    except ValueError as error:
        sys.exit(f"export.latency: {error}")
    with quiet_import():
        from export import ExportError
        from export.benchmark.progress import progress_bar
        from export.latency import LatencyTable
        from keras_sparse.loading import load_model

    try:
        register_objects(getattr(values, "import"))
        model = load_model(argv[1])
        with progress_bar() as progress:
            table = LatencyTable.measure(
                model,
                quantize=values.quantize,
                num_threads=values.num_threads,
                path=values.table,
                progress=progress,
            )
    except (ExportError, ValueError, OSError) as error:
        sys.exit(f"export.latency: {error}")
    print(table)


if __name__ == "__main__":
    define_flags()
    run("export.latency", main)
