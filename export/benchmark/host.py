"""Times files on this machine, each in its own process, in turns."""

import contextlib
import gzip
import itertools
import json
import pathlib
import platform
import select
import subprocess
import sys
import tempfile

import numpy as np

from export.benchmark.arguments import check_counts, check_paths
from export.benchmark.macs import file_macs
from export.benchmark.result import BenchmarkResult, FileTiming
from export.benchmark.summary import parse_summary
from export.child import how_it_ended
from export.errors import ExportError

WORKER = pathlib.Path(__file__).with_name("worker.py")
PROFILER = pathlib.Path(__file__).with_name("profiler.py")
BURST_MS = 20.0
FEWEST_RUNS, MOST_RUNS = 5, 500
STARTS = 3  # the very first is slow, and any may be interrupted: the median is taken
PROFILE_MS, PROFILE_SECONDS = 300.0, 300
ANSWER_SECONDS = 600  # for a load, or for a burst of inferences
FEWEST_PROFILED, MOST_PROFILED = 3, 1000


def benchmark(paths, *, num_threads=1, rounds=30, progress=None):
    """Times TFLite files side by side on the host with LiteRT.

    Every file is loaded by a process of its own that imports LiteRT and NumPy alone. In each
    round the processes run in turn, one inference to warm up and then a burst of about 20 ms (at
    least 5 inferences, the same number in every round); who goes first changes with the round. A
    machine that slows down or is shared so does the same to all files. Start-up is the median of
    three processes. Inputs are random. Last, the time by operator is taken by LiteRT's profiler, in
    processes of their own, as profiling slows the rest down.

    Args:
        paths: the `.tflite` files; the first is what the others are compared with.
        num_threads: threads of each interpreter, at least 1.
        rounds: number of rounds, at least 1.
        progress: called as `progress(done, total)` after each of the `total` steps, or None.

    Returns:
        A `BenchmarkResult`, with `.files`, `.ratios`, `.to_dict()`, `.to_markdown()` and
        `.plot(path)`; `rich.print` shows a table.

    Raises:
        ValueError: a bad argument, before any work.
        ExportError: LiteRT refuses a file, or a process dies or does not answer; the message
            names the file.

    Example:

    >>> result = benchmark(["model.tflite", "compact.tflite"], num_threads=1)
    >>> rich.print(result)
    >>> full, compact = result.files
    >>> print(compact.median_ms, result.ratios[1])
    """
    paths = check_paths(paths)
    check_counts(num_threads=num_threads, rounds=rounds)
    step = _steps(progress, len(paths) * (STARTS + rounds + 1))
    starts = [[] for _ in paths]
    for _ in range(STARTS):
        for path, answers in zip(paths, starts, strict=True):
            with _Worker(path, num_threads) as worker:
                answers.append(worker.ready)
            step()
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(_Worker(path, num_threads)) for path in paths]
        bursts = _take_turns(workers, rounds, step)
    files = []
    for figures in zip(paths, starts, bursts, strict=True):
        files.append(_timing(*figures, num_threads))
        step()
    return BenchmarkResult(tuple(files))


def _steps(progress, total):
    """A function that tells `progress` of one more step of `total`."""
    done = itertools.count(1)
    return lambda: progress and progress(next(done), total)


def _take_turns(workers, rounds, step):
    """The workers' answers, a list of `rounds` bursts for each."""
    runs = [_runs_per_burst(worker) for worker in workers]
    bursts = [[] for _ in workers]
    for first in range(rounds):
        for place in range(len(workers)):
            turn = (first + place) % len(workers)
            bursts[turn].append(workers[turn].ask({"runs": runs[turn]}))
            step()
    return bursts


def _runs_per_burst(worker):
    guess = float(np.median(worker.ask({"runs": FEWEST_RUNS})["ms"]))
    return int(np.clip(BURST_MS / max(guess, 1e-6), FEWEST_RUNS, MOST_RUNS))


def _timing(path, starts, bursts, num_threads):
    rounds_ms = np.array([burst["ms"] for burst in bursts])
    operators, operators_error = _profile(path, num_threads, float(np.median(rounds_ms)))
    content = pathlib.Path(path).read_bytes()
    macs = file_macs(path, arm=platform.machine().lower() in ("aarch64", "arm64"))
    return FileTiming(
        path=path,
        bytes=len(content),
        gzip_bytes=len(gzip.compress(content, compresslevel=6)),
        num_threads=num_threads,
        signature=starts[0]["signature"],
        input_bytes=starts[0]["input_bytes"],
        init_ms=float(np.median([start["init_ms"] for start in starts])),
        first_ms=float(np.median([start["first_ms"] for start in starts])),
        warm_up_ms=np.array([time for burst in bursts for time in burst["warm_up_ms"]]),
        rounds_ms=rounds_ms,
        peak_memory=_largest(bursts, "peak"),
        anonymous_memory=_largest(bursts, "anonymous"),
        file_backed_memory=_largest(bursts, "file_backed"),
        macs=macs,
        operators=operators,
        operators_error=operators_error,
    )


def _largest(bursts, name):
    sizes = [burst[name] for burst in bursts]
    return None if None in sizes else max(sizes)


def _profile(path, num_threads, median_ms):
    """Time by operator and None, or nothing and the reason."""
    runs = int(np.clip(PROFILE_MS / max(median_ms, 1e-6), FEWEST_PROFILED, MOST_PROFILED))
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(PROFILER), path, str(num_threads), str(runs)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROFILE_SECONDS,
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return (), f"the profiler took more than {PROFILE_SECONDS} s"
    if done.returncode:
        return (), how_it_ended(done.returncode, done.stderr)
    operators = tuple(parse_summary(done.stdout))
    return operators, None if operators else "the profiler's summary has another form"


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
        # The worker's lines are answers to single questions, so that none waits in our buffer.
        if not select.select([self.process.stdout], [], [], ANSWER_SECONDS)[0]:
            raise ExportError(
                f"The process that ran {self.path} gave no answer for {ANSWER_SECONDS} s."
            )
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
        return how_it_ended(code, self._log.read())
