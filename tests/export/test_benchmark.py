import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import rich.console

import export
from export.benchmark import host
from export.benchmark.macs import FileMacs
from export.benchmark.progress import progress_bar
from export.benchmark.result import BenchmarkResult, FileTiming
from export.benchmark.summary import OperatorTime, parse_summary, why_too_short
from tests.export.tflite_file import write_dense

# What a worker says at first, then the end the test wants.
GREETING = (
    "import os, sys; print('"
    '{"init_ms": 1.0, "first_ms": 1.0, "signature": null, "input_bytes": 4}'
    "', flush=True)\n"
)


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
    result = export.benchmark(tflite_files, rounds=4, warmup_runs=2)
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
        assert 0 < file.file_backed_memory <= file.peak_memory
        assert 0 < file.gzip_bytes < file.bytes
        assert file.signature == "serving_default"
        assert file.input_bytes == 4 * 16 * 16 * 8
        assert len(file.warm_up_ms) == 8
        # The profiler of the runtime gave its times.
        assert file.operators_error is None
        assert any("Convolution" in operator.name for operator in file.operators)
        assert sum(operator.share for operator in file.operators) == pytest.approx(1, abs=1e-3)
    macs = [14 * 14 * 9 * 8 * width for width in (16, 128)]
    assert [file.macs.total for file in result.files] == macs
    assert result.macs_ratios == [1, 8]
    assert result.ratios == [1.0, wide.min_ms / narrow.min_ms]
    assert not any(map(processes_on, tflite_files))


@pytest.mark.tensorflow
def test_a_file_may_be_named_twice(tflite_files):
    result = export.benchmark([tflite_files[0], pathlib.Path(tflite_files[0])], rounds=1)
    assert len(result.files) == 2


@pytest.mark.tensorflow
def test_a_file_is_told_each_quarter_once(capsys):
    with progress_bar() as progress:
        for done in range(9):
            progress(done, 8)
    told = capsys.readouterr().err.splitlines()
    assert told == [f"timing: {share}% is done" for share in (25, 50, 75)]


def test_progress_counts_every_step_once(tflite_files):
    steps = []
    export.benchmark(tflite_files, rounds=2, progress=lambda *step: steps.append(step))
    total = 2 * (host.STARTS + 2 + 1)
    assert steps == [(done, total) for done in range(1, total + 1)]


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import os; os.abort()", "Aborted"),
        ("import sys; sys.exit('no such function')", "exit status 1. no such function"),
        ("print('something new')", "the profiler's summary has another form"),
    ],
)
def test_a_profiler_that_fails_costs_its_figures_alone(
    program, reason, tflite_files, tmp_path, monkeypatch
):
    (tmp_path / "profiler.py").write_text(program)
    monkeypatch.setattr(host, "PROFILER", tmp_path / "profiler.py")
    result = export.benchmark(tflite_files[:1], rounds=1)
    [file] = result.files
    assert (file.operators, file.operators_error) == ((), reason)
    assert f"no time by operator; {reason}" in result.to_markdown()


@pytest.mark.tensorflow
def test_a_network_that_is_too_short_for_the_profiler_has_no_times_by_operator(tmp_path):
    layers = [keras.Input((8,)), *(keras.layers.Dense(4, activation="tanh") for _ in range(2))]
    export.convert(keras.Sequential(layers), tmp_path / "tiny.tflite")
    [file] = export.benchmark([tmp_path / "tiny.tflite"], rounds=1).files
    assert file.operators == ()
    assert "too short to divide its time by operator" in file.operators_error


def test_a_time_is_divided_where_rounding_may_lose_at_most_half_of_it():
    operators = [OperatorTime("Convolution", 2, 0.75), OperatorTime("Mean", 1, 0.25)]
    assert why_too_short(operators, 0.006) is None
    assert "3 operators take 5.9 us" in why_too_short(operators, 0.0059)
    assert "1 operator takes 1.5 us" in why_too_short(operators[1:], 0.0015)


def timing(path, rounds_ms, **changes):
    figures = {
        "bytes": 2**20,
        "gzip_bytes": 2**18,
        "signature": "serving_default",
        "input_bytes": 2**20,
        "warm_up_ms": np.array([5.0, 7.0]),
        "file_backed_memory": 2**18,
        "macs": FileMacs(1000, 1200),
        "operators": (OperatorTime("Convolution", 2, 0.75), OperatorTime("Mean", 1, 0.25)),
        "operators_error": None,
        "num_threads": 1,
        "init_ms": 3.0,
        "first_ms": 9.0,
        "peak_memory": 2**21,
        "anonymous_memory": 2**19,
    }
    return FileTiming(path=path, rounds_ms=np.array(rounds_ms), **{**figures, **changes})


