"""A Keras model as a flat list of calls. With `copying`, what reads Keras' private attributes."""

import dataclasses
import inspect
import itertools

import keras
import numpy as np

from keras_sparse import _keras
from keras_sparse.surgery.opening import (
    CannotOpenError,
    Opened,
    is_composite,
    nodes_between,
    open_layer,
    unrecorded,
)


class Value:
    """A tensor between two calls, and what the analysis has found out about it.

    Attributes:
        shape: tuple, the batch first, None where unknown.
        dtype: string.
        producer: the `Call` that computes it, None for an input of the model.
        units: the units that produce or read it.
        axis: negative index of the axis whose channels are followed; None if there is none, then
            the tensor is kept or dropped whole, as one channel.
        constants: `Constants` of its channels.
        keep: boolean array, which channels are needed. It only grows.
        why: for each kept channel, a string that says who needs it.
    """

    __slots__ = ("axis", "constants", "dtype", "keep", "producer", "shape", "units", "why")

    def __init__(self, tensor, producer=None):
        self.shape = tuple(tensor.shape)
        self.dtype = keras.backend.standardize_dtype(tensor.dtype)
        self.producer = producer
        self.units = []
        self.axis = None

    def follow(self, axis, constants):
        """Sets the channel axis and the constants; nothing is needed yet."""
        self.axis = axis
        self.constants = constants
        channels = constants.values.shape[1]
        self.keep = np.zeros(channels, bool)
        self.why = np.full(channels, "", object)


class Call:
    """One call of a layer or operation.

    Attributes:
        operation: the layer or operation.
        args, kwargs: its arguments, with a `Value` for each tensor.
        inputs, outputs: lists of those `Value`s.
        unit: the `Unit` that the call belongs to.
        masked: whether any tensor of the model carries a mask, which some layers read unasked.
    """

    masked = False

    def __init__(self, operation, args, kwargs):
        self.operation = operation
        self.args = args
        self.kwargs = kwargs
        leaves = keras.tree.flatten((args, kwargs))
        self.inputs = [leaf for leaf in leaves if isinstance(leaf, Value)]
        self.outputs = []
        self.unit = None

    def arguments(self, read):
        """`(args, kwargs)` with `read(value)` in the place of each `Value`."""

        def fill(leaf):
            return read(leaf) if isinstance(leaf, Value) else leaf

        return keras.tree.map_structure(fill, (self.args, self.kwargs))


class Unit:
    """A layer with all of its calls; they share weights, so they are cut alike.

    A layer without weights is one unit for each call: nothing ties its calls together.
    """

    def __init__(self, operation, name, index):
        self.operation = operation
        self.name = name
        self.index = index
        self.calls = []
        self.rule = None
        # The rule to use once the unit's own has raised an error.
        self.stand_in = None
        self.inputs = []
        self.outputs = []
        self.notes = {}
        # Why a layer of layers is not opened, "" for others.
        self.closed = ""
        self._arrays = {}

    def array(self, name):
        """A weight of the layer as a NumPy array, read once; None if there is none so named."""
        if name not in self._arrays:
            variable = weights_by_name(self.operation).get(name)
            self._arrays[name] = None if variable is None else keras.ops.convert_to_numpy(variable)
        return self._arrays[name]

    def replace_array(self, name, array):
        """Makes `array` return another array for a weight."""
        self._arrays[name] = array

    def forget_arrays(self):
        """Makes `array` read the weights again."""
        self._arrays = {}

    @property
    def alive(self):
        """Whether anything that is kept needs an output of this unit."""
        return any(port.keep.any() for port in self.outputs)


@dataclasses.dataclass(frozen=True, eq=False)
class Scope:
    """One call of a layer of layers, which the graph has as the calls inside it.

    Args:
        call: the layer's own `Call`; its unit is none of the graph's.
        inner: list of the `Call`s inside, in the order of `Graph.calls`.
        opened: the `Opened` that these are from.
    """

    call: Call
    inner: list
    opened: Opened


