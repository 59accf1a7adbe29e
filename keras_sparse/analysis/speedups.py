"""Estimated and measured speed-ups of sparse networks."""

import dataclasses
import io
import operator
import statistics
import time

import keras
import numpy as np

from keras_sparse.channels import channel_norms, layers_with_channels
from keras_sparse.masks.backend import compiled
from keras_sparse.surgery import remove_dead_channels
from keras_sparse.surgery.graph import Graph, inputs_structure
from keras_sparse.variables import is_prunable

# Calls are timed in bursts of about this length, so that the clock and task switches matter little.
_BURST_SECONDS = 0.01
_MOST_CALLS = 200


@dataclasses.dataclass(frozen=True)
class LayerTime:
    """One layer with a kernel.

    Args:
        name: the layer's name; inside a nested model its path, `"block/conv"`.
        milliseconds: measured time of its calls for one batch, each compiled separately.
        density: share of its kernel's weights that are not zero.
        empty_channels: share of its output channels whose incoming weights are all zero.
    """

    name: str
    milliseconds: float
    density: float
    empty_channels: float


@dataclasses.dataclass(frozen=True)
class Speedup:
    """Estimated speed-ups and the measured speed-up.

    Args:
        layers: list of `LayerTime`, in the order in which they run.
        batch_size: images in the batch.
        model_ms, compact_ms: measured time of one batch through the model, and through the model
            without its dead channels, the median over the rounds.
        measured: their ratio, the median over the rounds of the ratios within a round.
    """

    layers: list
    batch_size: int
    model_ms: float
    compact_ms: float
    measured: float

    @property
    def layers_ms(self):
        """Sum of the times of all layers with kernels, each measured separately."""
        return sum(layer.milliseconds for layer in self.layers)

    @property
    def sparse_convolution(self):
        """Estimated speed-up if the time of every layer were proportional to its density."""
        return _ratio(self.layers_ms, sum(x.milliseconds * x.density for x in self.layers))

    @property
    def dense_convolution(self):
        """Estimated speed-up if every layer skipped its empty output channels."""
        left = sum(x.milliseconds * (1 - x.empty_channels) for x in self.layers)
        return _ratio(self.layers_ms, left)

    def to_dict(self):
        """All fields as a dict; JSON-serializable, except for an infinite ratio."""
        names = ("layers_ms", "sparse_convolution", "dense_convolution")
        return {**dataclasses.asdict(self), **{name: getattr(self, name) for name in names}}

    def __rich__(self):
        from rich.table import Table

        table = Table(title=f"Time of a batch of {self.batch_size}")
        table.add_column("layer")
        for column in ("ms", "density", "empty channels"):
            table.add_column(column, justify="right")
        for x in self.layers:
            row = f"{x.milliseconds:.3f}", f"{x.density:.3f}", f"{x.empty_channels:.3f}"
            table.add_row(x.name, *row)
        table.add_section()
        table.add_row("these layers", f"{self.layers_ms:.3f}")
        table.add_row("whole model", f"{self.model_ms:.3f}")
        table.add_row("without its dead channels", f"{self.compact_ms:.3f}")
        table.add_section()
        for label, ratio in (
            ("estimated, sparse convolution", self.sparse_convolution),
            ("estimated, dense convolution", self.dense_convolution),
            ("measured", self.measured),
        ):
            table.add_row(label, f"{ratio:.2f}×")
        return table

    def __str__(self):
        from rich.console import Console

        console = Console(file=io.StringIO(), width=100)
        console.print(self)
        return console.file.getvalue()


