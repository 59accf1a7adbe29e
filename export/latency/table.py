"""How long each layer of a model takes at each width, measured."""

import importlib.metadata
import json
import os
import pathlib
import platform

import numpy as np

from export.errors import ExportError
from export.latency.timing import time_files

# A width is worth having if no wider one is within this factor of its time.
_SAME = 1.03
_MOST_WIDTHS = 24
_QUANTIZE = (None, "int8")


class LatencyTable:
    """Measured time of the dense layers and convolutions of a model, by their widths.

    The time of a layer is a staircase in its output channels and a line in its input channels. So
    each layer is timed as a TFLite file of its own at the widths where steps can be, and at half of
    its input channels. The sum over the layers predicts the time of a whole network; what is no
    dense layer and no convolution is not counted.

    Make one by `measure` or `load`.

    Args:
        rows: `{layer: row}`; a row is a dict of `inputs`, `outputs`: the layer's widths; `axes`:
            where these stand in its weights; `widths`, `seconds`: output widths and their times;
            `slope`: share of the time that goes with the input channels, None where inputs and
            outputs have one width; `calls`: how often the model calls the layer; `key`.
        machine: dict that says what was measured on.

    Example:

    >>> table = LatencyTable.measure(model, path="latency.json")
    >>> table.layer_seconds("conv1", {"kernel": (3, 3, 3, 24)})
    2.4e-05
    >>> plan = keras_sparse.plan(model, data, target={"latency": 0.5}, latency={"latency": table})
    """

    def __init__(self, rows, machine):
        self.rows = rows
        self.machine = machine

    @classmethod
    def measure(
        cls,
        model,
        *,
        quantize=None,
        num_threads=1,
        path=None,
        time=None,
        device=None,
        progress=None,
    ):
        """Measure a model's layers.

        Args:
            model: a built `keras.Model` whose sizes are all known but the batch.
            quantize: None for float32, or `"int8"`.
            num_threads: threads of LiteRT.
            path: JSON file that keeps the table. If it is there, the layers that it has are not
                measured again.
            time: None for this machine, or a function from a list of TFLite files as bytes to a
                list of seconds, which runs them elsewhere.
            device: str, name of the device that `time` runs them on.
            progress: called as `progress(done, total)`, or None.

        Returns:
            A `LatencyTable`.

        Raises:
            ValueError: an argument of another kind; `time` without `device`; a file of another
                machine.
            ExportError: a layer that cannot be converted.
        """
        if quantize not in _QUANTIZE:
            raise ValueError(f"`quantize` must be one of {_QUANTIZE}. Received: {quantize!r}")
        if (time is None) != (device is None):
            raise ValueError("`time` and `device` belong together: say what `time` runs files on.")
        from export.latency.layers import timed_layers  # Keras takes seconds to import

        machine = _machine(device, num_threads, quantize)
        known = cls.load(path, machine).by_key() if path and os.path.exists(path) else {}
        layers = timed_layers(model)
        keys = {layer.key(): layer for layer in layers}
        missing = {key: layer for key, layer in keys.items() if key not in known}
        run = time or (lambda files: time_files(files, num_threads=num_threads, progress=progress))
        known |= _measure(missing, quantize, run)
        rows = {
            layer.name: {
                **known[layer.key()],
                "key": layer.key(),
                "calls": layer.calls,
                "axes": layer.axes,
            }
            for layer in layers
        }
        table = cls(rows, machine)
        if path:
            table.save(path)
        return table

    def layer_seconds(self, layer, shapes):
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
        """Time of one layer at these widths: that of the next width that was measured."""
        row = self.rows[layer]
        widths = np.array(row["widths"])
        i = min(int(np.searchsorted(widths, outputs - 1e-9)), len(widths) - 1)
        share = 1.0 if row["slope"] is None else 1 - row["slope"] * (1 - inputs / row["inputs"])
        return row["calls"] * row["seconds"][i] * max(share, 0.0)

    def steps(self, layer):
        """Output widths of a layer that are worth having: no wider one takes the same time."""
        row = self.rows.get(layer)
        if row is None:
            return []
        widths, seconds = row["widths"], np.array(row["seconds"])
        return [
            width
            for i, width in enumerate(widths)
            if i == len(widths) - 1 or seconds[i + 1 :].min() > _SAME * seconds[i]
        ]

    def model_seconds(self, model, *, time=None):
        """The measured time of a whole model on this machine, as a TFLite file.

        Args:
            model: a `keras.Model` with one input.
            time: see `measure`.
        """
        from export.latency.layers import tflite_bytes

        run = time or (lambda files: time_files(files, num_threads=self.machine["threads"]))
        return run([tflite_bytes(model, self.machine["quantize"])])[0]

    def total(self):
        """The predicted time of the model as it is."""
        return sum(
            self.seconds(name, row["inputs"], row["outputs"]) for name, row in self.rows.items()
        )

    def by_key(self):
        """The rows by what layers of equal time have in common."""
        return {row["key"]: row for row in self.rows.values()}

    def save(self, path):
        """Write the table as JSON."""
        text = json.dumps({"machine": self.machine, "rows": self.rows}, indent=1)
        temporary = pathlib.Path(f"{path}.part")
        temporary.write_text(text)
        temporary.replace(path)

    @classmethod
    def load(cls, path, machine=None):
        """Read a table that `save` wrote.

        Args:
            path: the file.
            machine: what it must be of; None for whatever it is of.

        Raises:
            ValueError: a damaged file, or one of another machine.
        """
        try:
            state = json.loads(pathlib.Path(path).read_text())
            rows, found = state["rows"], state["machine"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is no latency table: {error!r}. Remove it.") from error
        if machine is not None and found != machine:
            differing = {k: (found.get(k), v) for k, v in machine.items() if found.get(k) != v}
            raise ValueError(
                f"{path} was measured elsewhere; times of another machine say nothing here. "
                f"(there, here): {differing}. Give another `path`."
            )
        return cls(rows, found)


def _machine(device, num_threads, quantize):
    return {
        "device": device or _processor(),
        "litert": importlib.metadata.version("ai-edge-litert"),
        "threads": num_threads,
        "quantize": quantize,
    }


def _processor():
    """The processor's name and its widest vector instructions."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        facts = dict(map(str.strip, line.split(":", 1)) for line in reversed(lines) if ":" in line)
        flags = [f for f in ("avx512f", "avx512_vnni", "avx2") if f in facts.get("flags", "")]
        return " ".join([facts.get("model name", platform.machine()), *flags])
    except OSError:
        return platform.processor() or platform.machine()


def _measure(layers, quantize, run):
    """`{key: row}` for layers that are not known yet."""
    files, places = [], []
    for key, layer in layers.items():
        inputs, outputs = layer.widths
        for width in _widths(inputs if layer.one_width else outputs):
            own = (width, width * outputs // inputs) if layer.one_width else (inputs, width)
            if layer.fits(*own):
                places.append((key, own[1]))
                files.append(_file(layer, *own, quantize))
        if not layer.one_width and inputs > 1:
            places.append((key, None))
            files.append(_file(layer, inputs // 2, outputs, quantize))
    rows = {}
    for (key, width), seconds in zip(places, run(files) if files else [], strict=True):
        inputs, outputs = layers[key].widths
        empty = {"inputs": inputs, "outputs": outputs, "widths": [], "seconds": [], "slope": None}
        row = rows.setdefault(key, empty)
        if width is None:
            saved = 1 - seconds / row["seconds"][-1]
            row["slope"] = float(np.clip(saved / (1 - (inputs // 2) / inputs), 0.0, 1.0))
        else:
            row["widths"].append(width)
            row["seconds"].append(seconds)
    return rows


def _widths(size):
    """Where steps can be: multiples of 4 or more, at most 24 of them, and the width itself."""
    step = 4
    while size / step > _MOST_WIDTHS:
        step *= 2
    return sorted({1, 2} | set(range(step, size, step)) | {size}) if size > 2 else [size]


def _file(layer, inputs, outputs, quantize):
    from export.latency.layers import tflite_bytes

    try:
        return tflite_bytes(layer.model(inputs, outputs), quantize)
    except Exception as error:
        raise ExportError(
            f"The layer {layer.name!r} cannot be converted with {inputs} input and "
            f"{outputs} output channels: {error}"
        ) from error
