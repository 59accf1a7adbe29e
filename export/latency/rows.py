"""Measuring the layers of a table."""

import math

import keras

from export.errors import ExportError
from export.latency.layers import tflite_bytes, timed_layers
from export.latency.resizing import ResizableFile

_MOST_WIDTHS = 24
# Limit for the files in memory at the same time.
_MOST_BYTES = 64e6
# If the time rises in steps, one more channel takes at least this share of the step.
_SAME_GRAIN = 0.8
# A layer with fewer inputs than this reads the model's input, which keeps its channels.
_FEWEST_INPUTS = 5


def measured_rows(layers, quantize, run, progress=None):
    """Time layers at their widths.

    Args:
        layers: `{key: TimedLayer}`.
        quantize: None or `"int8"`.
        run: function from a list of TFLite files to their seconds.
        progress: called as `progress(done, total)`, or None.

    Returns:
        `{key: row}`, see `LatencyTable`.
    """
    if not layers:
        return {}
    places = [(key, *pair) for key, layer in layers.items() for pair in _grid(layer)]
    invoke = invoke_seconds(quantize, run)
    times, waiting, files, size = {}, [], {}, 0
    for place in places:
        key, inputs, outputs = place
        if key not in files:
            files = {key: _LayerFile(layers[key], quantize)}
        waiting.append((place, files[key].at(inputs, outputs)))
        size += len(waiting[-1][1])
        if size > _MOST_BYTES or place == places[-1]:
            seconds = run([content for _, content in waiting])
            times |= {
                done: max(own - invoke, 0.01 * own)
                for (done, _), own in zip(waiting, seconds, strict=True)
            }
            waiting, size = [], 0
        if progress:
            progress(len(times) + len(waiting) / 2, len(places))
    return {key: _row(key, layer, times) for key, layer in layers.items()}


def invoke_seconds(quantize, run):
    """The time of an inference with almost no computation."""
    empty = keras.Sequential([keras.Input((1,), batch_size=1), keras.layers.Dense(1)])
    return run([tflite_bytes(empty, quantize)])[0]


def input_grain(quantize, run):
    """Number of input channels that take the same time; int8 kernels process several at once."""
    grains = (16, 8, 4, 2)
    x = keras.Input((16, 16, 32))
    conv = keras.layers.Conv2D(32, 3, padding="same", name="conv")
    [layer] = timed_layers(keras.Model(x, conv(x)))
    file = _LayerFile(layer, quantize)
    full, next_one, *steps = run([file.at(32 + more, 32) for more in (0, 1, *grains)])
    for grain, seconds in zip(grains, steps, strict=True):
        if next_one - full > _SAME_GRAIN * (seconds - full) > 0:
            return grain
    return 1


def _row(key, layer, times):
    inputs, outputs = layer.widths
    own = {(a, b): seconds for (other, a, b), seconds in times.items() if other == key}
    full = {b: s for (a, b), s in own.items() if layer.one_width or a == inputs}
    fewer = sorted({a for a, b in own if a != inputs}) if not layer.one_width else []
    ratios = None
    if fewer:
        at = sorted({b for a, b in own if a == fewer[0]})
        values = [[own[a, b] / full[b] for b in at] for a in (*fewer, inputs)]
        ratios = {"inputs": [*fewer, inputs], "outputs": at, "values": values}
    return {
        "inputs": inputs,
        "outputs": outputs,
        "widths": sorted(full),
        "seconds": [full[width] for width in sorted(full)],
        "ratios": ratios,
    }


def _grid(layer):
    """The pairs of input and output widths to measure."""
    inputs, outputs = layer.widths
    if layer.one_width:
        pairs = [(width, width * outputs // inputs) for width in _widths(inputs)]
        return [pair for pair in pairs if layer.fits(*pair)]
    widths = _widths(outputs)
    pairs = [(inputs, width) for width in widths]
    if inputs >= _FEWEST_INPUTS:
        some = sorted({widths[len(widths) // 4], widths[len(widths) // 2], outputs})
        pairs += [(part, width) for part in (inputs // 4, inputs // 2) for width in some]
    return pairs


def _widths(size):
    """Widths of possible steps: multiples of 4 or more, at most 24, and the width itself."""
    step = 4
    while size / step > _MOST_WIDTHS:
        step *= 2
    return sorted({1, 2} | set(range(step, size, step)) | {size}) if size > 2 else [size]


class _LayerFile:
    """A layer as a TFLite file, resized if possible, otherwise converted at each width."""

    def __init__(self, layer, quantize):
        self._layer = layer
        self._quantize = quantize
        small, large = _references(layer)
        contents = self._converted(*small), self._converted(*large)
        try:
            self._resizable = ResizableFile(*contents, small, large)
        except ValueError:
            self._resizable = None

    def at(self, *widths):
        """The file at these widths of inputs and outputs."""
        return self._resizable.at(widths) if self._resizable else self._converted(*widths)

    def _converted(self, inputs, outputs):
        try:
            return tflite_bytes(self._layer.model(inputs, outputs), self._quantize)
        except ExportError as error:
            raise ExportError(
                f"The layer {self._layer.name!r} cannot be converted with {inputs} input and "
                f"{outputs} output channels: {error}"
            ) from error


def _references(layer):
    """Two pairs of small widths that distinguish inputs and outputs."""
    inputs, outputs = layer.widths
    if not layer.one_width:
        return ((4, 8), (8, 24)) if inputs >= _FEWEST_INPUTS else ((inputs, 8), (inputs, 24))
    unit = inputs // math.gcd(inputs, outputs)
    while not layer.fits(unit, unit * outputs // inputs):
        unit += inputs // math.gcd(inputs, outputs)
    return tuple((n * unit, n * unit * outputs // inputs) for n in (4, 8))