def test_statistics_are_those_of_the_pooled_samples():
    first = timing("a/model.tflite", np.arange(1.0, 101.0).reshape(4, 25))
    nothing = {"peak_memory": None, "anonymous_memory": None, "file_backed_memory": None}
    second = timing("b/model.tflite", [[8.0, 2.0]], macs=FileMacs(500, 900, ("WHILE",)), **nothing)
    result = BenchmarkResult((first, second))
    assert result.ratios == [1.0, 2.0]
    plain = json.loads(json.dumps(result.to_dict()))
    assert plain["files"][0]["model"] == "a/model.tflite"
    assert plain["files"][0]["model_size_mb"] == 1.0
    assert plain["files"][0]["gzip_size_bytes"] == 2**18
    memory = {"peak_mb": 2.0, "anonymous_mb": 0.5, "file_backed_mb": 0.25}
    assert plain["files"][0]["memory"] == memory
    assert plain["files"][0]["throughput_mb_s"] == pytest.approx(1000 / 50.5)
    assert plain["files"][0]["operators"][0] == {"name": "Convolution", "nodes": 2, "share": 0.75}
    latency = plain["files"][0]["latency"]
    assert (latency["min_ms"], latency["max_ms"], latency["avg_ms"]) == (1.0, 100.0, 50.5)
    assert latency["median_ms"] == 50.5
    assert latency["p90_ms"] == pytest.approx(90.1)
    assert latency["p99_ms"] == pytest.approx(99.01)
    assert latency["num_runs"] == 100
    assert plain["files"][1]["ratio_to_first"] == 2.0
    assert plain["files"][1]["macs_ratio_to_first"] == 0.5
    assert plain["files"][1]["macs_tiled_ratio_to_first"] == 0.75
    assert plain["files"][1]["macs_uncounted"] == ["WHILE"]
    assert plain["files"][1]["memory"] == dict.fromkeys(memory)


def test_json_has_the_keys_of_litert_benchmark():
    """Those that ai_edge_litert/tools/benchmark_litert_model.py writes."""
    plain = timing("model.tflite", [[1.0, 2.0]]).to_dict()
    assert plain.keys() >= {
        *("model", "model_size_mb", "accelerators", "signature", "fully_accelerated"),
        *("num_threads", "latency", "throughput_mb_s"),
    }
    assert plain["latency"].keys() >= {
        *("init_ms", "warmup_first_ms", "warmup_avg_ms", "num_warmup_runs", "avg_ms", "min_ms"),
        *("max_ms", "median_ms", "std_ms", "p5_ms", "p95_ms", "num_runs"),
    }
    assert plain["latency"]["warmup_avg_ms"] == 6.0


def test_markdown():
    files = timing("a.tflite", [[4.0]]), timing("b.tflite", [[1.0]], macs=FileMacs(250, 400))
    text = BenchmarkResult(files).to_markdown()
    head, _, first, second = [line for line in text.splitlines() if line.startswith("| ")][:4]
    row = dict(zip(head.split(" | "), second.split(" | "), strict=True))
    assert row["gzip"] == "262,144"
    assert row["file-backed MB"] == "0.2"
    assert (row["latency ratio"], row["MACs ratio"]) == ("0.250", "0.250")
    assert row["tiled MACs ratio |"] == "0.333 |"
    assert first.startswith("| a.tflite | 1,048,576 | 262,144 |")
    assert "| Convolution | 2 | 75.0% |" in text


def test_page():
    pytest.importorskip("jinja2")
    files = timing("<a>.tflite", [[4.0]]), timing("b.tflite", [[1.0]], macs=FileMacs(250, 400))
    page = BenchmarkResult(files).to_html("python -m export.benchmark <a>.tflite b.tflite")
    for text in ("&lt;a&gt;.tflite b.tflite", ">262,144<", "× 0.250", ">0.333<", "Convolution"):
        assert text in page
    assert "<a>" not in page


def test_names_are_whole_in_80_columns():
    names = "compact-dynamic.tflite", "b.tflite"
    result = BenchmarkResult(tuple(timing(name, [[4.0]]) for name in names))
    console = rich.console.Console(width=80, file=io.StringIO())
    console.print(result)
    assert all(f"{name} " in console.file.getvalue() for name in names)


