"""The public function: a Keras model in, a smaller one out."""

import keras

from keras_sparse.surgery.analysis import Analysis
from keras_sparse.surgery.graph import Graph
from keras_sparse.surgery.rebuild import Rebuild
from keras_sparse.surgery.report import make_report
from keras_sparse.surgery.verify import allowed_difference, largest_difference, random_inputs
from keras_sparse.variables import layers_of_type


def remove_dead_channels(model, *, channel_multiple=None, verify=True):
    """Cuts out the channels that do not matter, and leaves the model's outputs as they are.

    Two kinds of channels go: those that are constant, since all that they read is zero or
    constant, and those that nobody reads. What a constant channel added to its readers is folded
    into their biases, or, under a padded border, into one channel that stays. The outputs are those
    of the large model up to rounding, as long as its activations are finite, and at inference: in
    training batch normalisation uses other statistics. Layers that are not known stay whole, with
    everything they touch, and so do channels whose loss would show; the report says why.

    Args:
        model: a built `keras.Model`: Sequential, functional, or subclassed if its `call` is pure
            Keras. It is not changed. Nested models come out inlined.
        channel_multiple: int or None. If given, as many removable channels are left as each
            layer needs for a width that is a multiple of this; some accelerators want 8 or 16.
        verify: whether to compare the outputs of both models on random input.

    Returns:
        `(smaller, report)`: a new `keras.Model`, not compiled, and a `Report`.

    Raises:
        ValueError: `model` is no built `keras.Model`, cannot be traced, or has quantized layers
            or layers with LoRA; `channel_multiple` is no positive integer.
        RuntimeError: the outputs differ by more than rounding explains.

    Example:

    >>> smaller, report = keras_sparse.surgery.remove_dead_channels(model)
    >>> report.parameters
    (25636712, 13071512)
    """
    valid = isinstance(channel_multiple, int) and channel_multiple > 0
    if channel_multiple is not None and not valid:
        raise ValueError(
            "`channel_multiple` must be a positive integer or None. "
            f"Received: channel_multiple={channel_multiple!r}"
        )
    graph = Graph(model)
    refuse_wrapped_weights(graph)
    Analysis(graph, channel_multiple)
    rebuild = Rebuild(graph)
    smaller = rebuild.model
    report = make_report(graph, rebuild)
    if isinstance(model, keras.Sequential):
        smaller = _sequential(smaller)
    if verify:
        report.max_error = _verify(graph.model, smaller)
    return smaller, report


def refuse_wrapped_weights(graph):
    """Raises a `ValueError` if weights are not what the layers' rules take them for.

    Layers within layers are looked at too: attention has its weights in layers of its own.
    """
    for layer in layers_of_type(graph.model, keras.Layer):
        if getattr(layer, "quantization_mode", None) is not None:
            raise ValueError(
                f"The layer {layer.name!r} is quantized. Remove channels from the float model, "
                "then quantize the smaller one."
            )
        if getattr(layer, "lora_enabled", False):
            raise ValueError(
                f"The layer {layer.name!r} has LoRA enabled. Merge it first: save the model's "
                "weights, which merges them, and load them into the model built without LoRA."
            )


def _verify(model, smaller):
    difference, noise = largest_difference(model, smaller, random_inputs(model))
    allowed = allowed_difference(model, noise)
    if not difference <= allowed:
        raise RuntimeError(
            f"The smaller model's outputs differ by {difference:.2e} of their scale, where "
            f"rounding explains {allowed:.2e}, so it is not returned. A registered rule may be "
            "wrong, or the model's activations may overflow; `verify=False` returns it for "
            "inspection."
        )
    return float(difference)


def _sequential(model):
    """A chain of layers as a `Sequential`, anything else as it is."""
    layers = model.layers
    chain = len(model.operations) == len(layers) and all(
        len(keras.tree.flatten(layer.input)) == 1 for layer in layers[1:]
    )
    return keras.Sequential(layers, name=model.name) if chain else model
