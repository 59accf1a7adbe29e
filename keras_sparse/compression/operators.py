"""The operators of a converted model, and their order."""

import dataclasses
import math

import keras
from keras import layers

_KERNELS = (
    layers.Dense,
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.Conv3DTranspose,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
)
_SUMS = (layers.Add, layers.Subtract, layers.Multiply)
# Operators of a layer that becomes several: those with a kernel, and the others.
_SEVERAL = {
    layers.SeparableConv1D: (2, 2),
    layers.SeparableConv2D: (2, 0),
    layers.EinsumDense: (1, 0),
    layers.MultiHeadAttention: (4, 12),
    layers.GroupQueryAttention: (4, 16),
    layers.Attention: (0, 3),
    layers.LayerNormalization: (0, 12),
    layers.GroupNormalization: (0, 14),
    layers.RMSNormalization: (0, 8),
    layers.UnitNormalization: (0, 7),
    layers.UpSampling2D: (0, 7),
}
# Layers that do nothing at inference.
_NOTHING = (
    layers.Dropout,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.GaussianNoise,
    layers.GaussianDropout,
    layers.ActivityRegularization,
    layers.Identity,
)
# States of an operator: batch normalisation and ReLU can be fused into it, only ReLU, or nothing.
_KERNEL, _SUM, _DONE = "kernel", "sum", "done"


@dataclasses.dataclass
class Operator:
    """One operator of the converted model.

    Args:
        layer: name of the layer that computes its result: the last of the fused layers.
        reads: list of indices of tensors.
        writes: list of indices of tensors.
        kernels: number of operators with a kernel that it stands for, at most 1 unless it is a
            layer that becomes several operators.
        others: number of the other operators that it stands for.
    """

    layer: str
    reads: list
    writes: list
    kernels: int = 0
    others: int = 1


class Operators:
    """The operators of a converted model, in the order in which they run.

    A layer with a kernel and the batch normalisation and ReLU after it are fused into one operator.
    So are a sum and the ReLU after it. Any other batch normalisation becomes a product and a sum.
    Layers that do nothing at inference have no operator. A layer that becomes several, such as
    attention, stays one step that counts for them. Operators are in depth-first order from the
    outputs.

    Args:
        graph: a `surgery.graph.Graph`.

    Attributes:
        steps: list of `Operator`.
        tensors: list of the graph's `Value`s, one for each tensor, with the tensor's shape.
        inputs, outputs: lists of indices of tensors.
    """

    def __init__(self, graph):
        self.steps = []
        self.tensors = []
        self._number = {}
        self._state = []
        self._writer = {}
        self._readers = _reader_counts(graph)
        self.inputs = [self._new(value) for value in graph.inputs]
        for call in _depth_first(graph):
            self._add(call)
        self.outputs = [self._number[id(value)] for value in graph.outputs]

    @property
    def with_kernels(self):
        """The operators that multiply by weights."""
        return [step for step in self.steps if step.kernels]

    @property
    def names(self):
        """For each tensor, the layer that computes it; `"input"` for inputs."""
        names = ["input"] * len(self.tensors)
        for step in self.steps:
            for number in step.writes:
                names[number] = step.layer
        return names

    def positions(self, step):
        """Number of positions (pixels, time steps) of the tensor that an operator writes."""
        shape = self.tensors[step.writes[0]].shape
        return math.prod(size or 1 for size in shape[1:-1])

    def _new(self, value, state=_DONE):
        self.tensors.append(value)
        self._state.append(state)
        self._number[id(value)] = len(self.tensors) - 1
        return len(self.tensors) - 1

    def _add(self, call):
        layer = call.operation
        if len(call.inputs) == 1 and len(call.outputs) == 1:
            state = self._state_after(layer, call.inputs[0])
            if state is not None:
                self._extend(call, state)
                return
        reads = list(dict.fromkeys(self._number[id(value)] for value in call.inputs))
        state = _state_of(layer)
        writes = [self._new(value, state) for value in call.outputs]
        self._step(call, reads, writes, *_counts(layer))
        # Second operators: the sum of batch normalisation, or an activation that is not fused.
        if isinstance(layer, layers.BatchNormalization) or _has_own_operator(layer):
            self._step(call, writes, [self._new(value, state) for value in call.outputs])

    def _step(self, call, reads, writes, kernels=0, others=1):
        for number in writes:
            self._writer[number] = len(self.steps)
        self.steps.append(Operator(call.unit.name, reads, writes, kernels, others))

    def _state_after(self, layer, value):
        """The state of the previous operator with this layer fused; None if it cannot be fused."""
        number = self._number[id(value)]
        state = self._state[number]
        if isinstance(layer, _NOTHING) or _activation(layer) == "linear":
            return state
        if self._readers[id(value)] > 1 or state == _DONE:
            return None
        if isinstance(layer, layers.BatchNormalization):
            return _KERNEL if state == _KERNEL else None
        return _DONE if _activation(layer) == "relu" else None

    def _extend(self, call, state):
        number = self._number[id(call.inputs[0])]
        self._number[id(call.outputs[0])] = number
        self._state[number] = state
        if number in self._writer and not isinstance(call.operation, _NOTHING):
            self.steps[self._writer[number]].layer = call.unit.name


def _counts(layer):
    """`(with a kernel, others)`: the numbers of operators that a layer becomes."""
    return _SEVERAL.get(type(layer), (1, 0) if isinstance(layer, _KERNELS) else (0, 1))


def _activation(layer):
    """`"linear"` or `"relu"` for layers that are only this activation; else None."""
    if isinstance(layer, layers.ReLU):
        plain = layer.max_value in (None, 6) and not layer.negative_slope and not layer.threshold
        return "relu" if plain else None
    return _function(layer) if isinstance(layer, layers.Activation) else None


def _function(layer):
    function = getattr(layer, "activation", None)
    if function in (None, keras.activations.linear):
        return "linear"
    return "relu" if function in (keras.activations.relu, keras.activations.relu6) else None


def _state_of(layer):
    if isinstance(layer, _KERNELS):
        return _KERNEL if _function(layer) == "linear" else _DONE
    return _SUM if isinstance(layer, (*_SUMS, layers.BatchNormalization)) else _DONE


def _has_own_operator(layer):
    """Whether the activation of a layer with a kernel is a separate operator."""
    return isinstance(layer, _KERNELS) and _function(layer) is None


def _reader_counts(graph):
    counts = {}
    for value in [value for call in graph.calls for value in call.inputs] + graph.outputs:
        counts[id(value)] = counts.get(id(value), 0) + 1
    return counts


def _depth_first(graph):
    """The calls in topological order, depth-first from the outputs."""
    order, seen = [], set()
    stack = [(value.producer, False) for value in reversed(graph.outputs)]
    while stack:
        call, done = stack.pop()
        if done:
            order.append(call)
        elif call is not None and id(call) not in seen:
            seen.add(id(call))
            stack.append((call, True))
            stack += [(value.producer, False) for value in reversed(call.inputs)]
    return order
