"""Turns any Keras model into a functional one, which has a known graph."""

import functools
import inspect
import itertools
import os
import warnings

import keras

from keras_sparse import _keras
from keras_sparse.surgery.tracing import unrecorded


def check_model(model):
    """Raises a `ValueError` if `model` is not a `keras.Model`."""
    if not isinstance(model, keras.Model):
        hint = (
            " Load it first: `keras.models.load_model(path)`."
            if isinstance(model, str | os.PathLike)
            else ""
        )
        raise ValueError(
            f"`model` must be a `keras.Model`. Received: model={model!r} (of type {type(model)})."
            + hint
        )


def functional(model):
    """Turns a model into a functional one that shares its layers.

    Args:
        model: a built `keras.Model`. A subclassed one is traced: its `call` must be written in
            Keras layers and `keras.ops`.

    Returns:
        A functional `keras.Model`.

    Raises:
        ValueError: `model` is not a Keras model, is not built, or its `call` cannot be traced.
    """
    check_model(model)
    if not model.built:
        raise ValueError(
            f"The model {model.name!r} is not built, so its shapes are unknown. Call it on data "
            "or use `model.build(input_shape)` first."
        )
    graph = inner_graph(model)
    return _trace(model) if graph is None else graph


def separate(model):
    """As `functional`, but a new model: it can be compiled while `model` keeps its optimizer."""
    graph = functional(model)
    # A traced model is new already. Its tensors no longer know their calls, so no second model can
    # be made of them.
    if inner_graph(model) is None:
        return graph
    return keras.Model(graph.input, graph.output, name=graph.name)


def warn_of_training(model, graph):
    """Warns if the `call` of a subclassed model does something else in training.

    Layers that do more in training stay as they are.

    Args:
        model: a built `keras.Model`.
        graph: its functional model, which is what it does at inference.
    """
    if not _calls_apart(model, graph):
        return
    warnings.warn(
        f"The `call` of the model {model.name!r} does something else in training, and the compact "
        "model does not: it always computes as at inference. Move that part into a layer.",
        stacklevel=3,
    )


def _calls_apart(model, graph):
    if inner_graph(model) is not None or "training" not in inspect.signature(model.call).parameters:
        return False
    try:
        in_training = _trace(model, training=True)
    except ValueError:
        return True
    steps, others = ([type(node.operation) for node in nodes_of(g)] for g in (graph, in_training))
    return steps != others


def _trace(model, **arguments):
    failure = None
    # The build config has no types, so types are tried.
    for dtype in (model.compute_dtype, "int32", "string"):
        try:
            traced = _traced(model, itertools.repeat(dtype), arguments)
            words = [_takes_words(traced, tensor) for tensor in traced.inputs]
            if dtype != "string" and any(words):
                kinds = ("string" if word else dtype for word in words)
                traced = _traced(model, kinds, arguments)
            return traced
        except Exception as error:
            failure = failure or error
    raise ValueError(
        f"The model {model.name!r} is a subclassed model whose `call` cannot be traced. "
        "Write `call` with Keras layers and `keras.ops` only, or build the model as a "
        f"functional one. The trace ended with: {failure}"
    ) from failure


def _traced(model, dtypes, arguments):
    inputs, by_name = _inputs_of(model, dtypes)
    with unrecorded(model):
        call = functools.partial(model.call, **arguments)
        outputs = call(**inputs) if by_name else call(inputs)
        return keras.Model(inputs, outputs, name=model.name)


def _takes_words(traced, tensor):
    kinds = (keras.layers.StringLookup, keras.layers.TextVectorization)
    return any(
        isinstance(node.operation, kinds) and any(tensor is x for x in node.input_tensors)
        for node in nodes_of(traced)
    )


def _inputs_of(model, dtypes):
    """New symbolic inputs for `model.call`, and whether it takes them by name."""
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


def inner_graph(operation):
    """The functional model inside a nested model, None for anything else."""
    module = type(operation).call.__module__ or ""  # None in code that `exec` runs
    if not module.startswith("keras."):
        return None  # its own `call` may do more than run the graph
    if isinstance(operation, keras.Sequential):
        return _keras.functional_of(operation)
    return operation if isinstance(operation, keras.Function) else None


def nodes_of(model):
    """The nodes of a functional model, in topological order."""
    return [node for nodes in _keras.nodes_by_depth(model) for node in nodes]


def producer_name(tensor):
    """The name of the layer or operation that a tensor comes from."""
    return _keras.origin(tensor).operation.name


def is_chain(model):
    """Whether a functional model is a chain of layers, each called on the previous one only."""
    calls = [node for node in nodes_of(model) if not node.is_input]
    return len(calls) == len(model.layers) - 1 and all(
        isinstance(node.operation, keras.Layer)
        and len(node.arguments.args) == len(node.input_tensors) == 1
        # Keras adds `training=False` by itself.
        and not any(node.arguments.kwargs.values())
        for node in calls
    )
