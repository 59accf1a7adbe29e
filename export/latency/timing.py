"""The time of many small TFLite files on this machine, in turns."""

import time

from ai_edge_litert.interpreter import Interpreter

from export.benchmark.worker import fill_inputs

_BURST_SECONDS = 0.002
_FEWEST_RUNS, _MOST_RUNS = 3, 200
_BURSTS = 6
_FEWEST_PASSES, _MOST_PASSES = 3, 10
_PAUSE_SECONDS = 0.2
# Passes agree within 2% and 50 ns.
_AGREE, _RESOLUTION = 1.02, 5e-8


def time_files(contents, *, num_threads=1, progress=None):
    """The least time of an inference for each of some TFLite files.

    The files take turns in bursts of 2 ms, in several passes over all of them, so that a machine
    that is busy for a moment does not judge one of them. A file is loaded anew in each pass: where
    its memory comes to lie matters too. Files whose least time was seen in one pass alone are
    passed over again.

    Args:
        contents: list of files as bytes.
        num_threads: threads of LiteRT.
        progress: called as `progress(done, total)`, or None.

    Returns:
        List of seconds.
    """
    times = [[] for _ in contents]
    for done in range(_MOST_PASSES):
        left = [i for i, own in enumerate(times) if not _settled(own)]
        if not left:
            break
        if done:
            time.sleep(_PAUSE_SECONDS)
        for i, seconds in zip(left, _pass([contents[i] for i in left], num_threads), strict=True):
            times[i].append(seconds)
        if progress:
            progress(min(done + 1, _FEWEST_PASSES), _FEWEST_PASSES)
    return [min(own) for own in times]


def _settled(times):
    """Whether two passes found nearly the least time."""
    if len(times) < _FEWEST_PASSES:
        return False
    least, second = sorted(times)[:2]
    return second < _AGREE * least + _RESOLUTION


def _pass(contents, num_threads):
    """The least time of each file in a few bursts."""
    loaded = [_load(content, num_threads) for content in contents]
    runs = [_runs(interpreter) for interpreter in loaded]
    least = [float("inf")] * len(loaded)
    for turn in range(_BURSTS):
        for place in range(len(loaded)):
            i = (place + turn) % len(loaded)
            least[i] = min(least[i], _burst(loaded[i], runs[i]))
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
