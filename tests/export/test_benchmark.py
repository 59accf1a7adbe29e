import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import rich.console

import export
from export.benchmark import host
from export.benchmark.result import BenchmarkResult, FileTiming

# What a worker says at first, then the end the test wants.
GREETING = 'import os, sys; print(\'{"init_ms": 1.0, "first_ms": 1.0}\', flush=True)\n'


def processes_on(path):
    """Ids of the living processes whose command line names `path`."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(path).encode() in words and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def eventually(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


@pytest.mark.tensorflow
def test_two_files(tflite_files):
    result = export.benchmark(tflite_files, rounds=4)
    narrow, wide = result.files
    assert [narrow.path, wide.path] == tflite_files
    assert wide.bytes == os.path.getsize(tflite_files[1])
    for file in result.files:
        assert len(file.rounds_ms) == 4
        assert file.rounds_ms.shape[1] >= 5
        assert 0 < file.min_ms <= file.median_ms <= file.percentile_ms(90)
        assert file.percentile_ms(90) <= file.percentile_ms(99) <= file.rounds_ms.max()
        assert file.init_ms > 0
        # A child that had loaded TensorFlow would have grown by hundreds of megabytes.
        assert 0 < file.anonymous_memory <= file.peak_memory < 100 * 2**20
    assert result.ratios == [1.0, wide.min_ms / narrow.min_ms]
    assert not any(map(processes_on, tflite_files))


@pytest.mark.tensorflow
def test_a_file_may_be_named_twice(tflite_files):
    result = export.benchmark([tflite_files[0], pathlib.Path(tflite_files[0])], rounds=1)
    assert len(result.files) == 2


def timing(path, rounds_ms, **changes):
    figures = {
        "bytes": 2**20,
        "num_threads": 1,
        "init_ms": 3.0,
        "first_ms": 9.0,
        "peak_memory": 2**21,
        "anonymous_memory": 2**19,
    }
    return FileTiming(path=path, rounds_ms=np.array(rounds_ms), **{**figures, **changes})


def test_statistics_are_those_of_the_pooled_samples():
    first = timing("a/model.tflite", np.arange(1.0, 101.0).reshape(4, 25))
    second = timing("b/model.tflite", [[8.0, 2.0]], peak_memory=None, anonymous_memory=None)
    result = BenchmarkResult((first, second))
    assert result.ratios == [1.0, 2.0]
    plain = json.loads(json.dumps(result.to_dict()))
    assert plain["files"][0]["model"] == "a/model.tflite"
    assert plain["files"][0]["model_size_mb"] == 1.0
    assert plain["files"][0]["memory"] == {"peak_mb": 2.0, "anonymous_mb": 0.5}
    latency = plain["files"][0]["latency"]
    assert (latency["min_ms"], latency["max_ms"], latency["avg_ms"]) == (1.0, 100.0, 50.5)
    assert latency["median_ms"] == 50.5
    assert latency["p90_ms"] == pytest.approx(90.1)
    assert latency["p99_ms"] == pytest.approx(99.01)
    assert latency["num_runs"] == 100
    assert plain["files"][1]["ratio_to_first"] == 2.0
    assert plain["files"][1]["memory"] == {"peak_mb": None, "anonymous_mb": None}


def test_table_has_a_row_per_file_and_fits_a_terminal():
    names = ["runs/model.tflite", "runs/compact.tflite"]
    result = BenchmarkResult(tuple(timing(name, [[0.12345, 0.5]]) for name in names))
    console = rich.console.Console(file=io.StringIO(), width=80)
    console.print(result)
    text = console.file.getvalue()
    assert "model.tflite" in text
    assert "compact.tflite" in text
    assert "0.123" in text
    assert "runs/" not in text


def test_table_tells_files_of_one_name_apart():
    result = BenchmarkResult(tuple(timing(f"{x}/m.tflite", [[1.0]]) for x in "ab"))
    console = rich.console.Console(file=io.StringIO(), width=120)
    console.print(result)
    assert "a/m.tflite" in console.file.getvalue()
    assert "b/m.tflite" in console.file.getvalue()


@pytest.mark.tensorflow
def test_a_file_that_the_runtime_refuses(tflite_files, tmp_path):
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(pathlib.Path(tflite_files[0]).read_bytes()[:2000])
    with pytest.raises(export.ExportError, match=r"does not run .*damaged\.tflite: .*Flatbuffer"):
        export.benchmark([tflite_files[0], damaged])
    assert not processes_on(tflite_files[0])


@pytest.mark.tensorflow
def test_a_worker_that_is_killed(tflite_files):
    with host._Worker(tflite_files[0], num_threads=1) as worker:
        assert len(worker.ask({"runs": 3})["ms"]) == 3
        worker.process.kill()
        with pytest.raises(export.ExportError, match=r"ran .*width16\.tflite died: Killed"):
            worker.ask({"runs": 3})
    assert worker.process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("os.abort()", "died: Aborted"),
        ("sys.exit('out of luck')", "died: exit status 1. out of luck"),
        ("sys.stdin.readline(); sys.stdout.write('{\"ms'); os._exit(3)", "died: exit status 3"),
    ],
)
def test_a_worker_that_dies_between_answers(end, message, tmp_path, monkeypatch):
    (tmp_path / "worker.py").write_text(GREETING + end)
    monkeypatch.setattr(host, "WORKER", tmp_path / "worker.py")
    path = tmp_path / "model.tflite"
    path.touch()
    with pytest.raises(export.ExportError, match=f"model.tflite {message}"):
        export.benchmark([path])
    assert not processes_on(path)


@pytest.mark.tensorflow
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_benchmark_leaves_no_process(end, tflite_files):
    program = f"import export; export.benchmark({tflite_files!r}, rounds=10**9)"
    parent = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    try:
        # Both alive at once: the starts are over and the turns have begun.
        assert eventually(lambda: all(map(processes_on, tflite_files)))
        parent.send_signal(end)
        assert parent.wait(30) == -end
    finally:
        parent.kill()
        parent.wait()
    assert eventually(lambda: not any(map(processes_on, tflite_files)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"paths": []}, "`paths` must be a list"),
        ({"paths": "model.tflite"}, "`paths` must be a list"),
        ({"paths": ["absent.tflite"]}, "does not exist. Received: absent.tflite"),
        ({"paths": [__file__], "num_threads": 0}, "`num_threads` must be an integer >= 1"),
        ({"paths": [__file__], "num_threads": None}, "`num_threads` must be an integer >= 1"),
        ({"paths": [__file__], "rounds": 1.5}, "`rounds` must be an integer >= 1"),
    ],
)
def test_bad_arguments_start_no_process(arguments, message, monkeypatch):
    monkeypatch.setattr(host, "_Worker", None)
    with pytest.raises(ValueError, match=message):
        export.benchmark(**arguments)
