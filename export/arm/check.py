"""Compares the outputs of LiteRT on ARM, emulated by qemu, with its outputs here."""

import dataclasses
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from export.benchmark.arguments import check_paths
from export.benchmark.summary import parse_summary
from export.child import how_it_ended
from export.errors import ExportError

RUNNER = pathlib.Path(__file__).with_name("runner.py")
PROFILER = pathlib.Path(__file__).parents[1] / "benchmark" / "profiler.py"
PROCESSOR = "cortex-a76"
PYTHON = "usr/bin/python3.11"
SITE = "/opt/site"  # folder of the packages that prepare.sh installs
SECONDS = 1800  # qemu is a hundred times slower than the processor
SAMPLES = 4


@dataclasses.dataclass(frozen=True)
class ArmCheck:
    """The result for one file.

    Attributes:
        path: the file, as it was given.
        max_abs_error: largest difference between the outputs on ARM and on the host.
        max_relative_error: the same, relative to the largest absolute value of that output.
        operators: tuple of `OperatorTime`: the kernels that ran. Their shares are shares of time in
            the emulator, which say nothing about an ARM processor.
    """

    path: str
    max_abs_error: float
    max_relative_error: float
    operators: tuple

    @property
    def sparse(self):
        """True if sparse kernels ran (XNNPACK's SPMM), which skip zeros."""
        return any("SPMM" in operator.name for operator in self.operators)


def check_on_arm(paths, root, *, tolerance=1e-4):
    """Runs TFLite files with the aarch64 build of LiteRT under qemu, to check correctness only.

    Each file must load, and give the same outputs as on the host for a few random samples. Nothing
    is timed, because an emulator's speed is unrelated to a phone's.

    Args:
        paths: the `.tflite` files.
        root: the folder that `export/arm/prepare.sh` made.
        tolerance: largest difference that passes, relative to the largest absolute value of the
            output tensor.

    Returns:
        A list of `ArmCheck`.

    Raises:
        ValueError: a file or the folder does not exist, or a file is a Keras model.
        ExportError: a file does not run, or its outputs differ.

    Example:

    >>> [check] = check_on_arm(["model.tflite"], "arm")
    >>> check.max_relative_error, check.sparse
    (1.3e-07, False)
    """
    root = pathlib.Path(root)
    if not (root / PYTHON).exists():
        raise ValueError(
            f"`root` has no Python for ARM; make it with export/arm/prepare.sh. Received: {root}"
        )
    paths = check_paths(paths)
    emulator = ["qemu-aarch64-static", "-cpu", PROCESSOR, "-L", str(root)]
    emulator += ["-E", f"PYTHONPATH={SITE}", str(root / PYTHON)]
    return [_check(path, emulator, tolerance) for path in paths]


def _check(path, emulator, tolerance):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        np.savez(folder / "inputs.npz", **_samples(path))
        outputs = []
        for where, python in (("host", [sys.executable, "-P"]), ("arm", emulator)):
            target = folder / f"{where}.npz"
            _run([*python, str(RUNNER), path, str(folder / "inputs.npz"), str(target)], path, where)
            outputs.append(dict(np.load(target)))
    absolute, relative = _difference(*outputs)
    if not relative <= tolerance:  # NaN fails too
        raise ExportError(
            f"{path} gives other outputs on ARM: they differ by {absolute:.3g}, {relative:.3g} of "
            f"the outputs' scale; the tolerance is {tolerance:.3g}."
        )
    summary = _run([*emulator, str(PROFILER), path, "1", "1"], path, "arm")
    return ArmCheck(path, absolute, relative, tuple(parse_summary(summary)))


def _samples(path):
    """`SAMPLES` random tensors for each input: normal floats, any bytes, or zeros."""
    from ai_edge_litert.interpreter import Interpreter

    rng = np.random.default_rng(0)
    samples = {}
    try:
        details = Interpreter(model_path=path).get_input_details()
    except (ValueError, RuntimeError) as error:
        raise ExportError(f"LiteRT does not load {path}: {error}") from error
    for position, detail in enumerate(details):
        shape, dtype = (SAMPLES, *detail["shape"]), np.dtype(detail["dtype"])
        if dtype.kind == "f":
            value = rng.standard_normal(shape)
        elif dtype.itemsize == 1 and dtype.kind in "iu":
            value = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, shape)
        else:
            value = np.zeros(shape)
        samples[str(position)] = value.astype(dtype)
    return samples


def _run(command, path, where):
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False
        )
    except FileNotFoundError as error:
        raise ExportError(
            f"There is no `{command[0]}` (Debian: apt-get install qemu-user-static)."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"{path} ran for more than {SECONDS} s on {where}.") from error
    if done.returncode:
        reason = how_it_ended(done.returncode, done.stderr)
        raise ExportError(f"{path} does not run on {where}: {reason}")
    return done.stdout


def _difference(host, arm):
    """Largest absolute and relative difference over all outputs; NaN if an output has NaN."""
    absolute = relative = 0.0
    for name, output in host.items():
        wanted = output.astype("float64")
        error, scale = np.abs(wanted - arm[name]).max(), np.abs(wanted).max()
        absolute = np.maximum(absolute, error)  # keeps NaN
        relative = np.maximum(relative, error / scale if scale else error)
    return float(absolute), float(relative)
