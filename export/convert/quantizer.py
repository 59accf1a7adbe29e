"""Static int8 by ai-edge-quantizer, from a float32 TFLite file."""

import pathlib

from export.tflite_file import SIGNATURE


def check_installed():
    """A ValueError with the installation command if ai-edge-quantizer is missing."""
    try:
        import ai_edge_quantizer  # noqa: F401
    except ImportError as error:
        raise ValueError(
            "route='quantizer' needs ai-edge-quantizer: pip install 'keras-sparse[quantizer]'"
        ) from error


def quantize_file(source, target, batches, input_output):
    """Writes a float32 file as static int8, weights per channel.

    The ranges are the minimum and the maximum. The default of ai-edge-quantizer, a moving average
    of them, clips the largest values.

    Args:
        source, target: the TFLite files to read and to write.
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
        # The other mode reads every tensor, even those that are never computed.
        mode=calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
        qsv_update_func=qsv_utils.min_max_update,
    )
    ranges.calibrate({SIGNATURE: batches}, manager)
    result = quantizer.Quantizer(str(source), rules).quantize(
        ranges.get_model_qsvs(), enable_progress_bar=False, enable_progress_report=False
    )
    pathlib.Path(target).write_bytes(_with_equal_outputs(result.quantized_model))


def _with_equal_outputs(content):
    """A file in which all outputs of an operator have the same type.

    ai-edge-quantizer leaves unused outputs in float, such as the forget gate in the first step of
    an LSTM. LiteRT does not load a split operator with outputs in int8 and float.
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
