"""A session on a phone: push, run the files alternately, clean up."""

import contextlib
import os
import re
import secrets
import shlex
import signal

from absl import logging

from export.android.adb import Adb, AndroidError, ConnectionLostError
from export.android.delegates import (
    check_delegate,
    check_flags,
    delegate_flags,
    unknown_flags,
)
from export.android.parser import parse_output
from export.android.phone import binary_abis, check_abi, check_space, find_phone, read_battery
from export.android.result import AndroidResult, ModelRuns
from export.benchmark.arguments import check_counts, check_file, check_paths
from export.benchmark.macs import file_macs
from export.benchmark.summary import why_too_short

TEMPORARY = "/data/local/tmp"  # where `adb shell` may write and execute
RUN_SECONDS = 600  # benchmark_model itself stops after 150 s of warm-up and 150 s of runs
SPARE_BYTES = 2**20
_LAST_CORE = 1023  # the largest core number in a mask of Linux
# Text that the shell adds when a signal ends a program.
_EPITAPHS = ("Aborted", "Segmentation fault", "Bus error", "Illegal instruction", "Killed")
_NOT_EXECUTABLE = (126, 127)
PROFILE_FLAGS = {1: "--enable_op_profiling=true", 2: "--use_profiler=true"}


def benchmark_on_android(
    paths,
    *,
    benchmark_binary,
    serial=None,
    num_threads=1,
    rounds=3,
    num_runs=50,
    cores=None,
    delegate=None,
    benchmark_flags=None,
    progress=None,
    save=None,
):
    """Times TFLite files side by side on an Android phone, through `adb`.

    Binary and files are pushed to a new folder on the phone. The folder is removed at the end, also
    after an error or Ctrl-C. Every file runs once in each round. The order changes with the round,
    so a phone that becomes warm slows all files equally. Each turn is one process of
    `benchmark_model`, with half a second of warm-up and at least a second of runs. At the end, each
    file runs once more with the profiler.

    The result has the processor on which each file ran, as reported by `benchmark_model`. If a GPU
    or NPU refuses a file, the runtime falls back to the CPU, and the result reports it.

    Args:
        paths: the `.tflite` files; the others are compared with the first.
        benchmark_binary: the `benchmark_model` program, TFLite's or LiteRT's, for the phone's ABI.
        serial: which phone, as `adb devices` names it; None for the only one.
        num_threads: threads of the interpreter, at least 1.
        rounds: number of rounds, at least 1.
        num_runs: minimum number of inferences of a turn, at least 1.
        cores: numbers of the cores to run on, or None for the system's choice.
        delegate: `"cpu"`, `"gpu"` or `"npu"`; None for the program's default, the CPU. TFLite's
            program uses the NPU through NNAPI. LiteRT's program uses it through a vendor's library,
            and needs flags for the library's folder.
        benchmark_flags: list of flags of `benchmark_model`, each as `"--name=value"`:
            `"--warmup_runs=10"`, `"--input_layer_shape=1,224,224,3"`, `"--use_xnnpack=false"`.
        progress: called as `progress(done, total)` after each of the `total` turns, or None.
        save: called as `save(result)` after each turn, with all measurements so far, and at the
            end, also after an error; or None.

    Returns:
        An `AndroidResult`, with `.files`, `.ratios`, `.to_dict()` and `.to_markdown()`;
        `rich.print` shows a table.

    Raises:
        ValueError: a bad argument, before the phone is touched.
        AndroidError: no phone or several, a phone that does not allow debugging, a binary for
            another ABI, a full disk, a crash, a file that the runtime refuses, unknown flags, a
            phone that is disconnected.

    Example:

    >>> result = benchmark_on_android(
    ...     ["model.tflite", "compact.tflite"], benchmark_binary="benchmark_model", cores=[7]
    ... )
    >>> print(result.ratios)
    """
    paths = _check(paths, benchmark_binary, cores)
    check_counts(num_threads=num_threads, rounds=rounds, num_runs=num_runs)
    check_delegate(delegate)
    benchmark_flags = check_flags(benchmark_flags)
    macs = [file_macs(path, arm=True) for path in paths]
    phone = find_phone(serial)
    check_abi(phone, benchmark_binary)
    adb = Adb(phone.serial)
    _check_online(adb, cores)
    sizes = [os.path.getsize(path) for path in paths]
    needed = os.path.getsize(benchmark_binary) + sum(sizes) + SPARE_BYTES
    check_space(adb, TEMPORARY, needed)
    files = [ModelRuns(*figures) for figures in zip(paths, sizes, macs, strict=True)]
    result = AndroidResult(
        phone,
        num_threads,
        tuple(cores or ()),
        rounds,
        files,
        delegate,
        benchmark_flags,
        abi=binary_abis(benchmark_binary)[0],
    )
    with _reporting(result, save, adb), _remote_folder(adb) as folder:
        turns = _Turns(adb, folder, result, num_runs)
        turns.push(benchmark_binary)
        turns.choose_delegate()
        result.battery_before = read_battery(adb)
        total = len(files) * (rounds + 1)
        for done, _ in enumerate(turns.run(), 1):
            if save:
                save(result)
            if progress:
                progress(done, total)
        result.complete = True
    return result


