"""Predicts the multiply-accumulates of a model's layers at any widths of its groups."""

import keras

from keras_sparse.surgery.findings import Findings
from keras_sparse.surgery.macs import unit_macs
from keras_sparse.surgery.units import weights_by_name


class PredictedMacs:
    """The multiply-accumulates of each layer, as its rule counts them for other sizes.

    A rule counts from the shapes of the layer's weights and of the tensors of its calls. It is
    given the shapes of the compact model, so it counts the same as on that model.

    Args:
        graph: a `surgery.graph.Graph`.
        groups: list of the `surgery.ChannelGroup`s of its model.

    Attributes:
        groups_of: `{layer: set of the indices of groups}`: the groups of the tensors that a layer
            with multiply-accumulates reads or computes.
    """

    def __init__(self, graph, groups):
        findings = Findings(graph)
        self._groups = groups
        self._units, self._tensors = {}, {}
        for unit in findings.units:
            if unit_macs(unit):
                self._units.setdefault(unit.name, []).append(unit)
        for layer, units in self._units.items():
            calls = [call for unit in units for call in unit.calls]
            values = dict.fromkeys(value for call in calls for value in call.inputs + call.outputs)
            self._tensors[layer] = {value: (value.shape, []) for value in values}
            for unit in units:
                unit.operation = _Layer(unit.operation)
            for call in calls:
                call.operation = call.unit.operation
        self._add_axes(findings.calls)
        self.groups_of = {
            layer: {i for _, axes in tensors.values() for _, i, _ in axes}
            for layer, tensors in self._tensors.items()
        }

    def _add_axes(self, calls):
        """Adds to each tensor the axes with channels of groups."""
        for i, group in enumerate(self._groups):
            for (place, output, share), axis in zip(
                group.activations, group.activation_axes, strict=True
            ):
                value = calls[place].outputs[output]
                for tensors in self._tensors.values():
                    if value in tensors and value.shape[axis]:
                        each = value.shape[axis] * share / group.size
                        tensors[value][1].append((axis, i, each))

    def count(self, layer, widths, shapes):
        """The multiply-accumulates of all calls of a layer.

        Args:
            layer: name of the layer.
            widths: int array, the width of each group.
            shapes: `{weight name: shape}` of the layer at these widths.
        """
        for value, (shape, axes) in self._tensors.get(layer, {}).items():
            value.shape = _whole(resized(shape, axes, self._groups, widths))
        units = self._units.get(layer, ())
        for unit in units:
            unit.operation.resize(shapes)
        return float(sum(map(unit_macs, units)))


class _Part:
    """A layer inside a layer, or a variable, with the shapes of the compact model.

    Args:
        part: the layer or variable; it is not changed.
        shapes: `{id of a variable: shape}`.
    """

    def __init__(self, part, shapes):
        self._part, self._shapes = part, shapes

    def __getattr__(self, name):
        value = getattr(self._part, name)
        if name == "shape":
            return self._shapes.get(id(self._part), value)
        if isinstance(value, list):
            return [self._inside(entry) for entry in value]
        return self._inside(value)

    def _inside(self, value):
        inner = isinstance(value, (keras.Layer, keras.Variable))
        return _Part(value, self._shapes) if inner else value


class _Layer(_Part):
    """A layer with the shapes of the compact model."""

    def __init__(self, layer):
        super().__init__(layer, {})
        self._weights = weights_by_name(layer)

    def resize(self, shapes):
        """Sets the shapes, `{weight name: shape}`."""
        for name, shape in shapes.items():
            self._shapes[id(self._weights[name])] = _whole(shape)


def resized(shape, axes, groups, widths):
    """A shape at other widths of the groups.

    Args:
        shape: tuple, the shape in the full model.
        axes: list of `(axis, index of a group, indices along the axis for each of its channels)`.
        groups: list of `surgery.ChannelGroup`.
        widths: int array, the width of each group.

    Returns:
        A tuple. A size is not an integer if the channels of a group have different numbers of
        indices along its axis.
    """
    sizes = list(shape)
    for axis, i, each in axes:
        sizes[axis] -= each * (groups[i].size - widths[i])
    return tuple(sizes)


def _whole(shape):
    return tuple(None if size is None else round(size) for size in shape)
