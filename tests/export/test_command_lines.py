import json
import os
import pathlib
import re
import subprocess
import sys
import types
from unittest import mock

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from export.convert.__main__ import main as convert_main
from tests.in_process import run_program

pytestmark = pytest.mark.tensorflow
VALUES = {
    "import": None,
    "quantize": None,
    "input_output": "float32",
    "route": "litert",
    "sparse_encoding": False,
    "batch_size": 1,
    "input_shape": [],
}


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "100"},
        check=False,
    )


def check_converted(out, folder):
    first, second, *_ = out.splitlines()
    assert re.fullmatch(r"file +model\.tflite, float16, [\d,]+ bytes", first)
    assert re.fullmatch(r"compared with Keras +on \d+ random samples", second)
    assert sorted(os.listdir(folder)) == ["model.keras", "model.tflite"]


def test_convert(model, tmp_path, capsys):
    model.save(tmp_path / "model.keras")
    files = (tmp_path / "model.keras", tmp_path / "model.tflite")
    assert run_program("export.convert", *files, "--quantize=float16") is None
    check_converted(capsys.readouterr().out, tmp_path)


@pytest.mark.slow
def test_convert_from_the_shell(model, tmp_path):
    model.save(tmp_path / "model.keras")
    files = (tmp_path / "model.keras", tmp_path / "model.tflite")
    done = run("export.convert", *files, "--quantize=float16")
    assert done.returncode == 0
    check_converted(done.stdout, tmp_path)
    assert not done.stderr


def test_convert_ends_with_one_line(capsys):
    told = run_program("export.convert", "model.keras")
    assert told == "export.convert: give two files, model.keras and model.tflite"
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["absent.keras", "model.tflite"], "no such file. Received: path=absent.keras"),
        (["model.keras", "absent/model.tflite"], "`path` cannot be written"),
        (
            ["text.keras", "model.tflite"],
            "text.keras cannot be loaded: it is neither a .keras nor an",
        ),
    ],
)
def test_convert_answers_bad_input_with_one_line(files, message, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model.save("model.keras")
    pathlib.Path("text.keras").write_text("not a model")
    with pytest.raises(SystemExit) as end:
        convert_main(
            ["export.convert", *files], types.SimpleNamespace(representative=None, **VALUES)
        )
    assert end.value.code.startswith("export.convert: ")
    assert message in end.value.code
    assert "\n" not in end.value.code


def test_convert_takes_sizes_of_open_inputs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    inputs = keras.Input((None, None, 3), name="image")
    keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs)).save("model.keras")
    np.save("x.npy", np.ones((2, 5, 6, 3)))

    def convert(*texts):
        values = {**VALUES, "representative": "x.npy", "input_shape": texts}
        convert_main(["", "model.keras", "model.tflite"], types.SimpleNamespace(**values))
        interpreter = Interpreter("model.tflite")
        return interpreter.get_input_details()[0]["shape_signature"].tolist()

    assert convert("image:5,6,3") == [1, 5, 6, 3]
    assert convert("None,None,3") == [1, -1, -1, 3]
    for texts, message in [
        (["5,six,3"], r"--input_shape must be integers .* Received: 5,six,3"),
        (["5,6,3", "2"], "needs the name of its input"),
        (["picture:5,6,3"], "names picture"),
        (["7,6,3"], "must have the shapes"),
        ([], "unknown dimension: 'image'"),
    ]:
        with pytest.raises(SystemExit, match=message):
            convert(*texts)


