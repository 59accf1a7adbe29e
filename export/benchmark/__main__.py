"""`python -m export.benchmark a.tflite b.tflite --num_threads=1`."""

import contextlib
import json
import sys

import rich
from absl import app, flags

from export import ExportError, benchmark

NUM_THREADS = flags.DEFINE_integer("num_threads", 1, "Threads per interpreter.", lower_bound=1)
ROUNDS = flags.DEFINE_integer("rounds", 30, "Rounds in which every file has a turn.", lower_bound=1)
RESULT_JSON = flags.DEFINE_string("result_json", None, "Write the figures to this file as well.")


def main(argv):
    """Times the files `argv[1:]` and prints the table."""
    if len(argv) < 2:
        sys.exit("export.benchmark: name one or more .tflite files (--help shows the flags)")
    # Entered first: a file that cannot be written is told before the work.
    output = _output(RESULT_JSON.value) if RESULT_JSON.value else contextlib.nullcontext()
    try:
        with output as path:
            result = benchmark(argv[1:], num_threads=NUM_THREADS.value, rounds=ROUNDS.value)
            if path:
                path.write_text(json.dumps(result.to_dict(), indent=2) + "\n")
    except (ExportError, ValueError) as error:
        sys.exit(f"export.benchmark: {error}")
    rich.print(result)


def _output(path):
    # Imports Keras, which a timing without this flag need not wait for.
    from keras_sparse.files import replacing

    return replacing(path)


if __name__ == "__main__":
    app.run(main)
