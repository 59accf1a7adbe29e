"""The measured time of each layer of a model at each width."""

import functools
import importlib.metadata
import json
import numbers
import os
import pathlib
import textwrap
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from export.latency import report
from export.machine import processor

if TYPE_CHECKING:
    import keras

# A width is useful if no wider one is within this share of the time of its file.
_SAME = 0.03
# The largest number of output channels that a kernel computes at once.
_TILE = 16
_OTHER_PATH = "Give another `path` (in a program: --table)."
# Characters of a wrong value in a message.
_SHOWN = 100
_QUANTIZE = (None, "int8")


class LatencyTable:
    """Measured time of the dense layers and convolutions of a model, by their widths.

    The time of a layer rises in steps with its output channels, and almost linearly with its input
    channels. So each layer is timed as a separate TFLite file at the widths of possible steps, and
    with fewer input channels. A network also has sums and pooling, and its layers share the caches.
    So the times of the layers are scaled to match the model with half of its channels, which is
    timed as a whole. The model itself is timed too.

    Make a table with `measure` or `load`.

    Args:
        rows: `{layer: row}`; a row is a dict of `inputs`, `outputs`: the layer's widths; `axes`:
            where these stand in its weights; `widths`, `seconds`: output widths and their times;
            `ratios`: dict of `inputs`, `outputs` and `values`, the times with fewer inputs
            relative to those, or None; `calls`: how often the model calls the layer; `fixed`:
            whether its output channels cannot be removed; `key`.
        machine: dict that describes the machine of the measurement.
        whole: dict of values for the whole model: `invoke`: seconds of an inference of an empty
            file; `model`: seconds of the given model; `grain`: number of input channels that take
            the same time; `scale`: factor for the times of layers; `graph`: hash of the model's
            operations; `reference`: seconds of the file that this machine's times are relative to.
        time: see `measure`.

    Example:

    >>> table = LatencyTable.measure(model, path="latency.json")
    >>> table.layer_seconds("conv1", {"kernel": (3, 3, 3, 24)})
    2.4e-05
    >>> plan = keras_sparse.plan(model, data, target={"latency": 0.5}, latency={"latency": table})
    """

    def __init__(self, rows, machine, whole, time=None):
        self.rows = rows
        self.machine = machine
        self.whole = whole
        self._time = time and functools.partial(_checked_seconds, time)

    def __str__(self):
        threads = f"{self.machine['threads']} thread(s)"
        return "\n".join([*report.lines(self), f"On {self.machine['device']}, {threads}."])

    @classmethod
    def measure(
        cls,
        model: "keras.Model",
        *,
        quantize: Literal["int8"] | None = None,
        num_threads: int = 1,
        path: str | os.PathLike | None = None,
        time: Callable[[list[bytes]], list[float]] | None = None,
        device: str | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> "LatencyTable":
        """Measure a model's layers.

        Args:
            model: a built `keras.Model` whose sizes are all known, except for the batch.
            quantize: None for float32, or `"int8"`.
            num_threads: threads of LiteRT.
            path: JSON file for the table. If it exists, the layers in it are not measured again.
            time: None for this machine, or a function that runs files elsewhere: from a list of
                TFLite files as bytes to a list of seconds, a positive number for each file.
            device: str, name of the device on which `time` runs files.
            progress: called as `progress(done, total)`, or None.

        Returns:
            A `LatencyTable`.

        Raises:
            ValueError: an argument of a wrong type; `time` without `device`, or one that returns
                something else; a file of another machine.
            ExportError: a layer or the model cannot be converted.
        """
        if quantize not in _QUANTIZE:
            raise ValueError(f"`quantize` must be one of {_QUANTIZE}. Received: {quantize!r}")
        if (time is None) != (device is None):
            raise ValueError("`time` and `device` belong together: say what `time` runs files on.")
        if time is not None and not callable(time):
            raise ValueError(f"`time` must be a function of a list of files. Received: {time!r}")
        # Keras is slow to import.
        from export.convert.litert import check_backend
        from export.latency.layers import fixed_layers, graph_hash, tflite_bytes, timed_layers
        from export.latency.rows import measured_rows

        check_backend()
        machine = _machine(device, num_threads, quantize)
        old = cls({}, machine, {}, time)
        if path and os.path.exists(path):
            old = cls.load(path, machine, time)
        known = {row["key"]: row for row in old.rows.values()}
        layers = timed_layers(model)
        missing = {layer.key(): layer for layer in layers if layer.key() not in known}
        run = old._time or _host_timer(machine, old.whole)
        graph = graph_hash(model)
        renamed = {layer.name for layer in layers} != old.rows.keys()
        changed = missing or renamed or graph != old.whole.get("graph")
        # Converted first: a model that cannot be converted fails before the layers are timed.
        file = tflite_bytes(model, quantize) if changed else None
        known |= measured_rows(missing, quantize, run, progress)
        fixed = fixed_layers(model)
        rows = {
            layer.name: {
                **known[layer.key()],
                "key": layer.key(),
                "calls": layer.calls,
                "axes": layer.axes,
                "fixed": layer.name in fixed,
            }
            for layer in layers
        }
        table = cls(rows, machine, old.whole, time)
        if changed:
            table.whole = {**table._fitted(model, run, file), "graph": graph}
            if time is None:
                table.whole["reference"] = run.least
        if path:
            table.save(path)
        return table

    def _fitted(self, model, run, file):
        """Measure the values of `whole` for a model and its TFLite file."""
        from export.latency.rows import input_grain, invoke_seconds
        from export.latency.scaling import whole_networks

        quantize = self.machine["quantize"]
        invoke, grain = invoke_seconds(quantize, run), input_grain(quantize, run)
        self.whole = {"invoke": invoke, "grain": grain, "scale": 1.0}
        if not self.rows:
            return self.whole
        seconds, scale = whole_networks(model, self, run, file)
        return {**self.whole, "scale": scale, "model": seconds}

    def check(self, model: "keras.Model") -> None:
        """Raise a `ValueError` if this is the table of another model."""
        reason = self._difference_from(model)
        if reason:
            raise ValueError(
                f"The latency table is of another model than {model.name!r}: {reason}. Measure a "
                "table for this model; with the `path` of this one, layers that it knows are not "
                "measured again."
            )

    def _difference_from(self, model):
        """How a model differs from the measured one, in words; None if it does not."""
        from export.latency.layers import graph_hash, timed_layers

        own = {layer.name: layer.key() for layer in timed_layers(model)}
        measured = {name: row["key"] for name, row in self.rows.items()}
        for name in {**own, **measured}:
            if name not in measured:
                return f"it has no layer {name!r}, but {', '.join(measured)}"
            if name not in own:
                return f"the model has no layer {name!r}"
            if own[name] != measured[name]:
                return f"the layer {name!r} has other sizes"
        if self.whole.get("graph") not in (None, graph_hash(model)):
            return "it has other operations beside the dense layers and convolutions"
        return None

    def layer_seconds(self, layer: str, shapes: Mapping[str, tuple]) -> float:
        """Time of one layer whose weights have these shapes.

        Args:
            layer: its name; a layer that was not measured takes no time.
            shapes: `{weight name: shape}`.

        Returns:
            Seconds, over all calls of the layer.
        """
        if layer not in self.rows:
            return 0.0
        axes = self.rows[layer]["axes"]
        return self.seconds(layer, *(shapes[name][axis] * factor for name, axis, factor in axes))

    def seconds(self, layer, inputs, outputs):
        """Time of one layer at these widths, and of the operators that follow it."""
        row, whole = self.rows[layer], self.whole
        inputs = -(-inputs // whole["grain"]) * whole["grain"]
        seconds = max(np.interp(_beside(outputs, row["widths"]), row["widths"], row["seconds"]))
        own = whole["scale"] * seconds * _ratio(row["ratios"], inputs, outputs)
        first = layer == next(iter(self.rows))
        return float(row["calls"] * own + first * whole["invoke"])

    def steps(self, layer):
        """Useful output widths of a layer: no wider one takes the same time.

        A file is timed with the inference itself, which is long beside a tiny layer. So times that
        differ by less than a share of both together count as the same.
        """
        row = self.rows.get(layer)
        if row is None:
            return []
        widths, seconds = row["widths"], np.array(row["seconds"]) + self.whole["invoke"]
        return [
            width
            for i, width in enumerate(widths)
            if i == len(widths) - 1 or seconds[i + 1 :].min() > (1 + _SAME) * seconds[i]
        ]

    @property
    def can_time(self):
        """Whether whole models can be timed, here or with the given function."""
        return self._time is not None or self.machine.get("device") == processor()

    def models_seconds(self, models):
        """The measured times of whole models, as TFLite files on the device of the table.

        Args:
            models: list of `keras.Model`s.

        Returns:
            List of seconds.

        Raises:
            ValueError: a table of another device that was loaded without `time`.
        """
        from export.latency.layers import tflite_bytes

        if not self.can_time:
            raise ValueError(
                f"The table is of {self.machine.get('device')!r}, so models cannot be timed here: "
                "give `time`, the function that runs files there, to `measure` or `load`."
            )
        run = self._time or _host_timer(self.machine, self.whole)
        return run([tflite_bytes(model, self.machine["quantize"]) for model in models])

    def total(self) -> float:
        """The measured time of the given model."""
        return self.whole.get("model", self.sum())

    def sum(self):
        """The sum of the times of all layers of the given model."""
        return sum(
            self.seconds(name, row["inputs"], row["outputs"]) for name, row in self.rows.items()
        )

    def save(self, path: str | os.PathLike) -> None:
        """Write the table as JSON."""
        from keras_sparse.files import replacing

        text = json.dumps(
            {"machine": self.machine, "whole": self.whole, "rows": self.rows}, indent=1
        )
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")

    @classmethod
    def load(
        cls,
        path: str | os.PathLike,
        machine: dict | None = None,
        time: Callable[[list[bytes]], list[float]] | None = None,
    ) -> "LatencyTable":
        """Read a table that `save` wrote.

        Args:
            path: the file.
            machine: the required machine; None for any.
            time: see `measure`; it times whole models. Not needed on the machine of the table.

        Raises:
            ValueError: a damaged file, or one of another machine.
        """
        try:
            state = json.loads(pathlib.Path(path).read_text())
            rows, found, whole = state["rows"], state["machine"], state["whole"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is no latency table: {error!r}. {_OTHER_PATH}") from error
        if machine is not None and found != machine:
            differing = [
                _difference(name, found.get(name), machine.get(name))
                for name in dict.fromkeys([*machine, *found])
                if found.get(name) != machine.get(name)
            ]
            raise ValueError(f"{path} was measured {', '.join(differing)}. {_OTHER_PATH}")
        return cls(rows, found, whole, time)


def _host_timer(machine, whole):
    """A timer with times that can be compared with the times in a table."""
    from export.latency.layers import reference_file
    from export.latency.timing import HostTimer

    reference = reference_file(machine["quantize"])
    return HostTimer(reference, machine["threads"], whole.get("reference"))


def _checked_seconds(time, contents):
    """What the user's function `time` returns for files; a ValueError unless it is their times."""
    found = time(contents)
    found = found.tolist() if isinstance(found, np.ndarray) else found
    good = isinstance(found, (list, tuple)) and len(found) == len(contents)
    if not good or not all(_is_time(each) for each in found):
        raise ValueError(
            "`time` must return a list of seconds, a positive finite number for each of the "
            f"{len(contents)} files. Received: {textwrap.shorten(repr(found), _SHOWN)}"
        )
    return [float(each) for each in found]


def _is_time(value):
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return number and 0 < value < float("inf")


def _difference(name, there, here):
    """How a table's machine differs from the required one, in words."""
    if name == "device":
        return f"elsewhere, on {there}, not {here}"
    if name == "threads":
        return f"with {there} thread{'s' * (there != 1)}, not {here}"
    return f"with {name}={there}, not {here}"


def _machine(device, num_threads, quantize):
    return {
        "device": device or processor(),
        "litert": importlib.metadata.version("ai-edge-litert"),
        "threads": num_threads,
        "quantize": quantize,
    }


def _beside(width, measured):
    """The neighbouring widths that may have the same time: measured ones and whole tiles.

    A kernel that is not full takes as long as a fuller one, and sometimes longer than a full one.
    """
    below = [own for own in measured if own <= width + 1e-9]
    above = [own for own in measured if own >= width - 1e-9]
    return [
        max([width // _TILE * _TILE, *below[-1:]]),
        min([-(-width // _TILE) * _TILE, *above[:1]]),
    ]


def _ratio(ratios, inputs, outputs):
    """Time with fewer inputs relative to all inputs, interpolated between measured ones."""
    if ratios is None:
        return 1.0
    at = [np.interp(outputs, ratios["outputs"], values) for values in ratios["values"]]
    known = ratios["inputs"]
    i = int(np.clip(np.searchsorted(known, inputs), 1, len(known) - 1))
    slope = (at[i] - at[i - 1]) / (known[i] - known[i - 1])
    return max(at[i] + slope * (inputs - known[i]), 0.0)
