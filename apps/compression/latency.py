"""Latency tables of a run, and what was measured on the way."""

import json
import pathlib

from export import LatencyTable, run_folder
from export.benchmark.progress import progress_bar

_QUANTIZE = {"latency": None, "int8_latency": "int8"}


def tables(model, target, folder, values):
    """`{cost: table}` for the latencies among the targets.

    Args:
        model: a `keras.Model`.
        target: dict by cost.
        folder: the run's `pathlib.Path`, which keeps what was measured; None to keep only what
            `--table` names.
        values: the flags' values.
    """
    wanted = {name: quantize for name, quantize in _QUANTIZE.items() if name in target}
    found = {}
    for name, quantize in wanted.items():
        path = _path(folder, values.table, quantize, len(wanted) > 1)
        print(f"Measuring the layers of the model in {quantize or 'float32'} ...", flush=True)
        with progress_bar() as progress:
            table = LatencyTable.measure(
                model,
                quantize=quantize,
                num_threads=values.num_threads or 1,
                path=path,
                progress=progress,
            )
        found[name] = Remembering(table, folder and folder / f"{name}_measured.json")
    return found


def _path(folder, table, quantize, several):
    if table is None and folder is None:
        return None
    path = pathlib.Path(table) if table else run_folder.prepare(folder) / "latency.json"
    if quantize and (several or not table):
        path = path.with_name(f"{path.stem}-{quantize}{path.suffix}")
    return path


class Remembering:
    """A latency table that times no model twice.

    A second measurement differs a little, and so would the plan of a run that goes on after a kill.

    Args:
        table: an `export.LatencyTable`.
        path: file that keeps the times, or None.
    """

    def __init__(self, table, path):
        self._table = table
        self._path = path
        self._known = json.loads(path.read_text()) if path and path.exists() else {}

    def layer_seconds(self, layer, shapes):
        """See `LatencyTable`."""
        return self._table.layer_seconds(layer, shapes)

    def steps(self, layer):
        """See `LatencyTable`."""
        return self._table.steps(layer)

    def model_seconds(self, model):
        """The time of a whole model, measured or known."""
        key = " ".join(str(tuple(weight.shape)) for weight in model.weights)
        if key not in self._known:
            self._known[key] = self._table.model_seconds(model)
            if self._path:
                run_folder.write_text(json.dumps(self._known, indent=1), self._path)
        return self._known[key]
