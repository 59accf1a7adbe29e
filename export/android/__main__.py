"""Time TFLite files on an Android phone, through adb.

python -m export.android --benchmark_binary=benchmark_model model.tflite compact.tflite
python -m export.android --benchmark_binary=benchmark_model --cores=7 --rounds=10 model.tflite
python -m export.android --benchmark_binary=benchmark_model --delegate=gpu model.tflite

docs/phone.md says where benchmark_model comes from, and what you see at each step.
"""

import json
import os
import pathlib
import shlex
import signal
import sys

import rich
from absl import flags

from export import ExportError
from export.android import benchmark_on_android
from export.android.delegates import DELEGATES
from export.android.session import parse_cores
from export.benchmark.progress import progress_bar
from export.command_line import INTERRUPTED, count, run
from export.quiet import quiet_import

BINARY = flags.DEFINE_string(
    "benchmark_binary", None, "benchmark_model for the phone; docs/phone.md says where to get it."
)
SERIAL = flags.DEFINE_string("serial", None, "Which phone, as `adb devices` names it.")
CORES = flags.DEFINE_string("cores", None, "Cores to run on, as 7 or 4-7 or 0,2. Default: any.")
DELEGATE = flags.DEFINE_enum(
    "delegate", None, DELEGATES, "Processor to ask for. Default: what benchmark_model takes itself."
)
BENCHMARK_FLAGS = flags.DEFINE_string(
    "benchmark_flags", "", "Flags for benchmark_model, as '--warmup_runs=10 --use_xnnpack=false'."
)
NUM_THREADS = count("num_threads", 1, "Threads per interpreter.")
ROUNDS = count("rounds", 3, "Rounds in which every file has a turn.")
NUM_RUNS = count("num_runs", 50, "Fewest inferences of a turn.")
RESULT_JSON = flags.DEFINE_string("result_json", "android.json", "Where the figures are written.")
MARKDOWN = flags.DEFINE_string("markdown", "android.md", "Where a table in Markdown is written.")


def main(argv):
    """Time the files `argv[1:]` on the phone, write and print the figures."""
    if len(argv) < 2 or not BINARY.value:
        sys.exit(
            "export.android: give --benchmark_binary=... and one or more .tflite files "
            "(--help shows the flags)"
        )
    for path in (RESULT_JSON.value, MARKDOWN.value):
        folder = pathlib.Path(path).absolute().parent
        if not os.access(folder, os.W_OK):  # fail before the work
            sys.exit(f"export.android: {path} cannot be written: {folder} is no writable folder")
    signal.signal(signal.SIGTERM, _interrupt)  # cleans up the phone
    try:
        with progress_bar() as progress:
            result = benchmark_on_android(
                argv[1:],
                benchmark_binary=BINARY.value,
                serial=SERIAL.value,
                num_threads=NUM_THREADS.value,
                rounds=ROUNDS.value,
                num_runs=NUM_RUNS.value,
                cores=parse_cores(CORES.value),
                delegate=DELEGATE.value,
                benchmark_flags=_benchmark_flags(),
                progress=progress,
                save=_save,
            )
    except (ExportError, ValueError) as error:
        sys.exit(f"export.android: {error}")
    except KeyboardInterrupt:
        print("export.android: interrupted; the phone is cleaned up", file=sys.stderr)
        sys.exit(INTERRUPTED)
    rich.print(result)


def _benchmark_flags():
    try:
        return shlex.split(BENCHMARK_FLAGS.value)
    except ValueError as error:  # an unmatched quotation mark
        raise ValueError(
            "--benchmark_flags must be flags as --name=value with spaces between. "
            f"Received: {BENCHMARK_FLAGS.value} ({error})"
        ) from error


def _interrupt(*_):
    raise KeyboardInterrupt


def _save(result):
    with quiet_import():  # the import of Keras
        from keras_sparse.files import replacing

    text = json.dumps(result.to_dict(), indent=2) + "\n"
    for path, content in ((RESULT_JSON.value, text), (MARKDOWN.value, result.to_markdown())):
        with replacing(path) as temporary:
            temporary.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    run("export.android", main)
