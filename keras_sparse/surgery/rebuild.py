"""The smaller model: new layers of the kept width, called in the same order, weights sliced."""

import dataclasses

import keras
import numpy as np

from keras_sparse.surgery import graph as graphs


@dataclasses.dataclass(frozen=True)
class Cut:
    """Where a variable of the smaller model comes from.

    Args:
        source: path of the variable in the large model, None if it is new (a bias).
        indices: for each axis an array of kept indices, or None where all are kept; or a function
            from array to array.
        shape: the variable's shape in the large model.
        shift: what folding added to the kept part, None if nothing.
    """

    source: str | None
    indices: object
    shape: tuple
    shift: object = None

    def __call__(self, array):
        """The kept part of an array shaped as the large variable."""
        return cut(array, self.indices)

    def spanning(self, array):
        """The same of an array with one entry, instead of many equal ones, along some axes."""
        kept = self(np.broadcast_to(array, self.shape))
        return kept[tuple(slice(1) if size == 1 else slice(None) for size in array.shape)]


def _without_initializers(operation, config):
    """The layer from its config, spared from drawing random weights that are overwritten."""
    of_keras = type(operation).__module__.startswith("keras.")
    drawn = [key for key in config if of_keras and key.endswith("_initializer")]
    drawn = [key for key in drawn if key in vars(operation)]
    layer = type(operation).from_config({**config, **dict.fromkeys(drawn, "zeros")})
    return layer


def cut(array, indices):
    """`array` with, on each axis, only the indices given; None keeps an axis."""
    if callable(indices):
        return indices(array)
    for axis, index in enumerate(indices):
        if index is not None and len(index) != array.shape[axis]:
            array = np.take(array, index, axis)
    return array


class Rebuild:
    """Makes the smaller model of an analysed graph.

    Attributes:
        model: the smaller `keras.Model`.
        layers: `{unit: layer}` for every unit that is left.
        cuts: `{path of a variable of the smaller model: Cut}`.
    """

    def __init__(self, graph):
        self._graph = graph
        self._tensors = {}
        self._names = set()
        self._plain = {}
        self.layers = {}
        self.cuts = {}
        self.model = self._model()
        for unit, layer in self.layers.items():
            if getattr(layer, "weights", None):
                self._set_weights(unit, layer)

    def _model(self):
        graph = self._graph
        inputs = [self._input(value) for value in graph.inputs]
        for call in graph.calls:
            if call.unit.alive:
                self._call(call)
        outputs = [self._tensors[value] for value in graph.outputs]
        return keras.Model(
            graphs.inputs_structure(graph, inputs),
            graphs.outputs_structure(graph, outputs),
            name=graph.name,
        )

    def _input(self, value):
        original = graphs.input_layer(self._graph, value)
        self._names.add(original.name)
        layer = type(original).from_config(original.get_config())
        self._tensors[value] = layer.output
        return layer.output

    def _call(self, call):
        unit = call.unit
        result = unit.rule.apply(call, lambda: self._layer(unit), self._tensors.__getitem__)
        for value, tensor in zip(call.outputs, keras.tree.flatten(result), strict=True):
            self._tensors[value] = tensor

    def _layer(self, unit):
        if unit not in self.layers:
            config = unit.rule.config(unit)
            shared = (id(unit.operation), repr(config))
            # A layer without weights may be called in many places; it stays one layer as long as
            # all places want the same of it.
            if shared not in self._plain:
                self._plain[shared] = self._new_layer(unit, config)
            self.layers[unit] = self._plain[shared]
        return self.layers[unit]

    def _new_layer(self, unit, config):
        operation = unit.operation
        config = {**config, "name": self._free_name(unit)}
        if isinstance(operation, keras.layers.Lambda):
            # A function written in place cannot go through a config.
            return graphs.copy_lambda(operation, config["name"])
        try:
            return _without_initializers(operation, config)
        except Exception as error:
            raise ValueError(
                f"{unit.name!r} ({type(operation).__name__}) cannot be made again from its "
                f"config; give it a `get_config` that returns the arguments of `__init__`. "
                f"Making it ended with: {error}"
            ) from error

    def _free_name(self, unit):
        name, n = unit.operation.name, 0
        if name in self._names:
            name = base = unit.name.replace("/", "_")
            while name in self._names:
                n += 1
                name = f"{base}_{n}"
        self._names.add(name)
        return name

    def _set_weights(self, unit, layer):
        for key in unit.operation.get_config():
            if key.endswith("_initializer") and key in vars(layer):
                setattr(layer, key, getattr(unit.operation, key))
        slices = unit.rule.slices(unit)
        olds = graphs.weights_by_name(unit.operation)
        news = graphs.weights_by_name(layer)
        if len(olds) == len(news):
            news = dict(zip(olds, news.values(), strict=True))
        arrays, cuts = {}, {}
        for name, new in news.items():
            old = olds.get(name)
            shape = tuple((old if old is not None else new).shape)
            indices = slices.get(name, (None,) * len(shape))
            cuts[name] = Cut(None if old is None else old.path, indices, shape)
            arrays[name] = np.zeros(new.shape) if old is None else cut(unit.array(name), indices)
        plain = dict(arrays)
        unit.rule.fold(unit, arrays)
        for name, new in news.items():
            shift = None if arrays[name] is plain[name] else arrays[name] - plain[name]
            self.cuts[new.path] = dataclasses.replace(cuts[name], shift=shift)
            new.assign(arrays[name])
        if hasattr(layer, "finalize_state"):
            # Preprocessing layers compute with what they derive from their weights.
            layer.finalize_state()
