"""Latency tables of a run."""

import pathlib

from export import LatencyTable, run_folder
from export.benchmark.progress import progress_bar

_QUANTIZE = {"latency": None, "int8_latency": "int8"}


def tables(model, target, folder, values):
    """`{cost: table}` for the latencies among the targets.

    Args:
        model: a `keras.Model`.
        target: dict by cost.
        folder: the run's `pathlib.Path`, for the tables; None to save only that of `--table`.
        values: the flags' values.
    """
    wanted = {name: quantize for name, quantize in _QUANTIZE.items() if name in target}
    found = {}
    for name, quantize in wanted.items():
        path = _path(folder, values.table, quantize, len(wanted) > 1)
        layers = f"the layers of the model in {quantize or 'float32'}"
        if path and path.exists():
            print(f"The times of {layers} are taken from {path}; missing ones are measured.")
        else:
            print(f"Measuring {layers} ...", flush=True)
        with progress_bar() as progress:
            found[name] = LatencyTable.measure(
                model,
                quantize=quantize,
                num_threads=values.num_threads or 1,
                path=path,
                progress=progress,
            )
    return found


def _path(folder, table, quantize, several):
    if table is None and folder is None:
        return None
    path = pathlib.Path(table) if table else run_folder.prepare(folder) / "latency.json"
    if quantize and (several or not table):
        path = path.with_name(f"{path.stem}-{quantize}{path.suffix}")
    return path
