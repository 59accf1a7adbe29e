"""Run the rows of a published table, and write what came out beside what was published.

python -m apps.reproduce --table=implicit_mnist --seeds=3 --data_dir=FOLDER
python -m apps.reproduce --table=rda_vs_prox_sgd --rows=rda --epochs=2 --data_dir=FOLDER
python -m apps.reproduce --table=sparse_momentum_mnist --seeds=1 --out=runs/momentum
"""

import functools
import pathlib
import re

from absl import flags

from apps import paths, program, tables

GROUP_NAMES = ("table", "training", "output")
_FILES = ("results.csv", "results.md", "results.png", "table.json", "together.json")
_FOLDERS = ("cells", "files", "unfinished")


def define_flags(values=flags.FLAGS):
    """Defines the flags; not on import, because other programs share some names."""
    string = functools.partial(flags.DEFINE_string, default=None, flag_values=values)
    integer = functools.partial(
        flags.DEFINE_integer,
        default=None,
        flag_values=values,
        lower_bound=1,
        upper_bound=program.LARGEST_INTEGER,
    )
    string("table", help=f"One of {', '.join(tables.NAMES)}.", module_name="table")
    string(
        "rows",
        default="",
        help="Run only rows whose name holds this regular expression; the name is made of the "
        "row's labels, as in adam-l2-relu.",
        module_name="table",
    )
    string(
        "data_dir",
        help="Folder with DATASET.npz, in the layout of Keras' mnist.npz. Without it Keras "
        "downloads.",
        module_name="table",
    )
    integer(
        "seeds", default=3, help="How many runs of each row, seeds 0, 1, ….", module_name="training"
    )
    integer(
        "epochs", help="Passes over the data. Default: the table's own.", module_name="training"
    )
    integer(
        "train_images",
        help="Use only so many of the training images, the first ones; for slow machines.",
        module_name="training",
    )
    string(
        "out",
        help="Folder of the results; a run that was stopped continues there. Default: runs/TABLE.",
        module_name="output",
    )


def main(values=flags.FLAGS):
    """Load the table, then run the missing runs."""
    try:
        _check(values)
        # Importing Keras takes seconds, and --help and wrong flags need not wait for it.
        with program.quiet_import():
            from apps.reproduction import engine

        table = tables.load(values.table)
        _check_images(table, values)
        reproduction = engine.prepare(
            values.table,
            table,
            out=_out(values),
            seeds=values.seeds,
            epochs=values.epochs,
            rows=values.rows,
            train_images=values.train_images,
            data_dir=values.data_dir,
        )
    except ValueError as error:
        raise program.UsageError(str(error)) from error
    reproduction.run(program.command_line("apps.reproduce"))


def _out(values):
    return pathlib.Path(values.out or f"runs/{values.table}")


def _check(values):
    """Raise a ValueError for wrong flags."""
    if values.table not in tables.NAMES:
        known = ", ".join(tables.NAMES)
        raise ValueError(f"--table must be one of {known}. Received: {values.table!r}")
    try:
        re.compile(values.rows)
    except re.error as error:
        raise ValueError(
            f"--rows is no regular expression ({error}). Received: {values.rows!r}"
        ) from error
    paths.check_out(_out(values), _FILES, _FOLDERS)
    paths.check_run(_out(values), "reproduce")


def _check_images(table, values):
    if table.dataset == "imagenet":
        raise ValueError(
            f"{values.table} is on ImageNet, which does not fit into memory: train each row by "
            f"`python -m apps.train --row={values.table}/ROW`."
        )
    if table.has_data:
        paths.check_data(table.dataset, values.data_dir)
    elif values.train_images is not None:
        raise ValueError("--train_images must be omitted for a table without images.")


if __name__ == "__main__":
    define_flags()
    program.run(main, __doc__, GROUP_NAMES, lambda: "The same command continues where it was.")
