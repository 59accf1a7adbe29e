"""The program, from the shell and in the process; on files of Keras 3 and of Keras 2."""

import gzip
import json
import os
import pathlib
import subprocess
import sys
import types
import warnings

import keras
import numpy as np
import pytest
from keras import layers

from apps import compress, program
from apps.compression import options
from keras_sparse.loading import load_model
from tests.in_process import run_program

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures" / "keras2"


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "apps.compress", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def call(capsys, **values):
    """The program in this process; what it prints."""
    names = (
        *("model", "out", "import", "report_json", "threshold", "channel_multiple"),
        *("quantize", "representative", "target", *options.OF_TARGET),
    )
    values = {
        name: str(value) if isinstance(value, pathlib.Path) else value
        for name, value in values.items()
    }
    compress.main(types.SimpleNamespace(**{**dict.fromkeys(names), **values}))
    return capsys.readouterr().out


def kill(layer, channels):
    kernel = keras.ops.convert_to_numpy(layer.kernel).copy()
    kernel[..., channels] = 0.0
    layer.kernel.assign(kernel)


@pytest.fixture
def model():
    """Three of eight filters are dead; a fourth is nearly."""
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(8, 3, bias_initializer="random_normal", name="conv"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, name="dense"),
        ]
    )
    kill(network.get_layer("conv"), [1, 2, 5])
    kernel = keras.ops.convert_to_numpy(network.get_layer("conv").kernel).copy()
    kernel[..., 7] *= 1e-4
    network.get_layer("conv").kernel.assign(kernel)
    return network


@pytest.fixture
def path(model, tmp_path):
    model.save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


def outputs(model):
    inputs = np.random.default_rng(0).normal(size=(4, *model.input_shape[1:])).astype("float32")
    return keras.ops.convert_to_numpy(model(inputs, training=False))


def assert_same(compact, model):
    expected = outputs(model)
    error = np.max(np.abs(outputs(compact) - expected))
    assert error <= 1e-5 * np.max(np.abs(expected))


