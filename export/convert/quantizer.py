"""Static int8 by ai-edge-quantizer, from a float32 TFLite file."""

from export.convert.settings import feed
from export.tflite_file import SIGNATURE


def check_installed():
    """A ValueError that says how to install ai-edge-quantizer, if it is not there."""
    try:
        import ai_edge_quantizer  # noqa: F401
    except ImportError as error:
        raise ValueError(
            "route='quantizer' needs ai-edge-quantizer: pip install 'keras-sparse[quantizer]'"
        ) from error


def quantize_file(source, target, specs, samples, input_output):
    """Writes a float32 file as static int8, weights per channel.

    The ranges are the least and the largest value seen. What ai-edge-quantizer takes by itself,
    a moving average of them, clips the largest.

    Args:
        source, target: TFLite files; the first is read, the second written.
        specs: what `input_specs` returned.
        samples: representative samples, as `check_samples` returned them.
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
        str(source), num_threads=1, qsv_update_func=qsv_utils.min_max_update
    )
    # A list, since the samples are gone through twice, the first time to count them.
    ranges.calibrate({SIGNATURE: list(feed(specs, samples))}, manager)
    result = quantizer.Quantizer(str(source), rules).quantize(
        ranges.get_model_qsvs(), enable_progress_bar=False, enable_progress_report=False
    )
    result.export_model(str(target), overwrite=True)


def _left_alone(operation):
    return {"regex": ".*", "operation": operation, "algorithm_key": "no_quantize"}
