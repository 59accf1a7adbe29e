"""The parts of a model's traced graph: values, calls, units and scopes."""

import dataclasses

import keras

from keras_sparse import _keras
from keras_sparse.surgery.tracing import Opened


class Value:
    """A tensor between two calls.

    Attributes:
        shape: tuple; the batch size comes first, unknown sizes are None.
        dtype: string.
        producer: the `Call` that computes it, None for an input of the model.
        masked: whether it has a mask.
    """

    __slots__ = ("dtype", "masked", "producer", "shape")

    def __init__(self, tensor, producer=None):
        self.shape = tuple(tensor.shape)
        self.dtype = keras.backend.standardize_dtype(tensor.dtype)
        self.producer = producer
        self.masked = _keras.mask_of(tensor) is not None


class Call:
    """One call of a layer or operation.

    Attributes:
        operation: the layer or operation.
        args, kwargs: its arguments, with a `Value` for each tensor.
        inputs, outputs: lists of `Value`.
        unit: the `Unit` that the call belongs to.
        masked: whether any tensor of the model has a mask, which some layers read implicitly.
        takes_masks: whether a tensor that it takes has a mask.
    """

    masked = False
    takes_masks = False

    def __init__(self, operation, args, kwargs):
        self.operation = operation
        self.args = args
        self.kwargs = kwargs
        leaves = keras.tree.flatten((args, kwargs))
        self.inputs = [leaf for leaf in leaves if isinstance(leaf, Value)]
        self.outputs = []
        self.unit = None

    def arguments(self, read):
        """`(args, kwargs)` with each `Value` replaced by `read(value)`."""

        def fill(leaf):
            return read(leaf) if isinstance(leaf, Value) else leaf

        return keras.tree.map_structure(fill, (self.args, self.kwargs))


class Unit:
    """A layer with all of its calls, which share weights and keep the same channels.

    Each call of a layer without weights is a unit of its own, because nothing couples the calls.

    Attributes:
        operation: the layer or operation.
        name: unique if the layer has weights.
        index: index of its last call.
        calls: list of `Call`.
        closed: the reason why a layer of layers is not opened; "" for other layers.
    """

    def __init__(self, operation, name, index):
        self.operation = operation
        self.name = name
        self.index = index
        self.calls = []
        self.closed = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Scope:
    """One call of a layer of layers that the graph replaced by the calls inside it.

    Args:
        call: the layer's own `Call`; its unit is not in `Graph.units`.
        inner: list of the `Call`s inside, in the order of `Graph.calls`.
        opened: the `Opened` that the inner calls are from.
    """

    call: Call
    inner: list
    opened: Opened


def weights_by_name(layer):
    """`{name: variable}` of a layer's weights; a name is the shortest unique end of the path.

    A weight without a name is named by its attribute, because Keras' default names are numbered
    across layers.
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
