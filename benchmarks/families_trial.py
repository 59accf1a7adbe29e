"""A model whose layers can repeat their earlier outputs, with some channels changed.

Every layer that makes channels (dense, convolution, embedding, recurrent) repeats its earlier
output. So a change at one of them reaches the next layers and stops there. Depthwise convolutions
can be changed too, but they pass changes on.
"""

import collections
import functools
import math

import keras
import numpy as np

from keras_sparse.surgery.verify import random_inputs

_CONVOLUTION = keras.layers.Conv1D.__base__
TRANSPOSED = keras.layers.Conv1DTranspose.__base__
SEPARABLE = keras.layers.SeparableConv1D.__base__
_DEPTHWISE = keras.layers.DepthwiseConv1D.__base__
_MAKERS = (
    *(keras.layers.Dense, keras.layers.EinsumDense, keras.layers.Embedding, keras.layers.RNN),
    *(_CONVOLUTION, TRANSPOSED, SEPARABLE),
)
# Differences up to this share of the largest value count as equal.
EQUAL = 1e-5
# Draws of inputs and weights; positions looked at.
_DRAWS, _POSITIONS = 4, 48


class Trial:
    """A model whose layers are recorded, and can repeat their earlier outputs.

    Args:
        model: a `keras.Model`. The `call` of its layers is replaced until `close`.
    """

    def __init__(self, model):
        self.model = model
        self.layers = list(dict.fromkeys(part for part in _leaves(model) if part.weights))
        self.look = self.frozen = None
        self.changes, self.calls = [], collections.Counter()
        drawn = [random_inputs(model, seed=seed) for seed in range(_DRAWS)]
        drawn = keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *drawn)
        self.inputs = keras.tree.map_structure(lambda x: x[:1], drawn)
        self.own = {layer: layer.call for layer in self.layers}
        for layer in self.layers:
            layer.call = _watched(self, layer)
        self.rows = {}  # by call: what it reads, `(samples, positions, inputs)`
        self.outputs = {}  # by call: what it returns
        self.sources = {}  # by layer: what it read last
        self.read = {}  # by layer: which inputs each channel reads
        self.heads = {}  # by layer: how many heads its channels are split into
        self.tensors = {}  # by id: what layers returned last, and by which
        self.reshape = keras.ops.reshape
        keras.ops.reshape = self._reshaped
        self.constant, self.maps = self._constants(drawn)
        self._run(drawn)
        lengths = {key: len(_first(output)) for key, output in self.outputs.items()}
        self._run(self.inputs)
        same = [k for k, output in self.outputs.items() if len(_first(output)) == lengths[k]]
        unbatched = {layer for layer, _ in same}
        self.used = {layer for layer, _ in self.rows}
        changed = [layer for layer in self.layers if layer in self.used - unbatched]
        self.makers = [layer for layer in changed if makes_channels(layer)]
        self.depthwise = [layer for layer in changed if _is_depthwise(layer)]
        self.frozen = self.outputs

    def close(self):
        """Restores the `call` of the layers."""
        keras.ops.reshape = self.reshape
        for layer in self.layers:
            vars(layer).pop("call")

    def columns(self, layer):
        """All channels of a layer, as pairs `(layer, index)`."""
        output = _first(self.outputs[layer, 0])
        return [(layer, i) for i in range(_split(output, _axes(layer)[1]).shape[-1])]

    def reads(self, layer):
        """`(inputs, channels)` of bool: whether a channel depends on an input."""
        if layer not in self.read:
            self.read[layer] = self._reads(layer)
        return self.read[layer]

    def _reads(self, layer):
        source, (inputs, made) = self.sources[layer], _axes(layer)
        many = np.repeat(source[None], _split(source, inputs).shape[-1] + 1, 0)
        for i, sample in enumerate(many[:-1]):
            _split(sample, inputs)[..., i] += 1 + np.abs(source).max()  # a view
        output = _first(self.own[layer](many.reshape(-1, *source.shape[1:])))
        output = _split(keras.ops.convert_to_numpy(output), made)
        output = output.reshape(len(many), -1, output.shape[-1])
        return (output[:-1] != output[-1]).any(1)

    def _reshaped(self, x, newshape):
        """`keras.ops.reshape` that records when channels of a layer become heads."""
        output = self.reshape(x, newshape)
        layer, width = self.tensors.get(id(x), (None, None))[0], output.shape[-1]
        split = tuple(output.shape[: len(x.shape) - 1]) == tuple(x.shape[:-1])
        if layer is not None and split and width < x.shape[-1]:
            self.heads[layer] = x.shape[-1] // width
        return output

    def _run(self, inputs):
        """Runs the model, and records the inputs and outputs of its layers."""
        self.calls, self.rows, self.outputs = collections.Counter(), {}, {}
        samples = len(keras.tree.flatten(inputs)[0])

        def look(key, source):
            self.rows[key] = _rows(source, key[0], samples)
            self.sources[key[0]] = source

        self.look = look
        self.model(inputs, training=False)

    def _constants(self, inputs):
        """The channels that each call reads and that do not depend on the inputs, and their values.

        A channel may be zero by chance after a ReLU. So other random weights are tried too (zero
        weights stay zero). A channel may vary very little. So larger inputs are tried too.
        """
        weights = self.model.weights
        values = [keras.ops.convert_to_numpy(weight) for weight in weights]
        constant, maps = {}, {}
        for seed in range(_DRAWS):
            rng = np.random.default_rng(seed)
            for weight, value in zip(weights, values, strict=True):
                if seed and "float" in value.dtype.name:
                    signs = 1 if "variance" in weight.path else rng.choice([-1, 1], value.shape)
                    weight.assign(value * rng.uniform(0.5, 1.5, value.shape) * signs)
            self._run(keras.tree.map_structure(functools.partial(_scaled, 10**seed), inputs))
            for key, rows in self.rows.items():
                if rows is None:
                    continue
                same = np.ptp(rows, 0).max(0) <= EQUAL * np.abs(rows).max()
                constant[key] = constant.get(key, True) & same
                maps.setdefault(key, np.where(same, rows[0], 0.0))
        for weight, value in zip(weights, values, strict=True):
            weight.assign(value)
        return constant, maps

    def differences(self, changes):
        """The inputs of calls, and the outputs, that differ in a sample with changes.

        Args:
            changes: for each sample `{layer: [(channel, function of its values)]}`.

        Returns:
            `{(layer, call) or index of an output: (samples, channels) of bool}`.
        """
        self.changes, self.calls, found = [*changes, {}], collections.Counter(), {}
        count = len(self.changes)

        def look(key, source):
            rows = _rows(source, key[0], count)
            if rows is not None:
                found[key] = _differs(rows)

        self.look = look
        inputs = keras.tree.map_structure(lambda x: np.repeat(x, count, 0), self.inputs)
        for i, output in enumerate(keras.tree.flatten(self.model(inputs, training=False))):
            array = keras.ops.convert_to_numpy(output)
            found[i] = _differs(array.reshape(count, -1, array.shape[-1]))
        return found

    def visit(self, layer, args, kwargs):
        """One call of one layer."""
        key = layer, self.calls[layer]
        self.calls[layer] += 1
        backwards = kwargs.get("reverse") or any(value is True for value in args[1:2])
        source = keras.tree.flatten(args or kwargs)[0]
        if not backwards:
            self.look(key, keras.ops.convert_to_numpy(source))
        if self.frozen is None or layer not in self.makers or backwards:
            output = self.own[layer](*args, **kwargs)
            if (makes_channels(layer) or _is_depthwise(layer)) and not backwards:
                self.outputs[key] = keras.tree.map_structure(keras.ops.convert_to_numpy, output)
                self.tensors[id(output)] = layer, output
                made = _axes(layer)[1]
                if made > 1:
                    self.heads[layer] = math.prod(output.shape[-made:-1])
            if self.frozen is None or layer not in self.depthwise:
                return output
            many = np.array(keras.ops.convert_to_numpy(output)).reshape(
                len(self.changes), -1, *output.shape[1:]
            )
            return self._changed(layer, many)
        many = functools.partial(np.repeat, repeats=len(self.changes), axis=0)
        return keras.tree.map_structure(
            lambda x: self._changed(layer, many(x[None])), self.frozen[key]
        )

    def _changed(self, layer, many):
        """The output of a layer with each of the changes."""
        axes = _axes(layer)[1]
        for sample, changes in zip(many, self.changes, strict=True):
            channels = _split(sample, axes)  # a view
            for channel, change in changes.get(layer, ()):
                channels[..., channel] = change(channels[..., channel])
        return keras.ops.convert_to_tensor(many.reshape(-1, *many.shape[2:]))


