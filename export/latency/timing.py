"""The time of many small TFLite files on this machine, in turns."""

import time

from ai_edge_litert.interpreter import Interpreter

from export.benchmark.worker import fill_inputs

_BURST_SECONDS = 0.002
_FEWEST_RUNS, _MOST_RUNS = 3, 200


def time_files(contents, *, num_threads=1, rounds=12, instances=2, progress=None):
    """The least time of an inference for each of some TFLite files.

    The files take turns in bursts of 2 ms, so that a machine that is busy for a moment does not
    judge one of them. A file is loaded more than once: where its memory comes to lie matters too.

    Args:
        contents: list of files as bytes.
        num_threads: threads of LiteRT.
        rounds: bursts of each instance.
        instances: how often each file is loaded.
        progress: called as `progress(done, total)`, or None.

    Returns:
        List of seconds.
    """
    least = [float("inf")] * len(contents)
    for done in range(instances):
        loaded = [_load(content, num_threads) for content in contents]
        runs = [_runs(interpreter) for interpreter in loaded]
        for turn in range(rounds):
            for place in range(len(loaded)):
                i = (place + turn) % len(loaded)
                least[i] = min(least[i], _burst(loaded[i], runs[i]))
            if progress:
                progress(done * rounds + turn + 1, instances * rounds)
    return least


def _load(content, num_threads):
    interpreter = Interpreter(model_content=content, num_threads=num_threads)
    interpreter.allocate_tensors()
    fill_inputs(interpreter)
    interpreter.invoke()
    return interpreter


def _runs(interpreter):
    seconds = _burst(interpreter, _FEWEST_RUNS)
    return int(min(max(_BURST_SECONDS / seconds, _FEWEST_RUNS), _MOST_RUNS))


def _burst(interpreter, runs):
    """The least time of one inference in a burst."""
    least = float("inf")
    for _ in range(runs):
        start = time.perf_counter_ns()
        interpreter.invoke()
        least = min(least, time.perf_counter_ns() - start)
    return least / 1e9
