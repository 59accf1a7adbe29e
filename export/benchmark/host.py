"""Times files on this machine, each in its own process, in turns."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import numpy as np

from export.benchmark.result import BenchmarkResult, FileTiming
from export.errors import ExportError

WORKER = pathlib.Path(__file__).with_name("worker.py")
BURST_MS = 20.0
FEWEST_RUNS, MOST_RUNS = 5, 500
STARTS = 3  # the very first is slow, and any may be interrupted: the median is taken


def benchmark(paths, *, num_threads=1, rounds=30):
    """Times TFLite files side by side on the host with LiteRT.

    Every file is loaded by a process of its own that imports LiteRT and NumPy alone. In each
    round the processes run in turn, one inference to warm up and then a burst of about 20 ms (at
    least 5 inferences, the same number in every round); who goes first changes with the round. A
    machine that slows down or is shared so does the same to all files. Start-up is the median of
    three processes. Inputs are random.

    Args:
        paths: the `.tflite` files; the first is what the others are compared with.
        num_threads: threads of each interpreter, at least 1.
        rounds: number of rounds, at least 1.

    Returns:
        A `BenchmarkResult`, with `.files`, `.ratios` and `.to_dict()`; `rich.print` shows a table.

    Raises:
        ValueError: a bad argument, before any work.
        ExportError: LiteRT refuses a file, or a process dies; the message names the file.

    Example:

    >>> result = benchmark(["model.tflite", "compact.tflite"], num_threads=1)
    >>> rich.print(result)
    >>> full, compact = result.files
    >>> print(compact.median_ms, result.ratios[1])
    """
    paths = _check(paths, num_threads, rounds)
    starts = [[] for _ in paths]
    for _ in range(STARTS):
        for path, answers in zip(paths, starts, strict=True):
            with _Worker(path, num_threads) as worker:
                answers.append(worker.ready)
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(_Worker(path, num_threads)) for path in paths]
        bursts = _take_turns(workers, rounds)
    files = zip(paths, starts, bursts, strict=True)
    return BenchmarkResult(tuple(_timing(*figures, num_threads) for figures in files))


def _check(paths, num_threads, rounds):
    if isinstance(paths, (str, os.PathLike)) or not paths:
        raise ValueError(f"`paths` must be a list of one or more files. Received: paths={paths!r}")
    for name, value in (("num_threads", num_threads), ("rounds", rounds)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"`{name}` must be an integer >= 1. Received: {name}={value!r}")
    for path in paths:
        if not pathlib.Path(path).is_file():
            raise ValueError(f"`paths` names a file that does not exist. Received: {path}")
    return [os.fspath(path) for path in paths]


def _take_turns(workers, rounds):
    """The workers' answers, a list of `rounds` bursts for each."""
    runs = [_runs_per_burst(worker) for worker in workers]
    bursts = [[] for _ in workers]
    for first in range(rounds):
        for place in range(len(workers)):
            turn = (first + place) % len(workers)
            bursts[turn].append(workers[turn].ask({"runs": runs[turn]}))
    return bursts


def _runs_per_burst(worker):
    guess = float(np.median(worker.ask({"runs": FEWEST_RUNS})["ms"]))
    return int(np.clip(BURST_MS / max(guess, 1e-6), FEWEST_RUNS, MOST_RUNS))


def _timing(path, starts, bursts, num_threads):
    return FileTiming(
        path=path,
        bytes=os.path.getsize(path),
        num_threads=num_threads,
        init_ms=float(np.median([start["init_ms"] for start in starts])),
        first_ms=float(np.median([start["first_ms"] for start in starts])),
        rounds_ms=np.array([burst["ms"] for burst in bursts]),
        peak_memory=bursts[-1]["peak"],
        anonymous_memory=bursts[-1]["anonymous"],
    )


class _Worker:
    """A process that holds one file; a context manager that leaves no process behind."""

    def __init__(self, path, num_threads):
        self.path = path
        self.num_threads = num_threads

    def __enter__(self):
        self._log = tempfile.TemporaryFile("w+", errors="replace")
        # By path and with -P, so that neither this package nor the working folder is imported;
        # in a session of its own, so that Ctrl-C reaches it through us, without a traceback.
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(WORKER), self.path, str(self.num_threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            bufsize=1,
            start_new_session=True,
        )
        try:
            self.ready = self._answer()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()
        self._log.close()

    def ask(self, question):
        with contextlib.suppress(BrokenPipeError):  # its missing answer tells
            self.process.stdin.write(json.dumps(question) + "\n")
        return self._answer()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line.endswith("\n"):
            raise ExportError(f"The process that ran {self.path} died: {self._last_words()}")
        answer = json.loads(line)
        if "error" in answer:
            raise ExportError(f"LiteRT does not run {self.path}: {answer['error']}")
        return answer

    def _last_words(self):
        code = self.process.wait()
        self._log.seek(0)
        lines = self._log.read().split("\n")
        reason = signal.strsignal(-code) if code < 0 else f"exit status {code}"
        return f"{reason}. {next(filter(None, reversed(lines)), '')}".strip()
