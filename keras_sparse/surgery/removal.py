"""The public function `remove_dead_channels`."""

import keras

from keras_sparse._types import Verify
from keras_sparse.surgery.analysis import analyse
from keras_sparse.surgery.functional import is_chain, warn_of_training
from keras_sparse.surgery.graph import Graph
from keras_sparse.surgery.rebuild import Rebuild
from keras_sparse.surgery.remaking import NotRemadeError
from keras_sparse.surgery.report import Report, make_report
from keras_sparse.surgery.rules import Unsupported
from keras_sparse.surgery.verify import allowed_difference, check_verify, compare
from keras_sparse.validation import check_integer
from keras_sparse.variables import by_path, layers_of_type


def remove_dead_channels(
    model: keras.Model, *, channel_multiple: int | None = None, verify: Verify = True
) -> tuple[keras.Model, Report]:
    """Removes dead channels from a model without changing its outputs.

    Two kinds of channels are removed: constant channels, which read only zeros and constants, and
    channels that nothing reads. The constants are folded into the biases of the layers that read
    them. If a reading layer pads its input, they are folded into one channel that stays. At
    inference, the outputs equal those of the given model up to rounding, if its activations are
    finite. In training they differ, because batch normalisation uses other statistics. Layers
    without a rule do not change, nor do the channels that they read and compute. The report gives
    the reason for each dead channel that stays.

    Args:
        model: a built `keras.Model`: Sequential, functional, or subclassed if its `call` is pure
            Keras. It is not changed. Nested models are inlined; the inputs and outputs keep their
            names and structure.
        channel_multiple: int or None. If given, layers keep dead channels to round their widths up
            to a multiple of it; some accelerators need 8 or 16.
        verify: the inputs on which the outputs of both models are compared: True for random inputs
            that suit the model's layers; arrays as for `model.predict`; or False for no comparison.

    Returns:
        `(compact, report)`: a new `keras.Model`, not compiled, and a `Report`. The models share no
            weights, unless a layer cannot be copied: `report.notes` names it.

    Raises:
        ValueError: `model` is not a built `keras.Model`, cannot be traced, or has quantized layers
            or layers with LoRA; a layer has other weights when it is made again;
            `channel_multiple` is not a positive integer; or the outputs cannot be compared, because
            the model accepts no random inputs, or not those of `verify`.
        RuntimeError: the outputs differ by more than rounding explains.

    Warns:
        UserWarning: the `call` of a subclassed model does something else in training.

    Example:

    >>> compact, report = keras_sparse.surgery.remove_dead_channels(model)
    >>> report.parameters
    (25636712, 13071512)
    """
    if channel_multiple is not None:
        check_integer("channel_multiple", channel_multiple, "[1, inf)")
    check_verify(verify)
    graph = Graph(model)
    warn_of_training(model, graph.model)
    refuse_wrapped_weights(graph)
    findings, rebuild = _rebuild(graph, channel_multiple)
    compact = rebuild.model
    report = make_report(findings, rebuild)
    report.trained = tuple(by_path(model.trainable_variables))
    if isinstance(model, keras.Sequential):
        compact = _sequential(model, findings, rebuild)
    if verify is not False:
        report.max_error = _verify(graph, compact, verify)
    return compact, report


def _rebuild(graph, channel_multiple):
    """The `Findings` and the `Rebuild`; a layer that cannot be made smaller stays whole."""
    whole, rules = set(), None
    while True:
        findings = analyse(graph, rules, channel_multiple)
        try:
            return findings, Rebuild(findings, whole)
        except NotRemadeError as error:
            unit = error.unit
            whole.add(unit.traced)
            rules = {**findings.rules, unit.traced: Unsupported(error.reason, unit.rule)}


def copied_whole(model):
    """The graph of a model, and a `Rebuild` that changes none of its layers."""
    graph = Graph(model)
    refuse_wrapped_weights(graph)
    return graph, Rebuild(analyse(graph, dict.fromkeys(graph.units, Unsupported())))


def refuse_wrapped_weights(graph):
    """Raises a `ValueError` for quantized weights and LoRA, which rules do not support.

    Layers within layers are checked too: attention has its weights in sublayers.
    """
    for layer in layers_of_type(graph.model, keras.Layer):
        if getattr(layer, "quantization_mode", None) is not None:
            raise ValueError(
                f"The layer {layer.name!r} is quantized. Remove channels from the float model, "
                "then quantize the compact one."
            )
        if getattr(layer, "lora_enabled", False):
            raise ValueError(
                f"The layer {layer.name!r} has LoRA enabled. Merge it first: save the model's "
                "weights, which merges them, and load them into the model built without LoRA."
            )


def _verify(graph, compact, verify):
    difference, noise = compare(graph.model, compact, verify, graph)
    allowed = allowed_difference(graph.model, noise)
    if not difference <= allowed:
        raise RuntimeError(
            f"The compact model's outputs differ by {difference:.2e} of their scale, where "
            f"rounding explains {allowed:.2e}, so it is not returned. A registered rule may be "
            "wrong, or the model's activations may overflow; `verify=False` returns it for "
            "inspection."
        )
    return float(difference)


def _sequential(model, findings, rebuild):
    """The compact model as a `Sequential`, if its layers are still a chain."""
    units = [call.unit for call in findings.calls if isinstance(call.operation, keras.Layer)]
    compact = rebuild.model
    if [unit.operation for unit in units] == model.layers:
        # `is_chain` does not hold if masks are passed between the layers.
        layers = [compact.layers[0], *(rebuild.layers[unit] for unit in units)]
    elif is_chain(compact):
        layers = compact.layers
    else:
        return compact
    return keras.Sequential(layers, name=model.name)