def _scaled(factor, array):
    return array * array.dtype.type(factor) if "float" in array.dtype.name else array


def makes_channels(layer):
    """Whether a layer mixes all channels into new ones; one with groups mostly does not."""
    return isinstance(layer, _MAKERS) and getattr(layer, "groups", 1) == 1


def _is_depthwise(layer):
    """Whether a convolution changes each channel separately."""
    if isinstance(layer, _DEPTHWISE):
        return True
    groups = getattr(layer, "groups", 1)
    return isinstance(layer, _CONVOLUTION) and 1 < groups == layer.kernel.shape[-1]


def _watched(trial, layer):
    return lambda *args, **kwargs: trial.visit(layer, args, kwargs)


def _leaves(layer):
    """The innermost layers inside a layer, and layers with cells."""
    for part in layer._layers:
        if isinstance(part, keras.layers.RNN) or not part._layers:
            yield part
        else:
            yield from _leaves(part)


def _first(output):
    return keras.tree.flatten(output)[0]


def _axes(layer):
    """The number of last axes that are channels, of a layer's input and output."""
    if not isinstance(layer, keras.layers.EinsumDense):
        return 1, 1
    source, kernel, target = layer.equation.replace("->", ",").split(",")
    summed = [label for label in source if label in kernel and label not in target]
    made = [label for label in target if label in kernel and label not in source]
    ends = "".join(summed), "".join(made)
    fits = source.endswith(ends[0]) and target.endswith(ends[1])
    return (len(summed), len(made)) if fits else (1, 1)


def _split(array, axes):
    """An array with its last axes merged into one."""
    return array.reshape(*array.shape[: array.ndim - axes], -1)


def _rows(source, layer, samples):
    """A layer's input as `(samples, positions, channels)`; None for ids or without samples."""
    if "float" not in source.dtype.name or source.ndim < 2 or len(source) % samples:
        return None
    channels = _split(source, _axes(layer)[0])
    return channels.reshape(samples, -1, channels.shape[-1])


def _differs(rows):
    """`(samples, channels)`: where a sample differs from the last one, which has no change."""
    some = np.random.default_rng(0).permutation(rows.shape[1])[:_POSITIONS]
    rows = rows[:, some]
    distance = np.abs(rows[:-1] - rows[-1:]).max(1)
    return ~(distance <= EQUAL * max(np.abs(rows[-1]).max(), 1e-12))
