"""TFLite files of one layer each, at any width."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import os
import warnings

import keras

from export.convert.argmax import plain_argmax
from export.convert.full_precision import in_float32
from export.convert.recurrent import without_loops
from export.errors import cannot_convert
from export.inputs import draw_samples, input_specs
from keras_sparse import surgery
from keras_sparse.surgery.graph import Graph
from keras_sparse.surgery.macs import graph_macs

_TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_TIMED = (
    keras.layers.Dense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    *_TRANSPOSED,
    *_SEPARABLE,
    *_DEPTHWISE,
)
# Number of samples for calibration; they are random, so more would not help.
_CALIBRATED = 2


@dataclasses.dataclass(frozen=True)
class TimedLayer:
    """A layer with a time that depends on its widths.

    Args:
        name: the layer's name; in a nested model its path.
        layer: the `keras.Layer`.
        shape: shape of its largest input without the batch.
        calls: float, how often the model calls it; a call with a smaller input counts by its size.
    """

    name: str
    layer: object
    shape: tuple
    calls: float

    @property
    def one_width(self):
        """Whether both widths must be equal: depthwise and grouped convolutions."""
        return isinstance(self.layer, _DEPTHWISE) or getattr(self.layer, "groups", 1) > 1

    @property
    def axes(self):
        """The axes with the widths: `(weight, axis, factor)` for inputs and outputs."""
        layer = self.layer
        if isinstance(layer, _SEPARABLE):
            return ("depthwise_kernel", -2, 1), ("pointwise_kernel", -1, 1)
        if isinstance(layer, _DEPTHWISE):
            return ("kernel", -2, 1), ("kernel", -2, layer.depth_multiplier)
        if isinstance(layer, _TRANSPOSED):
            return ("kernel", -1, 1), ("kernel", -2, 1)
        groups = getattr(layer, "groups", 1)
        if groups > 1 and layer.kernel.shape[-2] == 1:
            # This is a depthwise convolution: the number of groups changes with the channels.
            return ("kernel", -1, groups / layer.filters), ("kernel", -1, 1)
        return ("kernel", -2, groups), ("kernel", -1, 1)

    @property
    def widths(self):
        """`(inputs, outputs)`, the current widths of the layer."""
        shapes = {w.path.rsplit("/", 1)[-1]: w.shape for w in self.layer.weights}
        return tuple(round(factor * shapes[name][axis]) for name, axis, factor in self.axes)

    def fits(self, inputs, outputs):
        """Whether the layer can have these widths: all groups must have the same width."""
        groups = _groups(self.layer, inputs)
        return inputs % groups == 0 and outputs % groups == 0

    def key(self):
        """A key that is equal for layers of equal time."""
        config = {
            key: value
            for key, value in self.layer.get_config().items()
            if key in ("kernel_size", "strides", "padding", "dilation_rate", "groups", "activation")
            or key in ("filters", "units", "depth_multiplier", "use_bias", "output_padding")
        }
        return f"{type(self.layer).__name__} {self.shape} {sorted(config.items(), key=str)}"

    def model(self, inputs, outputs):
        """A model with only this layer at other widths, for one sample."""
        config = self.layer.get_config()
        for key in list(config):
            if key.endswith(("_regularizer", "_constraint")):
                config[key] = None
        config["dtype"] = "float32"
        if isinstance(self.layer, keras.layers.Dense):
            config["units"] = outputs
        elif not isinstance(self.layer, _DEPTHWISE):
            config["filters"] = outputs
            if getattr(self.layer, "groups", 1) > 1:
                config["groups"] = _groups(self.layer, inputs)
        axis = -1 if config.get("data_format", "channels_last") == "channels_last" else 0
        shape = list(self.shape)
        shape[axis] = inputs
        x = keras.Input(tuple(shape), batch_size=1)
        return keras.Model(x, type(self.layer).from_config(config)(x))


def _groups(layer, inputs):
    """The number of groups: unchanged, or the number of channels of a depthwise convolution."""
    groups = getattr(layer, "groups", 1)
    return inputs if groups > 1 and layer.kernel.shape[-2] == 1 else groups


def timed_layers(model):
    """The dense layers and convolutions of a model, as a list of `TimedLayer`.

    Raises:
        ValueError: the model leaves a size other than the batch open.
    """
    graph = Graph(model)
    macs = graph_macs(graph)
    found = []
    for unit in graph.units:
        layer = unit.operation
        if unit.name not in macs or not isinstance(layer, _TIMED):
            continue
        shapes = [call.inputs[0].shape[1:] for call in unit.calls]
        for shape in shapes:
            if None in shape:
                raise ValueError(
                    f"The layer {unit.name!r} has an input of shape {shape} with open sizes, so "
                    "its time is unknown. Build the model with the sizes of the device."
                )
        largest = max(shapes, key=math.prod)
        calls = sum(map(math.prod, shapes)) / math.prod(largest)
        found.append(TimedLayer(unit.name, layer, largest, calls))
    return found


def graph_hash(model):
    """A hash of the kinds and shapes of a model's operations, without weights and names.

    A model with another hash has another time, even if its dense layers and convolutions are equal.
    """
    calls = [
        (
            type(unit.operation).__name__,
            getattr(getattr(unit.operation, "activation", None), "__name__", ""),
            [[list(tensor.shape) for tensor in side] for side in (call.inputs, call.outputs)],
        )
        for unit in Graph(model).units
        for call in unit.calls
    ]
    return hashlib.sha256(json.dumps(sorted(calls, key=str), default=str).encode()).hexdigest()


def fixed_layers(model):
    """Names of the layers whose output channels cannot be removed, such as those of the outputs."""
    groups = surgery.channel_groups(model)
    free, fixed = (
        {name for group in groups if bool(group.fixed) == stays for name in group.layers}
        for stays in (False, True)
    )
    return fixed - free


@functools.cache
def reference_file(quantize):
    """A TFLite file of one convolution, the reference for timing other files."""
    x = keras.Input((16, 16, 32))
    return tflite_bytes(keras.Model(x, keras.layers.Conv2D(32, 3, padding="same")(x)), quantize)


def tflite_bytes(model, quantize):
    """A TFLite file of a model, in float32 or int8, as bytes.

    A mixed-precision model is converted in float32. Calibration data are random, because only the
    time matters.

    Raises:
        ExportError: the model cannot be converted.
        ValueError: a mixed-precision model that cannot be rebuilt in float32.
    """
    model = in_float32(model)
    try:
        return _converted(model, quantize)
    except Exception as error:  # TensorFlow raises errors of many types, pages long
        raise cannot_convert(model, error) from error


def _converted(model, quantize):
    import tensorflow as tf

    specs = input_specs(model)
    flat, samples = keras.tree.flatten(specs), draw_samples(specs)
    # Weights are constants, because the calibrator of int8 does not support variables.
    weights = [
        [tf.constant(weight.numpy()) for weight in side]
        for side in (model.trainable_variables, model.non_trainable_variables)
    ]

    @tf.function
    def run(*inputs):
        inputs = keras.tree.pack_sequence_as(specs, inputs)
        return model.stateless_call(*weights, inputs, training=False)[0]

    signature = [tf.TensorSpec(spec.shape, spec.dtype, spec.name) for spec in flat]
    with contextlib.ExitStack() as stack:
        stack.enter_context(plain_argmax(model))
        if quantize == "int8":
            stack.enter_context(without_loops(model, specs, samples, fuse=True))
        function = run.get_concrete_function(*signature)
    with _silence():
        # The second argument keeps the objects alive that the function refers to.
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
        if quantize == "int8":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: (
                {spec.name: array[i : i + 1] for spec, array in zip(flat, samples, strict=True)}
                for i in range(_CALIBRATED)
            )
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.int8
        return converter.convert()


@contextlib.contextmanager
def _silence():
    """Suppress all output, also of the converter's native code; errors are raised."""
    streams = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for stream in (1, 2):
            os.dup2(nowhere, stream)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for stream, own in zip((1, 2), streams, strict=True):
            os.dup2(own, stream)
            os.close(own)
        os.close(nowhere)
