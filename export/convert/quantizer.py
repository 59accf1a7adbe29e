"""Static int8 by ai-edge-quantizer, from a float32 TFLite file."""

import pathlib

from export.tflite_file import SIGNATURE


def check_installed():
    """A ValueError that says how to install ai-edge-quantizer, if it is not there."""
    try:
        import ai_edge_quantizer  # noqa: F401
    except ImportError as error:
        raise ValueError(
            "route='quantizer' needs ai-edge-quantizer: pip install 'keras-sparse[quantizer]'"
        ) from error


def quantize_file(source, target, batches, input_output):
    """Writes a float32 file as static int8, weights per channel.

    The ranges are the least and the largest value. The default of ai-edge-quantizer, a moving
    average of them, clips the largest.

    Args:
        source, target: TFLite files; the first is read, the second written.
        batches: list of representative batches, each a dict from an input's name to an array.
        input_output: `"float32"` or `"int8"`.
    """
    from ai_edge_quantizer import calibrator, quantizer, recipe, recipe_manager
    from ai_edge_quantizer.utils import qsv_utils

    rules = recipe.static_wi8_ai8()
    if input_output == "float32":
        rules = [*rules, *map(_left_alone, ("INPUT", "OUTPUT"))]
    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(rules)
    ranges = calibrator.Calibrator(
        str(source),
        num_threads=1,
        # The other mode reads every tensor, also those that are never computed.
        mode=calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
        qsv_update_func=qsv_utils.min_max_update,
    )
    ranges.calibrate({SIGNATURE: batches}, manager)
    result = quantizer.Quantizer(str(source), rules).quantize(
        ranges.get_model_qsvs(), enable_progress_bar=False, enable_progress_report=False
    )
    pathlib.Path(target).write_bytes(_with_equal_outputs(result.quantized_model))


def _with_equal_outputs(content):
    """A file in which the outputs of each operator have one kind of numbers.

    ai-edge-quantizer leaves unused outputs in floats, such as the forget gate in the first step of
    an LSTM, and LiteRT does not load an operator that splits into int8 and floats.
    """
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(content)
    for graph in model.subgraphs:
        for operator in graph.operators:
            outputs = [graph.tensors[index] for index in operator.outputs]
            integers = [tensor for tensor in outputs if tensor.type == schema.TensorType.INT8]
            for tensor in outputs if integers else ():
                tensor.type = integers[0].type
                tensor.quantization = integers[0].quantization
    return flatbuffer_utils.convert_object_to_bytearray(model)


def _left_alone(operation):
    return {"regex": ".*", "operation": operation, "algorithm_key": "no_quantize"}
