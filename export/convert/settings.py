"""What a TFLite file shall be, checked, and what TensorFlow's converter is told for it."""

import dataclasses

import numpy as np

from export.verify import KINDS

_ROUTES = ("litert", "quantizer")
_INPUT_OUTPUT = ("float32", "int8", "uint8")
# What these must be unless the file is static int8.
_FLOAT_DEFAULTS = {"route": "litert", "input_output": "float32"}


@dataclasses.dataclass(frozen=True)
class Settings:
    """The kind of file; a combination that cannot be right is a ValueError.

    Args:
        quantize, route, input_output, sparse_encoding, representative: as `convert` takes them.
    """

    quantize: str | None
    route: str
    input_output: str
    sparse_encoding: bool
    representative: object

    def __post_init__(self):
        _choice("quantize", self.quantize, KINDS)
        _choice("route", self.route, _ROUTES)
        _choice("input_output", self.input_output, _INPUT_OUTPUT)
        int8 = self.quantize == "int8"
        if int8 and self.representative is None:
            raise ValueError(
                "quantize='int8' needs `representative`: 100 to 200 real samples, from which the "
                "ranges of the activations are read. Received: representative=None"
            )
        if self.sparse_encoding and self.quantize in ("int8", "dynamic"):
            raise ValueError(
                "`sparse_encoding` works with float32 and float16 only: LiteRT does not load files "
                "with sparse int8 weights, or computes garbage from them. Leave it away; a zip of "
                f"the int8 file is as small. Received: quantize={self.quantize!r}"
            )
        for name, default in _FLOAT_DEFAULTS.items():
            if getattr(self, name) != default and not int8:
                raise ValueError(
                    f"`{name}` is for quantize='int8'. Received: {name}={getattr(self, name)!r}, "
                    f"quantize={self.quantize!r}"
                )
        if self.route == "quantizer" and self.input_output == "uint8":
            raise ValueError(
                "route='quantizer' writes files with float32 or int8 inputs and outputs. "
                "Received: input_output='uint8'"
            )

    def converter_attributes(self, specs, samples):
        """Attributes of `tf.lite.TFLiteConverter`, as `model.export` takes them.

        Args:
            specs: what `input_specs` returned.
            samples: the representative samples as `check_samples` returned them, or None.
        """
        import tensorflow as tf

        optimizations = [tf.lite.Optimize.DEFAULT] if self.quantize else []
        if self.sparse_encoding:
            optimizations.append(tf.lite.Optimize.EXPERIMENTAL_SPARSITY)
        attributes = {"optimizations": optimizations} if optimizations else {}
        if self.quantize == "float16":
            attributes["target_spec"] = {"supported_types": [tf.float16]}
        if self.quantize == "int8":
            attributes["representative_dataset"] = lambda: feed(specs, samples)
            if self.input_output != "float32":
                integer = tf.as_dtype(self.input_output)
                attributes["inference_input_type"] = integer
                attributes["inference_output_type"] = integer
                # Whoever wants integers at the ends has no floats in between.
                attributes["target_spec"] = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]}
        return attributes


def feed(specs, samples):
    """The samples in batches of the specs' size, by the inputs' names; a rest is left out."""
    import keras

    flat = keras.tree.flatten(specs)
    size = flat[0].shape[0]
    for start in range(0, max(len(samples[0]) - size + 1, 1), size):
        rows = np.arange(start, start + size)
        yield {
            spec.name: value.take(rows, axis=0, mode="wrap")
            for spec, value in zip(flat, samples, strict=True)
        }


def _choice(name, value, choices):
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {choices}. Received: {name}={value!r}")