class Graph:
    """A model without nesting: calls in the order in which they run.

    Nested models and layers of layers are seen as the calls inside them.

    Args:
        model: a built `keras.Model`; see `functional` for what is refused.

    Attributes:
        name: the model's.
        inputs, outputs: flat lists of `Value`.
        calls: list of `Call`, in topological order.
        units: list of `Unit`, ordered by their last call.
        scopes: list of `Scope`, the outer ones before those in them.
        model: the functional form of the model.
    """

    def __init__(self, model):
        self.model = functional(model)
        self.name = model.name
        model = self.model
        self.calls = []
        self.scopes = []
        self._units = {}
        self._unit_names = set()
        self._scope_units = {}
        self._masked = False
        tensors = {}
        self.inputs = [_bind(tensors, tensor) for tensor in model.inputs]
        self._walk(_nodes(model), tensors, prefix="", training=None)
        self.outputs = [tensors[id(tensor)] for tensor in model.outputs]
        if self._masked:
            for call in self.calls:
                call.masked = True
        self.units = sorted(self._units.values(), key=lambda unit: unit.index)

    def _walk(self, nodes, tensors, prefix, training):
        for node in nodes:
            if node.is_input:
                continue
            args, kwargs = _arguments(node, tensors)
            self._masked |= any(_keras.mask_of(tensor) is not None for tensor in node.outputs)
            operation = node.operation
            given = kwargs.get("training")
            within = f"{prefix}{operation.name}/", training if given is None else given
            inner = _inner_graph(operation)
            if inner is not None and _fits(inner, args):
                for tensor, value in zip(inner.inputs, keras.tree.flatten(args), strict=True):
                    tensors[id(tensor)] = value
                self._walk(_nodes(inner), tensors, *within)
                for tensor, result in zip(node.outputs, inner.outputs, strict=True):
                    tensors[id(tensor)] = tensors[id(result)]
                continue
            if training is not None and _takes_training(operation):
                kwargs["training"] = training
            opened, reason = _opened(node)
            if opened is not None:
                outside = prefix, training
                self._walk_opened(node, opened, args, kwargs, tensors, within, outside)
                continue
            call = Call(operation, args, kwargs)
            call.outputs = [_bind(tensors, tensor, call) for tensor in node.outputs]
            self._add(call, prefix)
            call.unit.closed = reason

    def _walk_opened(self, node, opened, args, kwargs, tensors, within, outside):
        call = Call(node.operation, args, kwargs)
        scope = Scope(call, [], opened)
        self.scopes.append(scope)
        # Masks that the layer reads unasked may be no part of the model's graph.
        unseen = [source for source in opened.sources if id(source) not in tensors]
        self._walk(nodes_between(tensors, unseen), tensors, *outside)
        for tensor, source in zip(opened.inputs, opened.sources, strict=True):
            tensors[id(tensor)] = tensors[id(source)]
        first = len(self.calls)
        self._walk(opened.nodes, tensors, *within)
        scope.inner.extend(self.calls[first:])
        for tensor, result in zip(node.outputs, opened.outputs, strict=True):
            tensors[id(tensor)] = tensors[id(result)]
        call.outputs = [tensors[id(tensor)] for tensor in node.outputs]
        key = id(node.operation)
        if key not in self._scope_units:
            self._scope_units[key] = Unit(node.operation, within[0].rstrip("/"), first)
        call.unit = self._scope_units[key]
        call.unit.calls.append(call)

    def _add(self, call, prefix):
        index = len(self.calls)
        self.calls.append(call)
        shared = getattr(call.operation, "weights", None)
        key = id(call.operation) if shared else (id(call.operation), index)
        if key not in self._units:
            name = self._free_name(prefix + call.operation.name, shared)
            self._units[key] = Unit(call.operation, name, index)
        call.unit = self._units[key]
        call.unit.index = index
        call.unit.calls.append(call)
        for value in {id(v): v for v in call.inputs + call.outputs}.values():
            value.units.append(call.unit)

    def _free_name(self, name, shared):
        """A name for a unit; layers in one layer of layers may be called alike."""
        if not shared:
            return name
        numbered = (f"{name}_{n}" for n in itertools.count(1))
        free = next(n for n in itertools.chain([name], numbered) if n not in self._unit_names)
        self._unit_names.add(free)
        return free


def _opened(node):
    """`(calls inside, "")` of a layer of layers, or `(None, why there are none)`."""
    from keras_sparse.surgery.rules import has_rule  # rules are written in terms of graphs

    if not is_composite(node.operation) or has_rule(node.operation):
        return None, ""
    try:
        args, kwargs = tuple(node.arguments.args), dict(node.arguments.kwargs)
        return open_layer(node.operation, args, kwargs), ""
    except CannotOpenError as error:
        return None, str(error)


def _bind(tensors, tensor, producer=None):
    tensors[id(tensor)] = Value(tensor, producer)
    return tensors[id(tensor)]


def _arguments(node, tensors):
    def swap(leaf):
        return tensors[id(leaf)] if isinstance(leaf, keras.KerasTensor) else leaf

    args, kwargs = list(node.arguments.args), dict(node.arguments.kwargs)
    if not args and isinstance(node.operation, keras.Layer):
        # By position, as the rules know them.
        for name in inspect.signature(node.operation.call).parameters:
            if not isinstance(kwargs.get(name), keras.KerasTensor):
                break
            args.append(kwargs.pop(name))
    return keras.tree.map_structure(swap, (tuple(args), kwargs))


def _nodes(model):
    return [node for nodes in _keras.nodes_by_depth(model) for node in nodes]


def _inner_graph(operation):
    """The functional model inside a nested model, None for anything else."""
    module = type(operation).call.__module__ or ""  # None in code that `exec` runs
    if not module.startswith("keras."):
        return None  # its own `call` may do more than run the graph
    if isinstance(operation, keras.Sequential):
        return _keras.functional_of(operation)
    return operation if isinstance(operation, keras.Function) else None


def _fits(inner, args):
    """Whether a nested model takes these tensors as they are, without a cast or a new axis."""
    values = keras.tree.flatten(args)
    return len(values) == len(inner.inputs) and all(
        isinstance(value, Value)
        and len(value.shape) == len(tensor.shape)
        and ("float" in value.dtype) == ("float" in str(tensor.dtype))
        for value, tensor in zip(values, inner.inputs, strict=True)
    )


