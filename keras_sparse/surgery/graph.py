"""A Keras model as a flat list of calls."""

import inspect

import keras

from keras_sparse import _keras
from keras_sparse.names import free_name
from keras_sparse.surgery.functional import functional, inner_graph, nodes_of
from keras_sparse.surgery.opening import can_be_opened, open_layer
from keras_sparse.surgery.tracing import CannotOpenError, nodes_between
from keras_sparse.surgery.units import Call, Scope, Unit, Value
from keras_sparse.variables import layers_of_type, numbered_paths

# Layers that read the masks of the tensors that they are called on. Others get a mask as an
# argument, which is part of the graph.
_MASK_READERS = (
    keras.layers.MultiHeadAttention,
    keras.layers.GroupQueryAttention,
    keras.layers.Attention,
    keras.layers.AdditiveAttention,
    keras.layers.Add,
    keras.layers.Average,
    keras.layers.Concatenate,
    keras.layers.Dot,
    keras.layers.Maximum,
    keras.layers.Minimum,
    keras.layers.Multiply,
    keras.layers.Subtract,
)


class Graph:
    """A model without nesting: calls in the order in which they run.

    Nested models and layers of layers are replaced by the calls inside them.

    Args:
        model: a built `keras.Model`; `functional` documents which models are refused.

    Attributes:
        name: name of the model.
        inputs, outputs: flat lists of `Value`.
        calls: list of `Call`, in topological order.
        units: list of `Unit`, ordered by their last call.
        scopes: list of `Scope`, outer ones before inner ones.
        model: the functional form of the model.
        paths: `{id of a variable: path}` of the model, as `numbered_paths` gives them.
    """

    def __init__(self, model):
        self.model = functional(model)
        self.name = model.name
        self.paths = numbered_paths(model)
        model = self.model
        self.calls = []
        self.scopes = []
        self._units = {}
        self._unit_names = set()
        self._scope_units = {}
        self._masked = False
        tensors = {}
        self.inputs = [_bind(tensors, tensor) for tensor in model.inputs]
        self._walk(nodes_of(model), tensors, prefix="", training=None)
        self.outputs = [tensors[id(tensor)] for tensor in model.outputs]
        if self._masked:
            for call in self.calls:
                call.masked = True
        self.units = sorted(self._units.values(), key=lambda unit: unit.index)

    def _walk(self, nodes, tensors, prefix, training):
        for place, node in enumerate(nodes):
            if node.is_input:
                continue
            args, kwargs = _arguments(node, tensors)
            self._masked |= any(_keras.mask_of(tensor) is not None for tensor in node.outputs)
            operation = node.operation
            given = kwargs.get("training")
            within = f"{prefix}{operation.name}/", training if given is None else given
            inner = inner_graph(operation)
            values = None if inner is None else _inputs_of(inner, node, args)
            if values is not None:
                for tensor, value in zip(inner.inputs, values, strict=True):
                    tensors[id(tensor)] = value
                self._walk(nodes_of(inner), tensors, *within)
                for tensor, result in zip(node.outputs, inner.outputs, strict=True):
                    tensors[id(tensor)] = tensors[id(result)]
                continue
            if training is not None and _takes_training(operation):
                kwargs["training"] = training
            opened, reason = _opened(node)
            if opened is not None and self._loses_mask(node, opened, nodes[place + 1 :]):
                opened, reason = None, "its mask is read, which its inner layers do not give"
            if opened is not None:
                outside = prefix, training
                self._walk_opened(node, opened, args, kwargs, tensors, within, outside)
                continue
            call = Call(operation, args, kwargs)
            call.takes_masks = any(value.masked for value in call.inputs)
            call.outputs = [_bind(tensors, tensor, call) for tensor in node.outputs]
            if prefix and call.takes_masks:
                # A nested model was traced without the masks that it gets here.
                for value in call.outputs:
                    value.masked = True
            self._add(call, prefix)
            call.unit.closed = reason

    def _loses_mask(self, node, opened, later):
        """Whether the calls inside a layer give no mask, and something may read the layer's."""
        pairs = zip(node.outputs, opened.outputs, strict=True)
        if all(_keras.mask_of(a) is None or _keras.mask_of(b) is not None for a, b in pairs):
            return False
        operations = [other.operation for other in later]
        reads = any(
            isinstance(operation, keras.Layer) and layers_of_type(operation, _MASK_READERS)
            for operation in operations
        )
        return reads or any(_keras.mask_of(tensor) is not None for tensor in self.model.outputs)

    def _walk_opened(self, node, opened, args, kwargs, tensors, within, outside):
        call = Call(node.operation, args, kwargs)
        scope = Scope(call, [], opened)
        self.scopes.append(scope)
        # Masks that the layer reads implicitly may not be in the model's graph.
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

    def _free_name(self, name, shared):
        """A unique name for a unit: in a layer of layers, several may have the same name."""
        if not shared:
            return name
        free = free_name(name, is_taken=self._unit_names.__contains__)
        self._unit_names.add(free)
        return free


def _opened(node):
    """`(calls inside, "")` of a layer of layers, or `(None, why there are none)`."""
    from keras_sparse.surgery.rules import (  # rules are written in terms of graphs
        AtInference,
        registered,
    )

    rule = registered(node.operation)
    if not can_be_opened(node.operation) or (rule is not None and not rule.if_closed):
        return None, ""
    try:
        args, kwargs = tuple(node.arguments.args), dict(node.arguments.kwargs)
        return open_layer(node.operation, args, kwargs, isinstance(rule, AtInference)), ""
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
        # Rules expect tensors as positional arguments.
        for name in inspect.signature(node.operation.call).parameters:
            if not isinstance(kwargs.get(name), keras.KerasTensor):
                break
            args.append(kwargs.pop(name))
    return keras.tree.map_structure(swap, (tuple(args), kwargs))


def _inputs_of(inner, node, args):
    """The values for the inputs of a nested model, in order; None if its calls cannot stand alone.

    Args:
        inner: the nested functional model.
        node: the call of the model.
        args: its arguments, with a `Value` for each tensor.
    """
    values = keras.tree.flatten(args)
    if isinstance(args[0], dict) and not isinstance(_keras.inputs_structure(inner), dict):
        values = [args[0].get(tensor.name) for tensor in inner.inputs]
    return values if _fits(inner, values) and not _is_given_masks(node) else None


def _is_given_masks(node):
    """Whether a call has masks as an argument that are not those of its tensors."""
    own = [_keras.mask_of(tensor) for tensor in keras.tree.flatten(node.arguments.args)]
    given = keras.tree.flatten(node.arguments.kwargs.get("mask"))
    return not {id(mask) for mask in given if mask is not None} <= {id(mask) for mask in own}


def _fits(inner, values):
    """Whether a nested model takes these values without a cast or a new axis."""
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


def inputs_structure(graph, flat):
    """Packs `flat`, a list with one entry for each input, into the structure of the inputs."""
    return keras.tree.pack_sequence_as(_keras.inputs_structure(graph.model), flat)


def outputs_structure(graph, flat):
    """Packs `flat`, a list with one entry for each output, into the structure of the outputs."""
    return keras.tree.pack_sequence_as(_keras.outputs_structure(graph.model), flat)


def input_layer(graph, value):
    """The `InputLayer` of an input of the model."""
    position = graph.inputs.index(value)
    return _keras.origin(graph.model.inputs[position]).operation
