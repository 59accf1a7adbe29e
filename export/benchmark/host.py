"""Times files on this machine alternately, each in its own process."""

import contextlib
import gzip
import itertools
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence

import numpy as np

from export.benchmark.arguments import check_counts, check_paths, check_seconds
from export.benchmark.macs import file_macs
from export.benchmark.result import BenchmarkResult, FileTiming
from export.benchmark.summary import parse_summary, why_too_short
from export.child import how_it_ended
from export.errors import ExportError

WORKER = pathlib.Path(__file__).with_name("worker.py")
PROFILER = pathlib.Path(__file__).with_name("profiler.py")
BURST_MS = 20.0
FEWEST_RUNS, MOST_RUNS = 5, 500
STARTS = 3  # the median is used: the first is slow, and any may be interrupted
PROFILE_MS = 300.0
TIMEOUT = 600  # seconds for a load, or for a burst of inferences
FEWEST_PROFILED, MOST_PROFILED = 3, 1000


def benchmark(
    paths: Sequence[str | os.PathLike],
    *,
    num_threads: int = 1,
    rounds: int = 30,
    warmup_runs: int = 1,
    timeout: float = TIMEOUT,
    progress: Callable[[int, int], object] | None = None,
) -> BenchmarkResult:
    """Times TFLite files side by side on the host with LiteRT.

    Every file is loaded by its own process, which imports only LiteRT and NumPy. In each round the
    processes run one after the other: first a warm-up that is not counted, then a burst of about 20
    ms (at least 5 inferences, the same number in every round). The order changes from round to
    round, so a change of the machine's speed affects all files equally. Start-up is the median of
    three processes. Inputs are random. At the end, LiteRT's profiler measures the time by operator,
    in separate processes, because profiling slows the inferences down.

    Args:
        paths: the `.tflite` files; the others are compared with the first.
        num_threads: threads of each interpreter, at least 1.
        rounds: number of rounds, at least 1.
        warmup_runs: inferences before each burst that are not counted, at least 1, because other
            files ran in between. A processor that raises its clock slowly may need more.
        timeout: seconds that a process may take to load its file, for one burst, or for the
            profile.
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
    check_counts(num_threads=num_threads, rounds=rounds, warmup_runs=warmup_runs)
    check_seconds(timeout=timeout)
    step = _steps(progress, len(paths) * (STARTS + rounds + 1))
    starts = [[] for _ in paths]
    for _ in range(STARTS):
        for path, answers in zip(paths, starts, strict=True):
            with _Worker(path, num_threads, timeout) as worker:
                answers.append(worker.ready)
            step()
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(_Worker(path, num_threads, timeout)) for path in paths]
        bursts = _take_turns(workers, rounds, warmup_runs, step)
    files = []
    for figures in zip(paths, starts, bursts, strict=True):
        files.append(_timing(*figures, num_threads, timeout))
        step()
    return BenchmarkResult(tuple(files))


def _steps(progress, total):
    """A function that calls `progress` with one more step of `total`."""
    done = itertools.count(1)
    return lambda: progress and progress(next(done), total)


def _take_turns(workers, rounds, warmup_runs, step):
    """Runs the workers alternately; returns a list of `rounds` bursts for each."""
    runs = [_runs_per_burst(worker) for worker in workers]
    bursts = [[] for _ in workers]
    for first in range(rounds):
        for place in range(len(workers)):
            turn = (first + place) % len(workers)
            bursts[turn].append(workers[turn].ask(runs[turn], warmup_runs))
            step()
    return bursts


def _runs_per_burst(worker):
    guess = float(np.median(worker.ask(FEWEST_RUNS)["ms"]))
    return int(np.clip(BURST_MS / max(guess, 1e-6), FEWEST_RUNS, MOST_RUNS))


def _timing(path, starts, bursts, num_threads, timeout):
    rounds_ms = np.array([burst["ms"] for burst in bursts])
    operators, operators_error = _profile(path, num_threads, float(np.median(rounds_ms)), timeout)
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


def _profile(path, num_threads, median_ms, timeout):
    """`(times by operator, None)`, or no times and the reason."""
    runs = int(np.clip(PROFILE_MS / max(median_ms, 1e-6), FEWEST_PROFILED, MOST_PROFILED))
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(PROFILER), path, str(num_threads), str(runs)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return (), f"the profiler took more than {timeout:g} s"
    if done.returncode:
        return (), how_it_ended(done.returncode, done.stderr)
    operators = tuple(parse_summary(done.stdout))
    if not operators:
        return (), "the profiler's summary has another form"
    error = why_too_short(operators, median_ms)
    return ((), error) if error else (operators, None)


class _Worker:
    """A process with one file; a context manager that always ends the process."""

    def __init__(self, path, num_threads, timeout=TIMEOUT):
        self.path = path
        self.num_threads = num_threads
        self.timeout = timeout

    def __enter__(self):
        self._log = tempfile.TemporaryFile("w+", errors="replace")
        # Run by path and with -P, so that neither this package nor the working folder is imported.
        # Its own session keeps Ctrl-C away: this process ends it, without a traceback.
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

    def ask(self, runs, warmup_runs=1):
        question = {"runs": runs, "warmup_runs": warmup_runs}
        with contextlib.suppress(BrokenPipeError):  # the missing answer is noticed below
            self.process.stdin.write(json.dumps(question) + "\n")
        return self._answer()

    def _answer(self):
        overdue = threading.Event()
        timer = threading.Timer(self.timeout, self._end, (overdue,))
        timer.start()
        try:
            line = self.process.stdout.readline()
        finally:
            timer.cancel()
        if overdue.is_set():
            raise ExportError(
                f"The process that ran {self.path} gave no answer for {self.timeout:g} s. "
                "Give a longer `timeout` if the file is that slow."
            )
        if not line.endswith("\n"):
            raise ExportError(f"The process that ran {self.path} died: {self._last_words()}")
        answer = json.loads(line)
        if "error" in answer:
            raise ExportError(f"LiteRT does not run {self.path}: {answer['error']}")
        return answer

    def _end(self, overdue):
        overdue.set()
        self.process.kill()

    def _last_words(self):
        code = self.process.wait()
        self._log.seek(0)
        return how_it_ended(code, self._log.read())