def _takes_training(operation):
    return (
        isinstance(operation, keras.Layer)
        and "training" in inspect.signature(operation.call).parameters
    )


def functional(model):
    """The model as a functional one that shares its layers.

    Args:
        model: a built `keras.Model`. A subclassed one is traced: its `call` must be written in
            Keras layers and `keras.ops`.

    Returns:
        A `keras.Model` whose graph is known.

    Raises:
        ValueError: `model` is no Keras model, is not built, or its `call` cannot be traced.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"`model` must be a `keras.Model`. Received: model={model!r} (of type {type(model)})"
        )
    if not model.built:
        raise ValueError(
            f"The model {model.name!r} is not built, so its shapes are unknown. Call it on data "
            "or use `model.build(input_shape)` first."
        )
    graph = _inner_graph(model)
    return _trace(model) if graph is None else graph


def _trace(model):
    failure = None
    # The build config has no types: what takes words or whole numbers is found by trying.
    for dtype in (model.compute_dtype, "int32", "string"):
        try:
            traced = _traced(model, itertools.repeat(dtype))
            words = [_takes_words(traced, tensor) for tensor in traced.inputs]
            if dtype != "string" and any(words):
                traced = _traced(model, ("string" if word else dtype for word in words))
            return traced
        except Exception as error:
            failure = failure or error
    raise ValueError(
        f"The model {model.name!r} is a subclassed model whose `call` cannot be traced. "
        "Write `call` with Keras layers and `keras.ops` only, or build the model as a "
        f"functional one. The trace ended with: {failure}"
    ) from failure


def _traced(model, dtypes):
    inputs, by_name = _inputs_of(model, dtypes)
    with unrecorded(model):
        outputs = model.call(**inputs) if by_name else model.call(inputs)
        return keras.Model(inputs, outputs, name=model.name)


def _takes_words(traced, tensor):
    kinds = (keras.layers.StringLookup, keras.layers.TextVectorization)
    return any(
        isinstance(node.operation, kinds) and any(tensor is x for x in node.input_tensors)
        for node in _nodes(traced)
    )


def _inputs_of(model, dtypes):
    """New symbolic inputs as `model.call` takes them, and whether it takes them by name."""
    if isinstance(model, keras.Function):

        def like(tensor):
            name = _keras.origin(tensor).operation.name
            return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=name)

        return keras.tree.map_structure(like, _keras.inputs_structure(model)), False
    config = model.get_build_config() or {}
    shape = config.get("input_shape")
    return _inputs_like(shape or config["shapes_dict"], iter(dtypes)), not shape


def _inputs_like(shapes, dtypes, name=None):
    def is_shape(x):
        return isinstance(x, (list, tuple)) and all(d is None or isinstance(d, int) for d in x)

    if is_shape(shapes):
        return keras.Input(batch_shape=(None, *shapes[1:]), dtype=next(dtypes), name=name)
    if isinstance(shapes, dict):
        return {key: _inputs_like(shapes[key], dtypes, key) for key in sorted(shapes)}
    return [_inputs_like(shape, dtypes) for shape in shapes]


def inputs_structure(graph, flat):
    """`flat`, one for each input, in the structure in which the model takes its inputs."""
    return keras.tree.pack_sequence_as(_keras.inputs_structure(graph.model), flat)


def outputs_structure(graph, flat):
    """`flat`, one for each output, in the structure of the model's outputs."""
    return keras.tree.pack_sequence_as(_keras.outputs_structure(graph.model), flat)


def weights_by_name(layer):
    """`{name: variable}` of a layer's weights, each named by as much of its path as it takes.

    Weights that were added without a name are called by the attribute that holds them: the name
    that Keras gives them counts on from layer to layer.
    """
    weights = getattr(layer, "weights", [])
    attributes = {id(value): key for key, value in vars(layer).items()} if weights else {}
    paths = []
    for weight in weights:
        *folders, name = weight.path.split("/")
        unnamed = name.startswith("variable")
        paths.append([*folders, attributes.get(id(weight), name) if unnamed else name])
    for length in range(1, max(map(len, paths), default=0) + 1):
        names = ["/".join(path[-length:]) for path in paths]
        if len(set(names)) == len(names):
            return dict(zip(names, weights, strict=True))
    return {str(i): weight for i, weight in enumerate(weights)}


def input_layer(graph, value):
    """The `InputLayer` of an input of the model."""
    position = graph.inputs.index(value)
    return _keras.origin(graph.model.inputs[position]).operation


def producer_name(tensor):
    """The name of the layer or operation that a tensor comes from."""
    return _keras.origin(tensor).operation.name


def is_chain(model):
    """Whether a functional model is layers in a row, each called on nothing but the one before."""
    calls = [node for node in _nodes(model) if not node.is_input]
    return len(calls) == len(model.layers) - 1 and all(
        isinstance(node.operation, keras.Layer)
        and len(node.arguments.args) == len(node.input_tensors) == 1
        # Keras records `training=False` of its own accord.
        and not any(node.arguments.kwargs.values())
        for node in calls
    )
