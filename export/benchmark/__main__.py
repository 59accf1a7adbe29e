"""Time TFLite files side by side on this machine.

python -m export.benchmark model.tflite compact.tflite
python -m export.benchmark model.tflite compact.tflite --html=timing.html --result_json=timing.json
python -m export.benchmark model.tflite --num_threads=4 --rounds=100
"""

import contextlib
import json
import math
import shlex
import sys

import rich
from absl import flags

from export import ExportError, benchmark, page
from export.benchmark.progress import progress_bar
from export.command_line import check_plot, clean_up_when_terminated, count, output, run
from export.machine import processor

NUM_THREADS = count("num_threads", 1, "Threads per interpreter.")
ROUNDS = count("rounds", 30, "Rounds in which every file has a turn.")
WARMUP_RUNS = count("warmup_runs", 1, "Inferences before each turn that are not counted.")
TIMEOUT = flags.DEFINE_float(
    "timeout", 600.0, "Seconds that a file may take to load or for one turn.", lower_bound=0.001
)
flags.register_validator("timeout", math.isfinite, "must be finite")
RESULT_JSON = flags.DEFINE_string("result_json", None, "Write the figures to this file as well.")
MARKDOWN = flags.DEFINE_string("markdown", None, "Write a table in Markdown to this file.")
HTML = flags.DEFINE_string("html", None, "Write a page with all figures to this file.")
PLOT = flags.DEFINE_string("plot", None, "Draw latency over MACs ratios to this file, .png or .svg")


def main(argv):
    """Times the files `argv[1:]` and prints the table."""
    if len(argv) < 2:
        sys.exit("export.benchmark: name one or more .tflite files (--help shows the flags)")
    if HTML.value and not page.available():
        sys.exit("export.benchmark: --html needs a package: pip install jinja2")
    clean_up_when_terminated()
    try:
        with contextlib.ExitStack() as stack:
            # Open the files first, so that a file that cannot be written fails before the work.
            check_plot(PLOT.value)
            figures = stack.enter_context(output(RESULT_JSON.value))
            table = stack.enter_context(output(MARKDOWN.value))
            html = stack.enter_context(output(HTML.value))
            with progress_bar() as progress:
                result = benchmark(
                    argv[1:],
                    num_threads=NUM_THREADS.value,
                    rounds=ROUNDS.value,
                    warmup_runs=WARMUP_RUNS.value,
                    timeout=TIMEOUT.value,
                    progress=progress,
                )
            if figures:
                text = json.dumps({**result.to_dict(), "processor": processor()}, indent=2) + "\n"
                figures.write_text(text, encoding="utf-8")
            if table:
                table.write_text(result.to_markdown(), encoding="utf-8")
            if html:
                html.write_text(result.to_html(_command()), encoding="utf-8")
        if PLOT.value:
            result.plot(PLOT.value)
    except (ExportError, ValueError) as error:
        sys.exit(f"export.benchmark: {error}")
    rich.print(result)


def _command():
    return shlex.join(["python", "-m", "export.benchmark", *sys.argv[1:]])


if __name__ == "__main__":
    run("export.benchmark", main)
