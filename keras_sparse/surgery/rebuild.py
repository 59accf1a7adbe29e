"""Builds the compact model: layers of the kept widths with sliced weights, in the same order."""

import contextlib
import dataclasses

import keras
import numpy as np

from keras_sparse import _keras
from keras_sparse.names import free_name
from keras_sparse.surgery import copying
from keras_sparse.surgery import graph as graphs
from keras_sparse.surgery.functional import producer_name
from keras_sparse.surgery.remaking import (
    called,
    check_count,
    config_of,
    is_of_keras,
    keeps_everything,
    making,
    own_config,
    paired_weights,
    remade,
    weights_in_order,
    without_initializers,
)
from keras_sparse.surgery.slices import VariableSlice, slice_array
from keras_sparse.variables import copied, layers_of_type


class Rebuild:
    """Builds the compact model of an analysed graph.

    A layer that keeps all of its channels, weights and arguments is copied; see `copying` and
    `shared`. Other layers are made again from the config that their rule returns.

    Args:
        findings: the `Findings` of the graph.
        whole: the units of the graph that stay whole because they could not be made again.

    Attributes:
        whole: as given.
        model: the compact `keras.Model`.
        layers: `{unit of the findings: layer}` for every unit that is kept.
        slices: `{path of a variable of the compact model: VariableSlice}`.
        shared: `{unit: why}` for layers that could not be copied. The compact model shares their
            variables with the large one.

    Raises:
        NotRemadeError: a layer has to change and cannot be made again.
        ValueError: a layer that was made again has other weights than before.
    """

    def __init__(self, findings, whole=()):
        self.whole = whole
        self._findings = findings
        self._tensors = {}
        self._names = set()
        # `{name of an output: unit that may have this name}`; None if it names a nested model.
        self._owners = {}
        self._plain = {}
        self._unchanged = {}
        self._finished = set()
        self.layers = {}
        self.slices = {}
        self.shared = {}
        self.model = self._model()
        copying.part_paths(self.model, findings.graph.model)
        for unit, layer in self.layers.items():
            if isinstance(layer, keras.Layer):
                self._fill(unit, layer)

    def check_own(self, variable):
        """Raises a `ValueError` if the compact model shares a variable with the large one."""
        for unit, why in self.shared.items():
            if any(variable is weight for weight in unit.operation.weights):
                raise ValueError(
                    f"{called(unit)} cannot be copied ({why}), so setting its channels to zero "
                    "would change `model`. Give its attributes a form that `copy.deepcopy` takes."
                )

    def _model(self):
        findings, graph = self._findings, self._findings.graph
        names = graph.model.output_names
        for name, value in zip(names, findings.outputs, strict=True):
            if value.producer is not None:
                unit = value.producer.unit if value.producer.operation.name == name else None
                self._owners[name] = unit if self._owners.get(name, unit) is unit else None
        inputs = [self._input(value) for value in findings.inputs]
        for call in self._calls():
            self._call(call)
        named = {}
        outputs = [
            self._named(self._tensors[value], name, named)
            for value, name in zip(findings.outputs, names, strict=True)
        ]
        return keras.Model(
            graphs.inputs_structure(graph, inputs),
            graphs.outputs_structure(graph, outputs),
            name=graph.name,
        )

    def _calls(self):
        """The calls of the compact model; an unchanged layer of layers is one call."""
        for unit in self._findings.units:
            if unit.alive:
                with making(unit):
                    self._unchanged[unit] = keeps_everything(unit)
        closed = self._closed()
        within = set()
        for call in self._findings.calls:
            if call in within:
                continue
            scope = closed.get(call)
            if scope is None:
                if call.unit.alive:
                    yield call
            else:
                within.update(scope.inner)
                yield scope.call

    def _closed(self):
        """`{first call: Scope}` of the layers of layers that do not change."""
        calls = {}
        for scope in self._findings.scopes:
            calls.setdefault(scope.call.unit, set()).update(scope.inner)
        closed = {}
        for scope in reversed(self._findings.scopes):  # outer ones replace inner ones
            inner = calls[scope.call.unit]
            units = {call.unit for call in inner}
            if scope.inner and all(
                self._unchanged.get(unit, False) and inner.issuperset(unit.calls) for unit in units
            ):
                closed[scope.inner[0]] = scope
                self._unchanged[scope.call.unit] = True
        return closed

    def _named(self, tensor, name, named):
        """An output with its name in the large model.

        The output of a nested model has the name of that model, which is inlined.
        """
        if producer_name(tensor) == name:
            return tensor
        if name not in named:
            dtype = keras.backend.standardize_dtype(tensor.dtype)
            named[name] = keras.layers.Identity(
                name=name, dtype=dtype if "float" in dtype else None
            )
        return named[name](tensor)

    def _input(self, value):
        original = graphs.input_layer(self._findings.graph, value.traced)
        self._names.add(original.name)
        layer = type(original).from_config(original.get_config())
        self._tensors[value] = layer.output
        return layer.output

    def _call(self, call):
        unit = call.unit
        if self._as_it_is(unit):
            args, kwargs = call.arguments(self._tensors.__getitem__)
            result = self._layer(unit)(*args, **kwargs)
        else:
            with making(unit):
                result = unit.rule.apply(call, lambda: self._layer(unit), self._tensors.__getitem__)
                check_count(result, call)
        known = [self._tensors[value] for value in call.inputs if value in self._tensors]
        sparse = any(tensor.sparse for tensor in known)
        for value, tensor in zip(call.outputs, keras.tree.flatten(result), strict=True):
            if not sparse:
                _keras.make_dense(tensor)
            self._tensors[value] = tensor

    def _as_it_is(self, unit):
        """Whether the unit's layer is copied. The unit of a scope has no rule."""
        return self._unchanged[unit] and not getattr(unit.rule, "stands_in", False)

    def _layer(self, unit):
        if unit not in self.layers:
            unchanged = self._as_it_is(unit)
            config = own_config(unit) if unchanged else config_of(unit)
            # A layer without weights may be called in many places. It stays one layer if all of
            # them need the same config.
            key = (id(unit.operation), repr(config))
            if key not in self._plain:
                name = self._free_name(unit)
                layer = self._copied(unit, name) if unchanged else remade(unit, config, name)
                self._plain[key] = layer
            self.layers[unit] = self._plain[key]
        return self.layers[unit]

    def _copied(self, unit, name):
        operation = unit.operation
        if not getattr(operation, "variables", None):
            return copying.twin(operation, name)
        if is_of_keras(operation) and unit.traced not in self.whole:
            with contextlib.suppress(Exception):
                return without_initializers(operation, {**operation.get_config(), "name": name})
        try:
            layer = copying.deep_copy(operation, name)
        except ValueError as error:
            layer = copying.twin(operation, name)
            self.shared[unit] = str(error)
        self._finished.add(layer)
        self._find_inner(operation, layer)
        return layer

    def _find_inner(self, operation, layer):
        """Records the copies of a layer's inner layers, for the report."""
        parts = [layers_of_type(whole, keras.Layer) for whole in (operation, layer)]
        copies = {id(old): new for old, new in zip(*parts, strict=True)}
        for unit in self._findings.units:
            copy = copies.get(id(unit.operation))
            if copy is not None and unit.operation is not operation:
                self.layers[unit] = copy
                self._finished.add(copy)

    def _free_name(self, unit):
        def is_taken(name):
            return name in self._names or self._owners.get(name, unit) is not unit

        flat = unit.name.replace("/", "_")
        name = free_name(unit.operation.name, flat, is_taken=is_taken)
        self._names.add(name)
        return name

    def _fill(self, unit, layer):
        """Sets a layer's weights, and records their slices."""
        if layer in self._finished:
            for old, new in zip(unit.operation.weights, layer.weights, strict=True):
                self.slices[new.path] = VariableSlice(
                    self._source(old), (None,) * len(old.shape), tuple(old.shape)
                )
            return
        same = [w.shape for w in unit.operation.weights] == [w.shape for w in layer.weights]
        for key, value in vars(unit.operation).items():
            fits = same or not _is_array(value)
            if key.endswith("_initializer") and key in vars(layer) and fits:
                setattr(layer, key, value)
        for old, new in zip(copying.moving(unit.operation), copying.moving(layer), strict=False):
            # A copy: on JAX, training deletes the initial arrays.
            new.assign(copied(old))
        if layer.weights:
            self._set_weights(unit, layer)
            if hasattr(layer, "finalize_state"):
                # Preprocessing layers compute with values derived from their weights.
                layer.finalize_state()

    def _source(self, old):
        """The path of a variable of the large model; None for None."""
        return None if old is None else self._findings.graph.paths.get(id(old), old.path)

    def _set_weights(self, unit, layer):
        unchanged = self._as_it_is(unit)
        with making(unit):
            slices = {} if unchanged else unit.rule.slices(unit)
        if unchanged:
            # If the config gives other weights, the layer is copied instead.
            with making(unit):
                olds, news = weights_in_order(unit, layer)
        else:
            olds, news = paired_weights(unit, layer)
        arrays, parts = {}, {}
        for name, new in news.items():
            old = olds.get(name)
            shape = tuple((old if old is not None else new).shape)
            indices = slices.get(name, (None,) * len(shape))
            parts[name] = VariableSlice(self._source(old), indices, shape)
            arrays[name] = (
                np.zeros(new.shape) if old is None else slice_array(unit.array(name), indices)
            )
        plain = dict(arrays)
        if not unchanged:
            with making(unit):
                unit.rule.fold(unit, arrays)
        for name, new in news.items():
            if unit.rule.stands_in:
                parts[name] = dataclasses.replace(parts[name], to=tuple(new.shape))
                arrays[name] = plain[name] = arrays[name].reshape(new.shape)
            if arrays[name].shape != tuple(new.shape):
                raise ValueError(
                    f"{called(unit)} was made again with the weight {name!r} of shape "
                    f"{tuple(new.shape)}, where the part that is left of it has shape "
                    f"{arrays[name].shape}. Let `get_config` and `build` agree, or correct the "
                    "`config` and `slices` of its rule."
                )
            shift = None if arrays[name] is plain[name] else arrays[name] - plain[name]
            self.slices[new.path] = dataclasses.replace(parts[name], shift=shift)
            new.assign(arrays[name])
            if name in olds:
                new.trainable = olds[name].trainable


def _is_array(initializer):
    """Whether an initializer holds the values of all weights, of one shape."""
    return isinstance(initializer, keras.initializers.Constant) and np.ndim(initializer.value) > 0