def parse_cores(text):
    """The cores named on a command line: `"0,4-6"` as [0, 4, 5, 6], and None as None.

    Raises:
        ValueError: the text has another form, or a number is too large for a core.
    """
    if text is None:
        return None
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text):
        raise ValueError(f"`cores` must look like 7 or 4-7 or 0,2. Received: cores={text}")
    ranges = [[int(end) for end in part.split("-")] for part in text.split(",")]
    largest = max(ends[-1] for ends in ranges)
    if largest > _LAST_CORE or any(ends[0] > ends[-1] for ends in ranges):
        raise ValueError(
            f"`cores` must be numbers from 0 to {_LAST_CORE}, the smaller one first. "
            f"Received: cores={text}"
        )
    return [core for ends in ranges for core in range(ends[0], ends[-1] + 1)]


def _check(paths, benchmark_binary, cores):
    paths = check_paths(paths)
    check_file("benchmark_binary", benchmark_binary)
    if cores is not None and not (
        cores and all(isinstance(c, int) and 0 <= c <= _LAST_CORE for c in cores)
    ):
        raise ValueError(f"`cores` must be None or numbers of cores. Received: cores={cores!r}")
    binary_abis(benchmark_binary)
    return paths


def _check_online(adb, cores):
    """Raises an `AndroidError` for cores that do not run; `taskset` would leave them out."""
    if not cores:
        return
    status, output = adb.shell("cat /sys/devices/system/cpu/online")
    if status:  # the phone does not say it
        return
    missing = sorted(set(cores) - set(parse_cores(output.strip())))
    if missing:
        raise AndroidError(
            f"The phone {adb.serial} has no running core {', '.join(map(str, missing))}. Its "
            f"running cores are {output.strip()}."
        )


@contextlib.contextmanager
def _reporting(result, save, adb):
    """Completes the result, also after an error, and saves it if anything was measured."""
    try:
        yield
    except BaseException as error:
        result.error = str(error) or type(error).__name__
        raise
    finally:
        with contextlib.suppress(AndroidError):
            result.battery_after = read_battery(adb)
        if save and any(file.runs for file in result.files):
            save(result)


@contextlib.contextmanager
def _remote_folder(adb):
    """A new folder on the phone that is removed at the end."""
    folder = f"{TEMPORARY}/keras_sparse_{secrets.token_hex(8)}"
    try:
        status, output = adb.shell(f"mkdir {folder}")
        if status:
            raise AndroidError(f"{folder} cannot be made on {adb.serial}: {output.strip()}")
        yield folder
    finally:
        try:
            status, output = adb.shell(f"rm -rf {folder}")
        except AndroidError as error:
            status, output = 1, str(error)
        if status:
            logging.warning(
                "%s stays on the phone. When it is back: adb -s %s shell rm -rf %s",
                folder,
                adb.serial,
                folder,
            )
            logging.debug("%s", output)


