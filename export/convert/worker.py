"""The child process of `convert`: runs the converters, which crash on some models.

It reads one request of `export.convert.process` per line, and answers with one line: `{}`, or
`{"error": ..., "flex": ...}`. It ends when its input ends, or after a minute without a request.
"""

import json
import os
import pathlib
import select
import sys

# Keras imports them for plots and for an interface that converters do not need. They take a third
# of the time of importing TensorFlow.
for name in ("matplotlib", "sklearn"):
    sys.modules[name] = None

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from export.kinds import kind_of  # noqa: E402
from export.tflite_file import flex_operators  # noqa: E402

_IDLE_SECONDS = 60


def main():
    """Answers requests."""
    # The pipe is only for answers; output of the converters goes to stderr.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    while select.select([sys.stdin], [], [], _IDLE_SECONDS)[0]:
        line = sys.stdin.readline()
        if not line:
            return
        answers.write(json.dumps(_answer(json.loads(line))) + "\n")
    os._exit(0)  # at once, so that nobody writes to a process that is about to end


def _answer(request):
    try:
        _convert(**request)
    except Exception as error:  # the converters raise errors of many types
        return {"error": str(error) or type(error).__name__, "flex": _flex(request)}
    return {}


def _convert(source, target, quantize, route, input_output, sparse_encoding, samples, names):
    batches = samples and list(_batches(samples, names))
    if route == "quantizer":
        from export.convert.quantizer import quantize_file

        float32 = pathlib.Path(target).with_name("float32.tflite")
        _write(_converter(source), float32)
        if flex_operators(float32):
            raise ValueError("TensorFlow's operators cannot be calibrated")
        quantize_file(float32, target, batches, input_output)
    else:
        converter = _converter(source)
        _set(converter, quantize, input_output, sparse_encoding, batches)
        _write(converter, target)
    _run_once(target)


def _batches(samples, names):
    arrays = np.load(samples)
    columns = [arrays[f"arr_{index}"] for index in range(len(names))]
    for batch in zip(*columns, strict=True):
        yield dict(zip(names, batch, strict=True))


def _converter(source):
    converter = tf.lite.TFLiteConverter.from_saved_model(source)
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.TFLITE_BUILTINS,
        tf.lite.OpsSet.SELECT_TF_OPS,  # so that the message can name them
    ]
    converter.experimental_enable_resource_variables = True
    return converter


def _set(converter, quantize, input_output, sparse_encoding, batches):
    if sparse_encoding:
        converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    kind = kind_of(quantize)
    kind.configure(tf, converter)
    if kind.calibrated:
        converter.representative_dataset = lambda: batches
        if input_output != "float32":
            converter.inference_input_type = tf.as_dtype(input_output)
            converter.inference_output_type = tf.as_dtype(input_output)
            # With integer inputs and outputs, no operator computes in floats.
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]


def _write(converter, path):
    pathlib.Path(path).write_bytes(converter.convert())


def _run_once(path):
    """Runs a file on zeros, so that a crash happens in this process."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_path=str(path))
        interpreter.allocate_tensors()
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
        interpreter.invoke()
    except (ValueError, RuntimeError):
        pass  # the verification reports it better


def _flex(request):
    """The TensorFlow operators in the float32 file of a model that could not be converted."""
    path = pathlib.Path(request["target"]).with_name("float32.tflite")
    try:
        if not path.exists():
            _write(_converter(request["source"]), path)
        return flex_operators(path)
    except Exception:
        return []


if __name__ == "__main__":
    main()
