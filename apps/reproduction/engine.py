"""Runs the rows of a table for some seeds, and skips finished ones."""

import contextlib
import dataclasses
import json
import pathlib
import platform
import re
import shutil
from collections.abc import Mapping, Sequence

import keras
import rich.console
import rich.progress

from apps import program
from apps.reproduction import results, training
from apps.reproduction.table import FILES, Row, Table
from apps.training import tasks
from apps.training.config import TrainConfig
from keras_sparse.files import remove_left_behind, replacing

_SETTINGS = "table.json"
_CELLS = "cells"
_UNFINISHED = "unfinished"
_TOGETHER = "together.json"
_TRAINED = "trained.json"


def prepare(name, table, out, seeds, epochs, rows, train_images, data_dir):
    """Check the arguments, load the data and make the folder.

    Args:
        name: name of the table.
        table: the `Table`.
        out: `pathlib.Path` of a folder; made if it does not exist.
        seeds: int; the seeds are 0 to `seeds` − 1.
        epochs: int, or None for the table's number.
        rows: regular expression searched for in the keys of rows.
        train_images: int, the number of training images to use, or None for all.
        data_dir: folder of the data set's file; see `keras_sparse.data.load`.

    Returns:
        A `Reproduction`, to `run`.

    Raises:
        ValueError: missing rows or images; a folder of another table or of other settings.
    """
    changes = {"epochs": epochs, "train_images": train_images, "data_dir": data_dir}
    chosen = [(row, table.config(row).replace(**changes)) for row in _chosen(table, rows)]
    task = tasks.load(chosen[0][1].data) if table.has_data else None
    settings = {
        "table": name,
        "epochs": table.settings["epochs"] if epochs is None else epochs,
        "train_images": None if task is None else len(task.dataset.x_train),
    }
    _prepare_folder(out, settings)
    return Reproduction(table, chosen, range(seeds), task, out, settings)


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """The rows and seeds to run into a folder, checked by `prepare`.

    Each row has its `TrainConfig`. A run is one row with one seed. Its measurements are one JSON
    file, written when the run is finished. A killed run continues from its checkpoint, with the
    same figures.
    """

    table: Table
    rows: Sequence[tuple[Row, TrainConfig]]
    seeds: Sequence[int]
    task: tasks.InMemory | None
    out: pathlib.Path
    settings: Mapping

    def run(self, command):
        """Run the missing runs, and write the results after each.

        Args:
            command: the command line of the program, for the report.
        """
        console = rich.console.Console(markup=False)  # brackets in a path are no markup
        # The outer loop is over seeds, so that a table that is stopped early has all rows.
        runs = [
            (row, config.replace(seed=seed)) for seed in self.seeds for row, config in self.rows
        ]
        missing = [run for run in runs if not self._cell(*run).exists()]
        done = len(runs) - len(missing)
        console.print(f"{done} of {len(runs)} runs are done, in {self.out}")
        self._cells()  # a damaged file fails before the training
        facts = {**self.settings, "command": command, **_versions()}
        with _progress(console) as progress:
            here = [run for run in missing if self._measures or run[0].first_training(run[1])]
            epochs = sum(config.training.epochs for _, config in here)
            shown = progress.add_task("", total=epochs)
            for row, config in here:
                seed = config.training.seed
                progress.update(shown, description=f"{row.key}, seed {seed}")
                cell = self._run(row, config, facts, lambda: progress.advance(shown))
                if cell is not None:
                    console.print(results.line(self.table, cell))
                    results.write_text(self.table, self._cells(), facts, self.out)
        if missing and not self._measures:
            console.print(self._what_is_left(len(here), len(missing) - len(here)))
            return
        self._measure_together(console)
        cells = self._cells()
        results.write_text(self.table, cells, facts, self.out)
        results.write_picture(self.table, cells, self.out)
        console.print(results.as_rich(self.table, cells, console))
        console.print(f"Wrote results.csv, results.md and results.png to {self.out}")

    def _what_is_left(self, trained, others):
        """The work that remains for another backend."""
        again = f"run the same command with KERAS_BACKEND={self.table.backend}"
        told = f"{trained} trained, and left in {self.out} to be measured: {again}"
        return f"{told}, which trains {others} more" if others else told

    @property
    def _measures(self):
        return self.table.backend in (None, keras.backend.backend())

    def _run(self, row, config, facts, on_epoch):
        """The measurements, or None if the backend can train but not measure."""
        cell = self._cell(row, config)
        folder = self.out / _UNFINISHED / cell.stem
        folder.mkdir(parents=True, exist_ok=True)
        arguments = (config, self.task, folder, on_epoch)
        if not self._measures:
            training.trained_model(row.first_training(config), *arguments[1:])
            _write_json(folder / _TRAINED, facts)
            return None
        figures, seconds = self.table.experiment(self.table, row, *arguments)
        facts = {**facts, "epochs": config.training.epochs}
        content = {"row": row.key, "seed": config.training.seed, "figures": figures, **facts}
        if (folder / _TRAINED).exists():
            content["trained_on"] = _read_json(folder / _TRAINED, backend=str)["backend"]
        content["seconds_per_epoch"] = seconds
        if (folder / FILES).exists():
            kept = self._files(cell.stem)
            shutil.rmtree(kept, ignore_errors=True)
            kept.parent.mkdir(exist_ok=True)
            (folder / FILES).rename(kept)
        _write_json(cell, content)
        shutil.rmtree(folder)
        with contextlib.suppress(OSError):  # not empty, because another run was killed
            folder.parent.rmdir()
        return content

    def _measure_together(self, console):
        """Measure all finished runs side by side, unless these were already measured so."""
        if self.table.together is None or not self._measures:
            return
        names = {path.stem for path in self._finished()}
        if names != set(self._found_together()):
            console.print(f"Measuring {len(names)} runs side by side")
            found = self.table.together({name: self._files(name) for name in sorted(names)})
            _write_json(self.out / _TOGETHER, found)

    def _found_together(self):
        file = self.out / _TOGETHER
        return _read_json(file) if file.exists() else {}

    def _cell(self, row, config):
        return self.out / _CELLS / f"{row.key}-seed{config.training.seed}.json"

    def _files(self, name):
        return self.out / FILES / name

    def _finished(self):
        return sorted((self.out / _CELLS).glob("*.json"))

    def _cells(self):
        """`{row key: its finished runs}`, including runs that this call did not request."""
        found = {row.key: [] for row in self.table.rows}
        together = self._found_together()
        for path in self._finished():
            cell = _read_json(path, row=str, figures=dict, seconds_per_epoch=(float, type(None)))
            cell["figures"] |= together.get(path.stem, {})
            if cell["row"] in found:
                found[cell["row"]].append(cell)
        return found


