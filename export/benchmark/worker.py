"""The child process of `export.benchmark`: loads one file and runs it when asked.

It is run by its path and imports only NumPy and LiteRT, so that only the file determines memory and
start-up. It reads and writes one JSON object per line. First it writes an answer without a
question. Then it answers each `{"runs": n, "warmup_runs": m}`, or writes `{"error": ...}`, until
its input ends.
"""

import gc
import json
import os
import sys
import time

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def main():
    """Answers questions about the file `argv[1]` with `argv[2]` threads."""
    # The pipe is only for answers; output of the runtime goes to stderr.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    # Garbage collection and leftovers of Python's start must not affect the figures.
    gc.collect()
    gc.disable()
    try:
        before = reset_peak()
        start = time.perf_counter()
        interpreter = Interpreter(model_path=sys.argv[1], num_threads=int(sys.argv[2]))
        check_sizes(interpreter)
        interpreter.allocate_tensors()
        init_ms = 1000 * (time.perf_counter() - start)
        fill_inputs(interpreter)
        [first_ms] = run(interpreter, 1)
    except (ValueError, RuntimeError, MemoryError) as error:
        answers.write(json.dumps({"error": str(error)}) + "\n")
        return
    facts = {"signature": signature(interpreter), "input_bytes": input_bytes(interpreter)}
    answers.write(json.dumps({"init_ms": init_ms, "first_ms": first_ms, **facts}) + "\n")
    for question in sys.stdin:
        asked = json.loads(question)
        warm_up = run(interpreter, asked["warmup_runs"])  # other files have used the caches
        times = run(interpreter, asked["runs"])
        answer = {"warm_up_ms": warm_up, "ms": times, **memory_since(before)}
        answers.write(json.dumps(answer) + "\n")


def run(interpreter, runs):
    """Milliseconds of each of `runs` inferences."""
    milliseconds = []
    for _ in range(runs):
        start = time.perf_counter_ns()
        interpreter.invoke()
        milliseconds.append((time.perf_counter_ns() - start) / 1e6)
    return milliseconds


def check_sizes(interpreter):
    """A ValueError if sizes other than the batch are open; LiteRT would use 1 for them."""
    for detail in interpreter.get_input_details():
        if -1 in detail["shape_signature"][1:]:
            shape = tuple(map(int, detail["shape_signature"]))
            raise ValueError(
                f"an input has open sizes, {shape}; convert it with a fixed input_shape to time it"
            )


def fill_inputs(interpreter, seed=0):
    """Fill inputs: standard normal floats, any bytes, zeros for wider integers (indices)."""
    rng = np.random.default_rng(seed)
    for detail in interpreter.get_input_details():
        shape, dtype = detail["shape"], np.dtype(detail["dtype"])
        if dtype.kind == "f":
            value = rng.standard_normal(shape).astype(dtype)
        elif dtype.itemsize == 1 and dtype.kind in "iu":
            info = np.iinfo(dtype)
            value = rng.integers(info.min, info.max + 1, shape, dtype=dtype)
        else:
            value = np.zeros(shape, dtype)
        interpreter.set_tensor(detail["index"], value)


def signature(interpreter):
    """The name of the first signature, or None."""
    return next(iter(interpreter.get_signature_list()), None)


def input_bytes(interpreter):
    """Size of the inputs of one inference in bytes."""
    details = interpreter.get_input_details()
    return sum(int(np.prod(d["shape"])) * np.dtype(d["dtype"]).itemsize for d in details)


def memory_status():
    """VmHWM, RssAnon and RssFile of this process in bytes; None without /proc."""
    try:
        with open("/proc/self/status") as file:
            rows = (line.split() for line in file)
            sizes = {row[0]: 1024 * int(row[1]) for row in rows if row[-1] == "kB"}
        return {key: sizes[f"{key}:"] for key in ("VmHWM", "RssAnon", "RssFile")}
    except (OSError, KeyError):
        return None


def reset_peak():
    """Resets VmHWM to the current size if the kernel allows it; returns `memory_status`."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass
    return memory_status()


def memory_since(before):
    """Increase of the peak, the anonymous and the file-backed part, in bytes, or None."""
    names = {"peak": "VmHWM", "anonymous": "RssAnon", "file_backed": "RssFile"}
    if before is None:
        return dict.fromkeys(names)
    now = memory_status()
    return {name: now[key] - before[key] for name, key in names.items()}


if __name__ == "__main__":
    main()
