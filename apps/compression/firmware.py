"""The file for a microcontroller, for a compression that limits its memory."""

from export import ExportError, convert
from keras_sparse.compression import CostModel

FILE = "firmware.tflite"


def is_wanted(target):
    """Whether a target limits the arena or the flash."""
    return bool(set(CostModel.micro_names) & set(target))


def write(model, folder, *, representative, samples, labels):
    """Write `firmware.tflite`, in int8 with int8 inputs and outputs.

    Args:
        model: the compact `keras.Model`.
        folder: where to write.
        representative, samples, labels: as `export.convert` takes them.

    Returns:
        A dict for the report with `file` and `accuracy` (None without labels), or with `error`.
    """
    try:
        file = convert(
            model,
            folder / FILE,
            quantize="int8",
            input_output="int8",
            representative=representative,
            samples=samples,
            labels=labels,
        )
    except ExportError as error:
        return {"error": str(error)}
    return {"file": FILE, "accuracy": file.accuracy}


def sentences(report):
    """Sentences on the file; none if there is no such file."""
    found = report.get("firmware")
    if found is None:
        return []
    if "error" in found:
        return [f"There is no {FILE}: {found['error']}"]
    accuracy = "" if found["accuracy"] is None else f" Its accuracy is {found['accuracy']:.4f}."
    return [
        f"{FILE} is the file for the device, with int8 inputs and outputs. The arena and the flash "
        f"are those of this file.{accuracy} `python -m export.micro {FILE} --c_array=model.cc` "
        "writes it as C++."
    ]
