"""TFLite files of one layer each, at any width."""

import dataclasses

import keras
import numpy as np

from keras_sparse.surgery.graph import Graph
from keras_sparse.surgery.macs import graph_macs

_DENSE = (keras.layers.Dense, keras.layers.EinsumDense)
_TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
_CONVOLUTIONS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
    *_TRANSPOSED,
)
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)


@dataclasses.dataclass(frozen=True)
class TimedLayer:
    """A layer whose time depends on its widths.

    Args:
        name: the layer's name; its path in a nested model.
        layer: the `keras.Layer`.
        shape: shape of its input without the batch.
        calls: how often the model calls it.
    """

    name: str
    layer: object
    shape: tuple
    calls: int

    @property
    def depthwise(self):
        """Whether it has one width for inputs and outputs."""
        grouped = getattr(self.layer, "groups", 1) > 1
        return isinstance(self.layer, _DEPTHWISE) or grouped

    @property
    def widths(self):
        """`(inputs, outputs)` of the layer as it is."""
        return self.widths_of({w.path.rsplit("/", 1)[-1]: w.shape for w in self.layer.weights})

    def widths_of(self, shapes):
        """`(inputs, outputs)` of the layer with weights of these shapes."""
        if isinstance(self.layer, (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)):
            return shapes["depthwise_kernel"][-2], shapes["pointwise_kernel"][-1]
        kernel = shapes["kernel"]
        if isinstance(self.layer, _DEPTHWISE):
            return kernel[-2], kernel[-2] * kernel[-1]
        if isinstance(self.layer, _TRANSPOSED):
            return kernel[-1], kernel[-2]
        groups = getattr(self.layer, "groups", 1)
        if groups > 1 and kernel[-2] == 1:
            return kernel[-1], kernel[-1]  # a depthwise convolution: the groups go too
        return kernel[-2] * groups, kernel[-1]

    def key(self):
        """What two layers of equal time have in common."""
        config = {
            key: value
            for key, value in self.layer.get_config().items()
            if key in ("kernel_size", "strides", "padding", "dilation_rate", "groups", "activation")
            or key in ("filters", "units", "depth_multiplier", "use_bias", "output_padding")
        }
        return f"{type(self.layer).__name__} {self.shape} {sorted(config.items(), key=str)}"

    def model(self, inputs, outputs):
        """A model of this layer alone at other widths, for one sample."""
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
    """As many groups as before; as many as channels in a depthwise convolution."""
    return inputs if layer.kernel.shape[-2] == 1 else layer.groups


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
        if unit.name not in macs or not isinstance(layer, (*_CONVOLUTIONS, *_DEPTHWISE, _DENSE[0])):
            continue
        shape = unit.calls[0].inputs[0].shape[1:]
        if None in shape:
            raise ValueError(
                f"The layer {unit.name!r} has an input of shape {shape} with open sizes, so its "
                "time is unknown. Build the model with the sizes of the device."
            )
        found.append(TimedLayer(unit.name, layer, shape, len(unit.calls)))
    return found


def tflite_bytes(model, quantize):
    """A TFLite file of a small model, in float32 or int8, as bytes.

    Weights and calibration data are random: only the time counts.
    """
    import tensorflow as tf

    rng = np.random.default_rng(0)
    shape = (1, *model.inputs[0].shape[1:])
    # Weights as constants: the calibrator of int8 knows no variables.
    weights = [
        [tf.constant(weight.numpy()) for weight in side]
        for side in (model.trainable_variables, model.non_trainable_variables)
    ]
    run = tf.function(lambda x: model.stateless_call(*weights, x, training=False)[0])
    function = run.get_concrete_function(tf.TensorSpec(shape, "float32"))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    if quantize == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: (
            [rng.standard_normal(shape).astype("float32")] for _ in range(2)
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()