def test_picture(tmp_path):
    files = timing("a.tflite", [[4.0]]), timing("b.tflite", [[1.0]], macs=FileMacs(250, 400))
    BenchmarkResult(files).plot(tmp_path / "macs.svg")
    text = (tmp_path / "macs.svg").read_text()
    for words in ("b.tflite", "latency ratio = MACs ratio", "tiled MACs"):
        assert words in text
    without = timing("c.tflite", [[1.0]], macs=FileMacs(0, 0))
    assert BenchmarkResult((without, *files)).macs_ratios == [None, None, None]
    with pytest.raises(ValueError, match="no multiply-accumulates"):
        BenchmarkResult((without,)).plot(tmp_path / "none.png")
    assert os.listdir(tmp_path) == ["macs.svg"]


def test_summary_of_another_program_is_empty():
    assert parse_summary("INFO: count=50 avg=3") == []


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
        assert len(worker.ask(3)["ms"]) == 3
        worker.process.kill()
        with pytest.raises(export.ExportError, match=r"ran .*width16\.tflite died: Killed"):
            worker.ask(3)
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
@pytest.mark.parametrize(
    "end", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL]
)
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


def test_the_program_ends_with_one_line_after_ctrl_c(tmp_path):
    path = tmp_path / "m.tflite"
    write_dense(path, 8, 8, np.ones((8, 8)))
    command = [sys.executable, "-m", "export.benchmark", path, "--rounds=1000000"]
    program = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert eventually(lambda: len(processes_on(path)) > 1)  # it and its worker
        program.send_signal(signal.SIGINT)
        _, told = program.communicate(timeout=60)
    finally:
        program.kill()
    assert program.returncode == 130
    assert told.splitlines()[-1].startswith("export.benchmark: interrupted")
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"paths": []}, "`paths` must be a list"),
        ({"paths": "model.tflite"}, "`paths` must be a list"),
        ({"paths": ["absent.tflite"]}, "does not exist. Received: absent.tflite"),
        ({"paths": [__file__], "num_threads": 0}, "`num_threads` must be an integer >= 1"),
        ({"paths": [__file__], "num_threads": None}, "`num_threads` must be an integer >= 1"),
        ({"paths": [__file__], "rounds": 1.5}, "`rounds` must be an integer >= 1"),
        ({"paths": [__file__], "warmup_runs": 0}, "`warmup_runs` must be an integer >= 1"),
        ({"paths": [__file__], "timeout": 0}, "`timeout` must be a positive number of seconds"),
    ],
)
def test_bad_arguments_start_no_process(arguments, message, monkeypatch):
    monkeypatch.setattr(host, "_Worker", None)
    with pytest.raises(ValueError, match=message):
        export.benchmark(**arguments)


@pytest.mark.parametrize("says", ["", GREETING, "print('{', end='', flush=True)\n"])
def test_a_worker_that_never_answers(says, tmp_path, monkeypatch):
    (tmp_path / "worker.py").write_text(says + "import time; time.sleep(60)")
    monkeypatch.setattr(host, "WORKER", tmp_path / "worker.py")
    path = tmp_path / "model.tflite"
    path.touch()
    with pytest.raises(export.ExportError, match=r"model.tflite gave no answer for 0\.5 s"):
        export.benchmark([path], timeout=0.5)
    assert not processes_on(path)


@pytest.mark.parametrize("milliseconds", [0.0525, 0.00525, 12345.0])
@pytest.mark.parametrize("length", [5, 24, 60])
def test_figures_are_whole_in_80_columns(length, milliseconds):
    names = "a" * length, "b" * length
    result = BenchmarkResult(tuple(timing(name, [[milliseconds]]) for name in names))
    console = rich.console.Console(width=80, file=io.StringIO())
    console.print(result)
    text = console.file.getvalue()
    assert text.count(f"{milliseconds:#.3g} ") == 8
    assert text.count("1.000") == 6
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "".join(text.split()).count("a") >= length


@pytest.mark.parametrize("name", ["model[int8].tflite", "x[/b]/m.tflite", "runs [v2]/[m].tflite"])
def test_brackets_in_names_are_no_markup(name):
    result = BenchmarkResult((timing(name, [[1.0]]),))
    console = rich.console.Console(width=120, file=io.StringIO())
    console.print(result)
    assert os.path.basename(name) in console.file.getvalue()
