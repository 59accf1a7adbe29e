"""Timing many small TFLite files alternately on this machine."""

import time

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from export.benchmark.worker import fill_inputs
from export.quiet import without_notes

_BURST_SECONDS = 0.002
_FEWEST_RUNS, _MOST_RUNS = 3, 200
_BURSTS = 6
_REFERENCE_RUNS = 3
_FEWEST_PASSES, _MOST_PASSES = 3, 10
_PAUSE_SECONDS = 0.2
# Stop when two passes agree with the result within this share.
_AGREE = 0.02
# The machine counts as fast if the reference takes at most this factor of its minimum time.
_FAST = 1.1
_FEWEST_FAST = 3
_FIRST_LOOKS, _LOOK_SECONDS = 20, 0.1


class HostTimer:
    """Times TFLite files on this machine relative to a reference file.

    A processor that is shared with others can be 1.5 times as slow, for milliseconds or for
    minutes. So the reference runs before and after each burst of a file. The time of a file is its
    ratio to the reference, multiplied by the minimum time of the reference. If the machine was fast
    in some bursts, only these count.

    The files run alternately in bursts of 2 ms, in several passes. A file is loaded again in each
    pass, because the position of its memory affects the time.

    Args:
        reference: a TFLite file as bytes, of the kind to be timed: float32 or int8.
        num_threads: threads of LiteRT.
        least: float, seconds of the reference that times are relative to; None to measure it in
            the first call.

    Example:

    >>> HostTimer(reference_file(None))([small, large])
    [0.00021, 0.00043]
    """

    def __init__(self, reference, num_threads=1, least=None):
        self.least = least
        self._threads = num_threads
        self._reference = _load(reference, num_threads)
        self._fastest = np.inf if least is None else least

    def __call__(self, contents):
        """Time files.

        Args:
            contents: list of files as bytes.

        Returns:
            List of seconds.
        """
        if self.least is None:
            self.least = self._watch()
        passes = [[] for _ in contents]
        for done in range(_MOST_PASSES):
            left = [i for i, own in enumerate(passes) if not self._settled(own)]
            if not left:
                break
            if done:
                time.sleep(_PAUSE_SECONDS)
            for i, bursts in zip(left, self._pass([contents[i] for i in left]), strict=True):
                passes[i].append(bursts)
        return [float(self.least * self._ratio(np.concatenate(own))) for own in passes]

    def _watch(self):
        """The minimum time of the reference within two seconds."""
        for _ in range(_FIRST_LOOKS):
            self._beside()
            time.sleep(_LOOK_SECONDS)
        return self._fastest

    def _beside(self):
        """The current time of the reference."""
        seconds = _burst(self._reference, _REFERENCE_RUNS)
        self._fastest = min(self._fastest, seconds)
        return seconds

    def _settled(self, passes):
        if len(passes) < _FEWEST_PASSES:
            return False
        found = self._ratio(np.concatenate(passes))
        near = [abs(self._ratio(own) / found - 1) <= _AGREE for own in passes]
        return sum(near) > 1

    def _ratio(self, bursts):
        """Time relative to the reference; `bursts` has rows `(seconds, before, after)`."""
        seconds, before, after = bursts.T
        fast = np.maximum(before, after) <= _FAST * self._fastest
        own = fast if fast.sum() >= _FEWEST_FAST else slice(None)
        return np.median(2 * seconds[own] / (before + after)[own])

    def _pass(self, contents):
        """A few bursts of each file."""
        loaded = [_load(content, self._threads) for content in contents]
        runs = [_runs(interpreter) for interpreter in loaded]
        bursts = [[] for _ in loaded]
        for turn in range(_BURSTS):
            for place in range(len(loaded)):
                i = (place + turn) % len(loaded)
                before = self._beside()
                bursts[i].append((_burst(loaded[i], runs[i]), before, self._beside()))
        return [np.array(own) for own in bursts]


def _load(content, num_threads):
    interpreter = Interpreter(model_content=content, num_threads=num_threads)
    with without_notes():
        interpreter.allocate_tensors()
    fill_inputs(interpreter)
    interpreter.invoke()
    return interpreter


def _runs(interpreter):
    seconds = _burst(interpreter, _FEWEST_RUNS)
    return int(min(max(_BURST_SECONDS / seconds, _FEWEST_RUNS), _MOST_RUNS))


def _burst(interpreter, runs):
    """The minimum time of one inference in a burst."""
    least = float("inf")
    for _ in range(runs):
        start = time.perf_counter_ns()
        interpreter.invoke()
        least = min(least, time.perf_counter_ns() - start)
    return least / 1e9