def test_layers_of_a_persons_own(model, tmp_path, monkeypatch, capsys):
    (tmp_path / "my_own_layers.py").write_text(
        "import keras\n\nclass Thrice(keras.layers.Layer):\n"
        "    def call(self, x):\n        return x * 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import my_own_layers

    keras.Model(model.inputs[0], my_own_layers.Thrice()(model.outputs[0])).save(
        tmp_path / "own.keras"
    )
    files = (f"--model={tmp_path}/own.keras", f"--out={tmp_path}/small.keras")
    assert run_program("apps.compress", *files) == 1
    assert "Thrice" in capsys.readouterr().err
    assert run_program("apps.compress", *files, "--import=my_own_layers") is None
    compact = keras.saving.load_model(tmp_path / "small.keras")
    assert compact.get_layer("conv").filters == 5
    keras.saving.get_custom_objects().pop("Thrice")


@pytest.mark.slow
def test_from_the_shell(path, tmp_path):
    done = run(f"--model={path}", f"--out={tmp_path}/small.keras")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.endswith(f"Wrote {tmp_path}/small.keras\n")


def test_dead_channels_go(model, path, tmp_path, capsys):
    arguments = (f"--out={tmp_path}/small.keras", f"--report_json={tmp_path}/r.json")
    assert run_program("apps.compress", f"--model={path}", *arguments) is None
    out = capsys.readouterr().out
    compact = keras.saving.load_model(tmp_path / "small.keras")
    assert compact.get_layer("conv").filters == 5
    assert_same(compact, model)
    assert "Channels removed" in out
    assert "8 → 5" in out
    before, after = model.count_params(), compact.count_params()
    assert f"parameters: {before} to {after}, {after / before:.1%}" in out
    assert out.endswith(f"Wrote {tmp_path}/small.keras\n")
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["parameters"] == [before, after]
    assert report["layers"]["conv"]["kept"] == [0, 3, 4, 6, 7]
    assert report["zero_channels"] is None
    assert f"--model={path}" in report["command"]
    assert f"Largest difference of the outputs on random input: {report['max_error']:.2g}" in out
    assert sorted(os.listdir(tmp_path)) == ["model.keras", "r.json", "small.keras"]


def test_bad_input_is_answered_with_one_line(tmp_path, capsys):
    arguments = f"--model={tmp_path}/absent.h5", f"--out={tmp_path}/small.keras"
    assert run_program("apps.compress", *arguments) == 1
    out, err = capsys.readouterr()
    assert not out
    assert err == f"There is no such file. Received: path={tmp_path}/absent.h5\n"
    assert not os.listdir(tmp_path)


def test_threshold_zeroes_first_and_says_so(model, path, tmp_path, capsys):
    out = call(
        capsys,
        model=path,
        out=tmp_path / "small.keras",
        threshold=1e-3,
        report_json=tmp_path / "r.json",
    )
    assert "Set 4 channels to zero, the largest of norm " in out
    compact = keras.saving.load_model(tmp_path / "small.keras")
    assert compact.get_layer("conv").filters == 4
    facts = json.loads((tmp_path / "r.json").read_text())["zero_channels"]
    assert facts["zeroed"]["conv"] == [1, 2, 5, 7]
    assert 0 < facts["largest"] <= 1e-3
    # What is left computes what the model with that filter at zero computes.
    kill(model.get_layer("conv"), [7])
    assert_same(compact, model)


@pytest.mark.slow
@pytest.mark.tensorflow
def test_quantized_files_beside_the_smaller_model(model, path, tmp_path, capsys):
    x = np.random.default_rng(0).normal(size=(60, 6, 6, 2)).astype("float32")
    np.savez(tmp_path / "x.npz", x=x, y=model.predict(x, verbose=0).argmax(-1))
    out = call(
        capsys,
        model=path,
        out=tmp_path / "small.keras",
        report_json=tmp_path / "r.json",
        quantize=["float16", "int8"],
        representative=tmp_path / "x.npz",
    )
    files = {"small.tflite", "small-float16.tflite", "small-int8.tflite"}
    known = {"model.keras", "x.npz", "r.json", "small.keras"}
    assert set(os.listdir(tmp_path)) == files | known
    rows = json.loads((tmp_path / "r.json").read_text())["files"]
    assert [(row["network"], row["quantize"]) for row in rows] == [
        (name, kind)
        for kind in ("float32", "float16", "int8")
        for name in ("small-original", "small")
    ]
    assert all(row["keras_accuracy"] == 1 for row in rows)
    assert rows[0]["latency_ratio"] == rows[0]["macs_ratio"] == 1
    assert rows[1]["macs_ratio"] < 1
    for row in rows:
        if row["network"] == "small":
            assert row["bytes"] == (tmp_path / row["file"]).stat().st_size
    assert "Files, beside their networks in Keras" in out


@pytest.mark.tensorflow
def test_float16_needs_no_samples_and_a_dense_model_is_told(path, model, tmp_path, capsys):
    model.get_layer("conv").kernel.assign(np.ones(model.get_layer("conv").kernel.shape))
    model.save(path)
    out = call(capsys, model=path, out=tmp_path / "small.keras", quantize=["float16"])
    assert (tmp_path / "small-float16.tflite").exists()
    assert "No channel was dead: the model is as large as before." in out


def test_a_threshold_that_cuts_every_way_is_refused(path, tmp_path, capsys):
    with pytest.raises(program.UsageError, match=r"same for all inputs\. Give a smaller one"):
        call(capsys, model=path, out=tmp_path / "small.keras", threshold=9.0)
    assert os.listdir(tmp_path) == ["model.keras"]


def test_channel_multiple(model, path, tmp_path, capsys):
    call(capsys, model=path, out=tmp_path / "small.keras", channel_multiple=6)
    compact = keras.saving.load_model(tmp_path / "small.keras")
    assert compact.get_layer("conv").filters == 6
    assert_same(compact, model)


def test_says_why_a_dead_channel_stays(tmp_path, capsys):
    network = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="last")])
    kill(network.get_layer("last"), [1])
    network.save(tmp_path / "model.keras")
    out = call(capsys, model=tmp_path / "model.keras", out=tmp_path / "small.keras")
    # The table of what stays, by reason: layer, channels, parameters, multiply-accumulates.
    [line] = [line for line in out.splitlines() if "output of the model" in line]
    assert line.split()[-8::2] == ["last", "1", "5", "4"]