def _check(holds, message, received):
    if not holds:
        raise ValueError(f"{message}. Received: {received}")


def _chosen(table, pattern):
    chosen = [row for row in table.rows if re.search(pattern, row.key)]
    keys = ", ".join(row.key for row in table.rows)
    _check(chosen, f"--rows fits none of the rows, which are {keys}", repr(pattern))
    return chosen


def _prepare_folder(out, settings):
    """Make the folder, or check that it has the same table and settings."""
    try:
        (out / _CELLS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"--out={out} cannot be made: {error.strerror}.") from error
    for folder in (out, out / _CELLS):
        remove_left_behind(folder)
    file = out / _SETTINGS
    if not file.exists():
        _write_json(file, settings)
    found = _read_json(file)
    _check(
        found == settings,
        f"--out={out} holds runs of {_text(found)}: give another folder, or these settings",
        _text(settings),
    )


def _text(settings):
    return ", ".join(f"{name}={value}" for name, value in settings.items())


def _write_json(path, content):
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _read_json(path, **kinds):
    """A dict with values of these types; an error if the file is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict) and all(
            key in found and isinstance(found[key], kind) for key, kind in kinds.items()
        ):
            return found
        error = f"it needs {', '.join(kinds) or 'keys and values'}"
    except ValueError as damage:
        error = damage
    raise program.UsageError(
        f"{path} is damaged ({error}): delete this file, and the same command writes it again."
    )


def _versions():
    return {
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        "python": platform.python_version(),
    }


def _progress(console):
    return rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.TaskProgressColumn(),
        rich.progress.TimeRemainingColumn(),
        console=console,
    )
