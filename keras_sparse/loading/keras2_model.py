"""Building a model in Keras 3 from a config of Keras 2, by calling its layers."""

import dataclasses
import re

import keras

from keras_sparse.loading import keras2_operations
from keras_sparse.loading.keras2_layers import MODELS, layer_name, make_layer

_OPERATIONS = ("TFOpLambda", "SlicingOpLambda")
_RECURRENT = (keras.layers.RNN, keras.layers.Bidirectional)
_MERGING = ("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract")


@dataclasses.dataclass
class Part:
    """A layer and its name in the file; for a model also its parts, in the file's order.

    Args:
        name: the layer's name in the file.
        kind: its class in the file.
        layer: the `keras.Layer` or `keras.Model`.
        parts: a model's own parts, None for any other layer. Inputs and operations are omitted,
            because they have no weights.
    """

    name: str
    kind: str
    layer: keras.Layer
    parts: list | None = None


def build(entry):
    """The `Part` of a model, with the initial weights.

    Args:
        entry: `{"class_name": ..., "config": ...}` from the file.

    Raises:
        ValueError: a layer, or its use, has no clear meaning in Keras 3.
    """
    _refuse_merged_masks(entry)
    return _model(entry)


def _refuse_merged_masks(entry):
    """Refuse merged masks: Keras 2 combines them with "and", Keras 3 with "or"."""
    layers = list(_all_layers(entry))
    masking = [each for each in layers if each["class_name"] == "Masking"]
    masking += [each for each in layers if each["config"].get("mask_zero")]
    merging = [each for each in layers if each["class_name"] in _MERGING]
    if masking and merging:
        raise ValueError(
            f"the layer {merging[0]['config']['name']!r} ({merging[0]['class_name']}) may merge "
            f"masks, which {masking[0]['config']['name']!r} makes and which Keras 3 merges "
            "differently. Rebuild the model with explicit masks, and load the weights."
        )


def _all_layers(entry):
    """The entries of all layers in a model's entry, including layers inside layers."""
    if isinstance(entry, dict):
        if isinstance(entry.get("config"), dict) and "class_name" in entry:
            yield entry
        entry = list(entry.values())
    if isinstance(entry, list):
        for each in entry:
            yield from _all_layers(each)


def _model(entry):
    kind, config = entry["class_name"], entry["config"]
    if kind not in MODELS:
        raise ValueError(
            f"its model is a {kind}, whose code the file does not hold. Build the model from its "
            "code and call its `load_weights`, then save it whole."
        )
    if kind == "Sequential":
        # Old versions wrote only the list of layers.
        return _sequential(entry, config if isinstance(config, dict) else {"layers": config})
    return _functional(entry, config)


def _part(entry):
    if entry["class_name"] in MODELS:
        return _model(entry)
    layer = make_layer(entry, lambda inner: _model(inner).layer)
    return Part(entry["config"].get("name"), entry["class_name"], layer)


def _input(config):
    if config.get("ragged"):
        raise ValueError(f"the input {config['name']!r} is ragged, which Keras 3 does not know.")
    return keras.Input(
        batch_shape=config.get("batch_input_shape", config.get("batch_shape")),
        dtype=config.get("dtype"),
        sparse=config.get("sparse") or None,
        name=layer_name(config["name"]),
    )


def _sequential(entry, config):
    entries = config["layers"]
    layers = []
    first = entries[0]["config"] if entries else {}
    if entries and entries[0]["class_name"] == "InputLayer":
        layers.append(_input(first))
        entries = entries[1:]
    elif "batch_input_shape" in first:
        layers.append(keras.Input(batch_shape=first["batch_input_shape"], dtype=_dtype(first)))
    parts = [_part(each) for each in entries]
    name = config.get("name")
    model = keras.Sequential(layers + [part.layer for part in parts], name=name)
    shape = config.get("build_input_shape")
    if not model.built and shape is not None:
        model.build(shape)
    return Part(name, entry["class_name"], model, parts)


def _dtype(config):
    """The dtype of an input: the layer's compute dtype, except for indices."""
    dtype = config.get("dtype")
    return dtype if isinstance(dtype, str) and not dtype.startswith("mixed") else None


def _functional(entry, config):
    graph = _Graph(config["layers"])
    graph.run()
    model = keras.Model(
        graph.read(_unwrap(config["input_layers"])),
        graph.read(_unwrap(config["output_layers"])),
        name=config["name"],
    )
    return Part(config["name"], entry["class_name"], model, list(graph.parts.values()))