def test_convert_answers_before_keras_is_imported(tmp_path):
    """Its import takes most of the time of a short conversion."""
    (tmp_path / "model.keras").write_bytes(b"PK\x03\x04")
    (tmp_path / "text.keras").write_text("hello")
    program = (
        "import sys, types; sys.modules['keras'] = None\n"
        "from export.convert.__main__ import main\n"
        f"main(['', *sys.argv[1:]], types.SimpleNamespace(representative=None, **{VALUES}))"
    )
    program = program.replace("'quantize': None", "'quantize': 'int8'")
    for files, message in (
        (["absent.keras", "m.tflite"], "There is no such file"),
        (["text.keras", "m.tflite"], "text.keras cannot be loaded: it is neither a .keras"),
        (["model.keras", "absent/m.tflite"], "`path` cannot be written"),
        (["model.keras", "m.tflite"], "quantize='int8' needs `representative`"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", program, *files],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr.startswith(f"export.convert: {message}")
        assert done.returncode == 1


@pytest.mark.slow
def test_benchmark(tflite_files, tmp_path):
    output = tmp_path / "result.json"
    done = run(
        "export.benchmark",
        *tflite_files,
        "--num_threads=2",
        "--rounds=2",
        f"--result_json={output}",
    )
    assert done.returncode == 0
    # A slow machine is told how far the timing is.
    assert all(line.startswith("timing: ") for line in done.stderr.splitlines())
    assert "2 thread(s)" in done.stdout
    for path in tflite_files:
        assert pathlib.Path(path).name in done.stdout
    files = json.loads(output.read_text())["files"]
    assert [file["model"] for file in files] == tflite_files
    assert [file["num_threads"] for file in files] == [2, 2]
    assert files[1]["latency"]["num_runs"] % 2 == 0
    assert files[1]["ratio_to_first"] == (
        files[1]["latency"]["min_ms"] / files[0]["latency"]["min_ms"]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name one or more .tflite files"),
        (["absent.tflite"], "does not exist. Received: absent.tflite"),
        (["/"], "`paths` names a folder; name the files in it. Received: /"),
        ([__file__], f"LiteRT does not run {__file__}"),
        ([__file__, "--result_json=absent/result.json"], "cannot be written"),
    ],
)
def test_benchmark_answers_bad_input_with_one_line(arguments, message, capsys):
    told = run_program("export.benchmark", *arguments)
    assert message in told.splitlines()[-1]
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    "program", ["convert", "benchmark", "latency", "quantize", "android", "arm"]
)
def test_wrong_flags_are_one_line(program, tmp_path, capsys):
    noise = tmp_path / "flags"
    noise.write_bytes(bytes(range(256)))
    for flag in ("--no_such_flag=1", f"--flagfile={noise}", f"--flagfile={tmp_path}/absent"):
        told = run_program(f"export.{program}", flag)
        assert told.startswith(f"export.{program}: ")
        assert "\n" not in told
        assert "--help" in told
    assert not capsys.readouterr().err


def test_benchmark_ends_with_one_line_and_status_1():
    done = run("export.benchmark", __file__)
    assert done.returncode == 1
    assert f"LiteRT does not run {__file__}" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not done.stdout


@pytest.mark.parametrize(
    ("program", "interrupted"),
    [
        ("convert", "export.convert"),
        ("quantize", "export.quantization_aware"),
        ("latency", "export.LatencyTable.measure"),
        ("benchmark", "export.benchmark"),
    ],
)
def test_an_interrupted_program_ends_with_one_line(
    program, interrupted, model, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    model.compile(loss="mse")
    model.save("model.keras")
    shape, outputs = model.input_shape[1:], model.output_shape[1:]
    np.savez("d.npz", x=np.ones((2, *shape)), y=np.ones((2, *outputs)))
    files = {"convert": ["model.keras", "m.tflite"], "latency": ["model.keras"]}
    files["quantize"] = ["model.keras", "m.tflite", "--data=d.npz"]
    monkeypatch.setattr(interrupted, mock.Mock(side_effect=KeyboardInterrupt))
    end = run_program(f"export.{program}", *files.get(program, ["m.tflite", "--html=m.html"]))
    assert end == 130
    told = capsys.readouterr().err.splitlines()
    assert told[-1] == f"export.{program}: interrupted; unfinished files were not written"
    assert sorted(os.listdir()) == ["d.npz", "model.keras"]


def test_benchmark_says_what_to_do_with_a_keras_model(model, tmp_path):
    for path in (tmp_path / "model.keras", tmp_path / "model.h5"):
        model.save(path)
        told = run_program("export.benchmark", path)
        assert told.startswith(f"export.benchmark: {path} is a Keras model, not a TFLite file")
        assert told.endswith("convert it with export.convert.")


def test_benchmark_does_not_load_tensorflow():
    program = "import sys, export.benchmark; sys.exit('keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


TARGETS = {
    "regression": (1, lambda y: y[:, None] / 7),
    "one-hot": (3, lambda y: np.eye(3)[y]),
    "yes or no": (1, lambda y: y % 2),
}


@pytest.mark.parametrize(("units", "targets"), TARGETS.values(), ids=TARGETS)
def test_targets_that_are_no_classes_are_not_compared(units, targets, tmp_path, capsys):
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(units)])
    model.save(tmp_path / "m.keras")
    x = np.random.default_rng(0).normal(size=(30, 5)).astype("float32")
    np.savez(tmp_path / "d.npz", x_train=x, y_train=targets(np.arange(30) % 3))
    files = tmp_path / "m.keras", tmp_path / "m.tflite"
    assert run_program("export.convert", *files, f"--representative={tmp_path}/d.npz") is None
    told = capsys.readouterr()
    assert "are no numbers of classes: the accuracy is not compared" in told.err
    assert "accuracy" not in told.out
    assert files[1].exists()
