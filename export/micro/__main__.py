"""Measure what a TFLite file needs of a microcontroller: RAM, flash, operators.

python -m export.micro model.tflite smaller.tflite
python -m export.micro model.tflite --samples=x.npz --result_json=micro.json
python -m export.micro model.tflite --c_array=model.cc
"""

import contextlib
import json
import sys

import rich
from absl import flags

from export.command_line import (
    check_plot,
    clean_up_when_terminated,
    count,
    output,
    run,
)

SAMPLES = flags.DEFINE_string("samples", None, ".npy or .npz of what the model takes.")
ARENA = count("arena", None, "Bytes that the files must do with.")
RESULT_JSON = flags.DEFINE_string("result_json", None, "Write the figures to this file as well.")
MARKDOWN = flags.DEFINE_string("markdown", None, "Write tables in Markdown to this file.")
PLOT = flags.DEFINE_string("plot", None, "Draw memory over the layers to this file, .png or .svg.")
C_ARRAY = flags.DEFINE_string("c_array", None, "Write one file as C++, model.cc and model.h.")


def main(argv):
    """Measures the files `argv[1:]` and prints the table."""
    if len(argv) < 2:
        sys.exit("export.micro: name one or more .tflite files (--help shows the flags)")
    if C_ARRAY.value and len(argv) != 2:
        sys.exit("export.micro: --c_array is for one file")
    from export import ExportError
    from export.micro import measure, write_c_array
    from export.micro.firmware import check_c_array

    clean_up_when_terminated()
    try:
        with contextlib.ExitStack() as stack:
            # Open the files first, so that a file that cannot be written fails before the work.
            check_plot(PLOT.value)
            figures = stack.enter_context(output(RESULT_JSON.value))
            tables = stack.enter_context(output(MARKDOWN.value))
            if C_ARRAY.value:
                check_c_array(C_ARRAY.value)
            result = measure(argv[1:], samples=SAMPLES.value, arena=ARENA.value)
            if figures:
                text = json.dumps(result.to_dict(), indent=2) + "\n"
                figures.write_text(text, encoding="utf-8")
            if tables:
                tables.write_text(result.to_markdown(), encoding="utf-8")
        if PLOT.value:
            result.plot(PLOT.value)
        if C_ARRAY.value:
            write_c_array(result.files[0], C_ARRAY.value)
    except (ExportError, ValueError) as error:
        sys.exit(f"export.micro: {error}")
    rich.print(result)
    for name, file in zip(result.names, result.files, strict=True):
        print("\n".join(_lines(name, file)))


def _lines(name, file):
    from export.micro.texts import CODE_TEXT, where_text

    yield f"{name}: {file.peak.bytes:,} bytes of activations at {file.peak.layer}: " + ", ".join(
        f"{tensor.name} {tensor.bytes:,}" for tensor in file.peak.tensors
    )
    yield f"{name}: register {', '.join(file.resolver)}; {CODE_TEXT}"
    agreement = file.agreement
    if agreement.drawn:
        yield f"{name}: compared with LiteRT on random samples; give --samples for real ones"
    if not agreement.within_a_step:
        yield f"{name}: outputs differ from LiteRT's by more than a step; {where_text(agreement)}"


if __name__ == "__main__":
    run("export.micro", main)