class _Graph:
    """Calls the layers of a functional model, each as soon as its inputs exist.

    Args:
        entries: the layers in the file, with their calls under `"inbound_nodes"`.

    Attributes:
        parts: `{name: Part}` of the layers.
        outputs: `{name: [the tensors of each call, in a list]}`.
    """

    def __init__(self, entries):
        self.parts = {}
        self.outputs = {}
        self._functions = {}
        self._skipped = {}
        self._waiting = {}
        for entry in entries:
            self._add(entry)
        if self._functions:
            _reserve(self.parts)

    def _add(self, entry):
        name, kind, config = entry["name"], entry["class_name"], entry["config"]
        self.outputs[name] = []
        if kind == "InputLayer":
            self.outputs[name].append([_input(config)])
            return
        if kind in _OPERATIONS:
            self._functions[name] = config["function"]
        else:
            self.parts[name] = _part(entry)
        # A model that was built with its own input has one more call, before those of the graph.
        layers = config.get("layers") if kind in MODELS else None
        self._skipped[name] = int(bool(layers) and layers[0]["class_name"] == "InputLayer")
        self._waiting[name] = list(entry["inbound_nodes"])

    def run(self):
        """Makes all calls."""
        while self._waiting:
            ready = [name for name, nodes in self._waiting.items() if self._known(nodes[:1])]
            if not ready:
                raise ValueError(
                    f"the inputs of the layers {sorted(self._waiting)} are not in the file. Keras "
                    "2 loses them where a layer is shared with a model inside the model."
                )
            for name in ready:
                nodes = self._waiting[name]
                while nodes and self._known(nodes[0]):
                    self.outputs[name].append(self._call(name, nodes.pop(0)))
                if not nodes:
                    del self._waiting[name]

    def read(self, structure):
        """`structure` with tensors instead of references."""
        if _is_reference(structure):
            name, call, tensor = structure[:3]
            if name == "_CONSTANT_VALUE":
                return tensor
            return self.outputs[name][call - self._skipped.get(name, 0)][tensor]
        if isinstance(structure, list):
            return [self.read(each) for each in structure]
        if isinstance(structure, dict):
            return {key: self.read(each) for key, each in structure.items()}
        return structure

    def _known(self, structure):
        """Whether all tensors that a call refers to exist."""
        if _is_reference(structure):
            name, call = structure[:2]
            there = name == "_CONSTANT_VALUE" or (
                name in self.outputs and call - self._skipped.get(name, 0) < len(self.outputs[name])
            )
            return there and all(self._known(each) for each in structure[3:])
        if isinstance(structure, (list, dict)):
            items = structure.values() if isinstance(structure, dict) else structure
            return all(self._known(each) for each in items)
        return True

    def _call(self, name, node):
        """The outputs of a call, in a list."""
        arguments = self.read(_arguments(node))
        arguments = {key: value for key, value in arguments.items() if value is not None}
        first = self.read(_unwrap(node) if name in self.parts else node)
        try:
            if name in self.parts:
                layer = self.parts[name].layer
                if isinstance(layer, _RECURRENT) and isinstance(first, list):
                    # Keras 2 appended the initial states to the inputs.
                    first, arguments["initial_state"] = first[0], first[1:]
                return keras.tree.flatten(layer(first, **arguments))
            return keras2_operations.apply(self._functions[name], first, arguments)
        except (ValueError, TypeError, AttributeError, NotImplementedError) as error:
            raise ValueError(f"the layer {name!r}: {error}") from error


def _reserve(names):
    """Keeps Keras from giving an operation the name of a layer: `"multiply"`, `"add_1"`."""
    for name in names:
        stem, number = re.fullmatch(r"(.*?)(?:_(\d{1,4}))?", name).groups()
        while keras.backend.get_uid(stem) <= int(number or 0):
            pass


def _is_reference(structure):
    """Whether it is `[layer, call, tensor]`, with or without the call's other arguments."""
    is_list = isinstance(structure, list) and len(structure) in (3, 4)
    return is_list and isinstance(structure[0], str)


def _arguments(node):
    """The arguments of a call besides the first; each reference in the first repeats them."""
    if _is_reference(node):
        return node[3] if len(node) == 4 else {}
    items = node.values() if isinstance(node, dict) else node
    found = [_arguments(each) for each in items]
    return found[-1] if found else {}


def _unwrap(structure):
    """Unwrap a list of one tensor; Keras 2 wrote single tensors as such lists."""
    if isinstance(structure, list) and len(structure) == 1:
        return structure[0]
    return structure