def speedup(model, compact=None, batch_size=1, rounds=20):
    """Estimates the speed-up of zeros, as the sparse momentum paper does, and measures it.

    It makes two estimates from the measured time of each layer with a kernel: time × density, for
    convolutions that skip every zero; and time × share of channels that are not empty, for ordinary
    dense convolutions. It also measures the speed-up of the model without its dead channels.
    Everything is timed alternately, in bursts of about 10 ms, on random input. The result is the
    median over the rounds. So a change of the machine's speed affects all times equally.

    No sparse convolutions are run. The first estimate is an upper bound that no kernel of Keras
    reaches. The second ignores that a layer also saves time by reading fewer channels.

    Args:
        model: a built `keras.Model` whose shapes are known, except for the batch.
        compact: the model to compare with. Defaults to None: the result of
            `surgery.remove_dead_channels(model)`.
        batch_size: int. Defaults to 1.
        rounds: int. Defaults to 20.

    Returns:
        A `Speedup`; `print` or `rich.print` shows a table.

    Raises:
        ValueError: unknown shapes in the model; an argument that is no positive integer.

    Example:

    >>> found = speedup(model, batch_size=100)
    >>> found.sparse_convolution, found.dense_convolution, found.measured
    (9.7, 2.1, 2.4)

    Reference:
        Sparse networks from scratch, arXiv 1907.04840, section 5 and table 4.
    """
    for name, value in (("batch_size", batch_size), ("rounds", rounds)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"`{name}` must be a positive integer. Received: {name}={value!r}")
    if compact is None:
        compact, _ = remove_dead_channels(model)
    graph = Graph(model)
    known = {id(layer) for layer in layers_with_channels(model)}
    calls = [call for call in graph.calls if id(call.operation) in known]
    functions = [_layer_call(call, batch_size) for call in calls]
    functions += [_model_call(graph, batch_size), _model_call(Graph(compact), batch_size)]
    *layer_times, model_times, compact_times = _times(functions, rounds)
    layers = {}
    for call, found in zip(calls, layer_times, strict=True):
        before = layers[call.unit.name].milliseconds if call.unit.name in layers else 0.0
        layers[call.unit.name] = _layer_time(call, before + statistics.median(found))
    return Speedup(
        list(layers.values()),
        batch_size,
        model_ms=statistics.median(model_times),
        compact_ms=statistics.median(compact_times),
        measured=statistics.median(map(operator.truediv, model_times, compact_times)),
    )


def _layer_time(call, milliseconds):
    layer = call.operation
    kernels = [keras.ops.convert_to_numpy(w) for w in layer.weights if is_prunable(w)]
    nonzeros = sum(np.count_nonzero(kernel) for kernel in kernels)
    return LayerTime(
        call.unit.name,
        milliseconds,
        nonzeros / sum(kernel.size for kernel in kernels),
        float(np.mean(channel_norms(layer) == 0)),
    )


def _layer_call(call, batch_size):
    function, x = compiled(call.operation), _random(call.inputs[0], batch_size)
    return lambda: _wait(function(x))


def _model_call(graph, batch_size):
    inputs = inputs_structure(graph, [_random(value, batch_size) for value in graph.inputs])
    function = compiled(lambda x: graph.model(x, training=False))
    return lambda: _wait(function(inputs))


def _wait(outputs):
    """Wait until the device has computed the outputs."""
    for output in keras.tree.flatten(outputs):
        keras.ops.convert_to_numpy(output)


def _random(value, batch_size):
    if None in value.shape[1:]:
        raise ValueError(
            "The model leaves sizes open, so its layers cannot be timed: build it with a full "
            f"input shape. Received: a tensor of shape {value.shape}"
        )
    shape, rng = (batch_size, *value.shape[1:]), np.random.default_rng(0)
    if "float" in value.dtype:
        return keras.ops.convert_to_tensor(rng.standard_normal(shape), value.dtype)
    return keras.ops.convert_to_tensor(rng.integers(0, 2, shape), value.dtype)


def _times(functions, rounds):
    """Milliseconds of one call of each function in each round, timed alternately."""
    bursts = []
    for function in functions:
        function()  # compiles
        start = time.perf_counter()
        function()
        once = time.perf_counter() - start
        bursts.append(min(_MOST_CALLS, 1 + int(_BURST_SECONDS / once)))
    times = [[] for _ in functions]
    turns = list(zip(functions, bursts, times, strict=True))
    for _ in range(rounds):
        turns.reverse()  # the order changes
        for function, burst, found in turns:
            start = time.perf_counter()
            for _ in range(burst):
                function()
            found.append((time.perf_counter() - start) / burst * 1e3)
    return times


def _ratio(before, after):
    return before / after if after else float("inf")
