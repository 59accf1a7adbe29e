"""Static int8 by ai-edge-quantizer, from a float32 TFLite file."""

from export.convert.graph import FileGraph
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

    The ranges are the least and the largest value seen. What ai-edge-quantizer takes by itself,
    a moving average of them, clips the largest.

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
    found = ranges.get_model_qsvs()
    _complete(found, source)
    result = quantizer.Quantizer(str(source), rules).quantize(
        found, enable_progress_bar=False, enable_progress_report=False
    )
    result.export_model(str(target), overwrite=True)


def _complete(ranges, path):
    """Gives results that nobody reads, which are not computed, the range of what they come from.

    The first step of an LSTM reads no forget gate; without a range the file would not load.
    """
    graph = FileGraph(path)
    for operator in graph.operators:
        known = [
            ranges[name]
            for name in (graph.tensors[index].name for index in graph.variable_inputs(operator))
            if name in ranges
        ]
        for index in operator.outputs:
            tensor = graph.tensors[index]
            if known and tensor.float and not graph.consumers.get(index):
                ranges.setdefault(tensor.name, known[0])


def _left_alone(operation):
    return {"regex": ".*", "operation": operation, "algorithm_key": "no_quantize"}