class _Turns:
    """The runs of all files in one folder of the phone."""

    def __init__(self, adb, folder, result, num_runs):
        self.adb = adb
        self.folder = folder
        self.result = result
        self.num_runs = num_runs
        self.flags = ()

    def choose_delegate(self):
        """Finds the program's flags for the delegate, if one is requested."""
        delegate = self.result.delegate
        usage = ""
        if delegate:
            status, usage = self.adb.shell(f"{self.folder}/benchmark_model --help")
            if status in _NOT_EXECUTABLE:
                raise AndroidError(_failure("it", self.adb.serial, status, usage))
        self.flags = (*delegate_flags(delegate, usage), *self.result.benchmark_flags)

    def push(self, binary):
        """Pushes the program and the files."""
        self.adb.run(
            "push", os.fspath(binary), f"{self.folder}/benchmark_model", timeout=RUN_SECONDS
        )
        status, output = self.adb.shell(f"chmod 755 {self.folder}/benchmark_model")
        if status:
            raise AndroidError(f"The binary cannot be made executable: {output.strip()}")
        for index, file in enumerate(self.result.files):
            self.adb.run("push", file.path, self._remote(index), timeout=RUN_SECONDS)

    def run(self):
        """Runs all turns, and yields after each."""
        files = self.result.files
        for first in range(self.result.rounds):
            for place in range(len(files)):
                turn = (first + place) % len(files)
                files[turn].runs.append(self._turn(turn))
                yield
        for turn, file in enumerate(files):
            operators = self._turn(turn, PROFILE_FLAGS[file.runs[0].version]).operators
            file.operators_error = why_too_short(operators, file.latency["avg_ms"])
            file.operators = [] if file.operators_error else operators
            yield

    def _remote(self, index):
        return f"{self.folder}/model{index}.tflite"

    def _turn(self, index, *flags):
        command = [
            f"{self.folder}/benchmark_model",
            f"--graph={self._remote(index)}",
            f"--num_threads={self.result.num_threads}",
            f"--num_runs={self.num_runs}",
            "--report_peak_memory_footprint=true",
            *self.flags,
            *flags,
        ]
        if self.result.cores:
            mask = sum(1 << core for core in set(self.result.cores))
            command = ["taskset", f"{mask:x}", *command]
        path = self.result.files[index].path
        status, output = self.adb.shell(shlex.join(command), timeout=RUN_SECONDS)
        if status:
            raise AndroidError(_failure(path, self.adb.serial, status, output))
        unknown = unknown_flags(output)
        if unknown:
            raise AndroidError(f"benchmark_model does not know these flags: {unknown}")
        try:
            return parse_output(output)
        except ValueError as error:
            raise ConnectionLostError(f"{path} on {self.adb.serial}: {error}.") from error


def _failure(path, serial, status, output):
    """The error of a run that failed."""
    lines = [line.strip() for line in output.splitlines()]
    lines = [line for line in lines if line and not line.startswith(_EPITAPHS)]
    last = lines[-1] if lines else "it printed nothing"
    if any(line.startswith("taskset:") for line in lines):
        return f"The phone {serial} does not run on the cores that were requested: {last}"
    if status in _NOT_EXECUTABLE:
        return f"The phone {serial} cannot execute benchmark_model: {last}"
    if status > 128:
        try:
            name = signal.Signals(status - 128).name
        except ValueError:
            name = f"status {status}"
        return f"benchmark_model crashed ({name}) with {path} on {serial}. Its last line: {last}"
    reason = next((line for line in lines if "ERROR" in line), last)
    return f"benchmark_model on {serial} refused {path} (status {status}): {reason}"