def test_writes_hdf5(model, path, tmp_path, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        call(capsys, model=path, out=tmp_path / "small.h5")
    assert_same(keras.saving.load_model(tmp_path / "small.h5", compile=False), model)


@pytest.mark.parametrize("ending", ["h5", "keras"])
def test_a_file_of_keras_2(ending, tmp_path, capsys):
    source = tmp_path / f"depthwise.{ending}"
    if ending == "h5":
        source.write_bytes(gzip.decompress((FIXTURES / "depthwise.h5.gz").read_bytes()))
    else:
        source.write_bytes((FIXTURES / "depthwise.keras").read_bytes())
    model = load_model(source)
    kill(model.get_layer("conv2d"), [0, 2])
    model.save(tmp_path / "sparse.keras")
    call(capsys, model=tmp_path / "sparse.keras", out=tmp_path / "small.keras")
    compact = keras.saving.load_model(tmp_path / "small.keras")
    assert compact.count_params() < model.count_params()
    assert_same(compact, model)
    call(capsys, model=source, out=tmp_path / "same.keras")
    assert_same(keras.saving.load_model(tmp_path / "same.keras"), load_model(source))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": "absent.keras"}, "There is no such file"),
        ({"model": "text.keras"}, "is neither a .keras nor an HDF5 file"),
        ({"model": "unbuilt.keras"}, "build"),
        ({"model": "lora.keras"}, "has LoRA enabled"),
        ({"model": None}, "--model is needed"),
        ({"out": None}, "--out is needed"),
        ({"out": "model.keras"}, "must be different files"),
        ({"out": "./link.keras"}, "must be different files"),
        ({"report_json": "small.keras"}, "must be different files"),
        (
            {"quantize": ["int8"], "representative": "text.keras", "report_json": "text.keras"},
            "--model, --representative, --out and --report_json must be different files",
        ),
        ({"out": "absent/small.keras"}, "cannot be written"),
        ({"report_json": "absent/r.json"}, "cannot be written"),
        ({"out": "folder.keras"}, "cannot be written"),
        ({"out": "small.tflite"}, "python -m export.convert"),
        ({"out": "small.txt"}, "--out must end in .keras or .h5"),
        ({"threshold": -1.0}, "--threshold must be 0 or more"),
        ({"threshold": float("nan")}, "--threshold must be 0 or more"),
        ({"threshold": float("inf")}, "--threshold must be 0 or more, and finite"),
        ({"channel_multiple": 0}, "--channel_multiple must be 1 or more"),
        ({"quantize": ["int4"]}, "any of float16, dynamic, int8"),
        ({"quantize": ["int8"]}, "--quantize=int8 needs --representative"),
        ({"representative": "x.npy"}, "--representative is for --quantize"),
        ({"quantize": ["int8"], "representative": "absent.npy"}, "cannot be read as arrays"),
    ],
)
@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built")
def test_bad_input_is_one_line_and_writes_nothing(
    values, message, path, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("text.keras").write_text("not a model")
    pathlib.Path("folder.keras").mkdir()
    pathlib.Path("link.keras").symlink_to("model.keras")
    keras.Sequential([layers.Dense(3)]).save("unbuilt.keras")
    if values.get("model") == "lora.keras":
        network = keras.Sequential([keras.Input((4,)), layers.Dense(3, lora_rank=1)])
        network.save("lora.keras")
    before = {name: pathlib.Path(name).stat().st_mtime_ns for name in os.listdir()}
    arguments = {"model": "model.keras", "out": "small.keras", **values}
    with pytest.raises(program.UsageError) as caught:
        call(capsys, **arguments)
    assert message in str(caught.value)
    assert {name: pathlib.Path(name).stat().st_mtime_ns for name in os.listdir()} == before


def test_hdf5_that_keras_cannot_read_again_is_not_left(tmp_path, capsys):
    inputs = keras.Input((4,))
    network = keras.Model(inputs, keras.ops.relu6(layers.Dense(3)(inputs)))
    network.save(tmp_path / "model.keras")
    files = {"out": tmp_path / "small.h5", "report_json": tmp_path / "r.json"}
    with pytest.raises(program.UsageError, match=r"Write a \.keras file"):
        call(capsys, model=tmp_path / "model.keras", **files)
    assert os.listdir(tmp_path) == ["model.keras"]


def test_help_lists_the_flags_by_group(capsys):
    assert run_program("apps.compress", "--help") == 0
    out = capsys.readouterr().out
    assert out.index("files:") < out.index("--report_json")
    assert out.index("surgery:") < out.index("--threshold")
