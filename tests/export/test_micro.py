"""LiteRT for Microcontrollers: what files need, and what it does not take."""

import dataclasses
import io
import json
import os
import pathlib
import shutil
import subprocess

import keras
import numpy as np
import pytest
import rich.console

from export import ExportError, convert
from export.micro import Micro, measure, process, write_c_array
from export.micro.agreement import Agreement
from export.micro.memory import file_tensors
from export.micro.operators import resolver_method
from export.micro.process import RefusedError, Runtime
from export.micro.texts import agreement_text, where_text
from tests.export.tflite_file import Operators, Types, schema, write, write_dense
from tests.in_process import run_program

pytest.importorskip("tflite_micro")


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    """A layer of 16 inputs and 8 outputs in float32."""
    weights = np.random.default_rng(0).normal(size=(8, 16))
    return write_dense(tmp_path_factory.mktemp("micro") / "dense.tflite", 16, 8, weights)


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """Three tensors one after the other, of 64, 64 and 64 bytes; the first is read again."""
    tensors = [((1, 16), Types.FLOAT32)] * 4
    options = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
    steps = [
        (Operators.RELU, (0,), (1,)),
        (Operators.TANH, (1,), (2,)),
        (Operators.ADD, (0, 2), (3,), options),
    ]
    return write(tmp_path_factory.mktemp("micro") / "chain.tflite", tensors, steps)


@pytest.fixture(scope="module")
def measured(dense, chain):
    samples = np.random.default_rng(1).normal(size=(3, 16)).astype("float32")
    return measure([dense, chain], samples=samples)


def test_an_operator_without_an_output_has_no_memory_of_its_own(tmp_path):
    tensors = [((1, 16), Types.FLOAT32)] * 2 + [((1,), Types.RESOURCE)]
    steps = [
        (Operators.VAR_HANDLE, (), (2,)),
        (Operators.ASSIGN_VARIABLE, (2, 0), ()),
        (Operators.RELU, (0,), (1,)),
    ]
    found = file_tensors(write(tmp_path / "stateful.tflite", tensors, steps))
    assert [row.operator for row in found.operators] == ["VAR_HANDLE", "RELU"]
    assert found.outputs == (2, 1)


def test_the_arena_is_the_smallest_that_runs(measured, dense):
    file = measured.files[0]
    # Two tensors of 64 and 32 bytes.
    assert (file.bytes, file.head, file.macs) == (os.path.getsize(dense), 96, 128)
    assert file.head + file.tail <= file.arena
    with Runtime(dense) as runtime:
        assert runtime.ask(arena=file.arena) == ""
        with pytest.raises(RefusedError, match="failed to allocate tensors"):
            runtime.ask(arena=file.arena - 16)


def test_what_is_alive_at_each_operator(measured):
    file = measured.files[1]
    assert [row.bytes for row in file.memory] == [128, 192, 192]
    assert file.head == 192
    assert [tensor.name for tensor in file.peak.tensors] == ["input 0", "RELU", "TANH"]
    assert file.resolver == ["AddAdd", "AddRelu", "AddTanh"]


def test_outputs_are_those_of_litert(measured):
    for file in measured.files:
        agreement = file.agreement
        assert agreement.within_a_step
        assert (agreement.samples, agreement.drawn, agreement.layers) == (3, False, ())


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        (0, "equal"),
        (1, "15.6% of outputs differ by 1 step"),
        (2, "15.6% of outputs differ by up to 2 steps"),
        (None, "error 3e-07"),
    ],
)
def test_the_difference_to_litert_in_words(steps, text):
    agreement = Agreement(8, drawn=True, steps=steps, error=3e-7, share=0.156, layers=())
    assert agreement_text(agreement) == text


def test_reports(measured, tmp_path):
    assert json.loads(json.dumps(measured.to_dict()))["files"][1]["peak"]["layer"] == "TANH"
    text = measured.to_markdown()
    assert "| TANH | 1x16 | 64 | 33% |" in text
    assert "`AddTanh`. Their code and the runtime's take flash as well: unknown" in text
    measured.plot(tmp_path / "memory.png")
    assert (tmp_path / "memory.png").stat().st_size > 1000


def test_integers_that_differ_are_found(tmp_path, monkeypatch):
    path = _quantized(tmp_path / "int8.tflite")
    [file] = measure([path]).files
    assert file.agreement.drawn
    assert (file.agreement.steps, file.agreement.within_a_step) == (0, True)
    from export.micro import agreement

    litert = agreement._litert
    monkeypatch.setattr(
        agreement, "_litert", lambda *args: [value + np.int8(2) for value in litert(*args)]
    )
    [file] = measure([path]).files
    assert (file.agreement.steps, file.agreement.within_a_step) == (2, False)
    assert (file.agreement.layers[0].layer, file.agreement.layers[0].largest) == ("RELU", 2)
    assert where_text(file.agreement) == "tensors that differ: RELU (2 in 100.0%)"
    alone = dataclasses.replace(file.agreement, layers=())
    assert where_text(alone).endswith("XNNPACK rounds otherwise")


def _quantized(path):
    """An int8 file: the positive part of four numbers."""
    write(path, [((1, 4), Types.INT8)] * 2, [(Operators.RELU, (0,), (1,))])
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    for tensor in model.subgraphs[0].tensors:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [0.05], [0]
    import flatbuffers

    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(builder.Output())
    return str(path)


def test_a_file_that_the_runtime_cannot_run_is_an_error(dense, tmp_path):
    erf = [((1, 4), Types.FLOAT32)] * 2
    lacking = write(tmp_path / "sign.tflite", erf, [(Operators.SIGN, (0,), (1,))])
    with pytest.raises(ExportError, match=r"operators that .* does not have: SIGN"):
        measure([lacking])
    half = [((1, 4), Types.FLOAT32), ((1, 4), Types.FLOAT16, np.ones(4, "float16"))]
    steps = [(Operators.DEQUANTIZE, (1,), (2,)), (Operators.MUL, (0, 2), (3,), _mul())]
    half = write(tmp_path / "half.tflite", half + erf, steps)
    with pytest.raises(ExportError, match="weights in float16"):
        measure([half])
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(pathlib.Path(dense).read_bytes()[:200])
    with pytest.raises(ExportError, match=r"damaged\.tflite"):
        measure([damaged])
    with pytest.raises(ExportError, match=r"needs an arena of [\d,]+ bytes.*input 0 64"):
        measure([dense], arena=500)
    with pytest.raises(ValueError, match="does not exist"):
        measure(["absent.tflite"])


def _mul():
    return schema.BuiltinOptions.MulOptions, schema.MulOptionsT()


def test_an_abort_ends_only_the_child(dense, tmp_path, monkeypatch):
    worker = tmp_path / "worker.py"
    worker.write_text("import os, sys\nprint('{}', flush=True)\ninput()\nos.abort()\n")
    monkeypatch.setattr(process, "_WORKER", worker)
    with Runtime(dense) as runtime:
        for _ in range(2):  # a new process each time
            with pytest.raises(RefusedError, match=r"ends the process .* Aborted"):
                runtime.ask(arena=1000)


def test_without_the_package(dense, monkeypatch):
    monkeypatch.setattr(process.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ExportError, match=r"pip install 'keras-sparse\[micro\]'"):
        measure([dense])


@pytest.mark.tensorflow
def test_costs_are_those_of_the_file_for_firmware(tmp_path):
    x = keras.Input((6, 6, 2))
    y = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, activation="relu")(x))
    model = keras.Model(x, keras.layers.Dense(3)(y))
    samples = np.random.default_rng(0).uniform(size=(4, 6, 6, 2)).astype("float32")
    firmware = {"quantize": "int8", "input_output": "int8", "representative": samples}
    path = tmp_path / "m.tflite"
    convert(model, path, **firmware, samples=samples)
    file = measure([path]).files[0]
    assert Micro().costs(model) == {"arena": file.arena, "flash": file.bytes}


def test_a_model_that_cannot_be_measured():
    x = [keras.Input((4,)), keras.Input((4,))]
    with pytest.raises(ExportError, match=r"one input of fixed sizes.*\(4,\), \(4,\)"):
        Micro().costs(keras.Model(x, keras.layers.Add()(x)))


@pytest.mark.tensorflow
def test_a_file_of_int8_weights_and_floats_is_told_what_to_do(tmp_path):
    model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(64), keras.layers.Dense(32)])
    convert(model, tmp_path / "m.tflite", quantize="dynamic")
    with pytest.raises(ExportError, match="Convert with quantize='int8', or without"):
        measure([tmp_path / "m.tflite"])


@pytest.mark.tensorflow
@pytest.mark.parametrize("function", [keras.ops.exp, keras.ops.sqrt, keras.ops.log])
def test_costs_of_a_file_that_the_runtime_refuses(function):
    x = keras.Input((4,))
    model = keras.Model(x, function(keras.layers.Dense(4, activation="softplus")(x)))
    with pytest.raises(ExportError, match="The runtime has the operator, but not for these"):
        Micro().costs(model)


@pytest.mark.skipif(not shutil.which("c++"), reason="no C++ compiler")
@pytest.mark.parametrize("name", ["8bit", "new", "main", "float", "a b", "net[1]"])
def test_any_name_gives_a_c_array_that_compiles(name, measured, tmp_path):
    source, _ = write_c_array(measured.files[0], tmp_path / f"{name}.cc")
    subprocess.run(
        ["c++", "-std=c++17", "-Wall", "-Werror", "-c", str(source), "-o", os.devnull], check=True
    )


def test_brackets_in_names_are_no_markup(dense, tmp_path):
    path = shutil.copy(dense, tmp_path / "net[b].tflite")
    console = rich.console.Console(width=120, file=io.StringIO())
    console.print(measure([path]))
    assert "net[b].tflite" in console.file.getvalue()


@pytest.mark.skipif(not shutil.which("c++"), reason="no C++ compiler")
def test_the_c_array_compiles_and_holds_the_file(measured, tmp_path):
    file = measured.files[0]
    source, header = write_c_array(file, tmp_path / "small-net.cc")
    assert header.read_text().count("resolver.") == 1
    (tmp_path / "main.cc").write_text(
        f'#include "{header.name}"\n'
        "#include <cstdint>\n#include <cstdio>\n"
        "struct Resolver { int AddFullyConnected() { return 0; } };\n"
        "static_assert(kSmallNetOperatorCount == 1);\n"
        "int main() {\n"
        "  Resolver resolver;\n"
        "  if (SmallNetRegister(resolver)) return 1;\n"
        "  if (reinterpret_cast<std::uintptr_t>(small_net) % 16) return 2;\n"
        f"  if (kSmallNetArenaSize != {file.arena}) return 3;\n"
        "  return std::fwrite(small_net, 1, kSmallNetSize, stdout) != kSmallNetSize;\n"
        "}\n"
    )
    command = ["c++", "-std=c++17", "-Wall", "-Werror", str(source), str(tmp_path / "main.cc")]
    subprocess.run([*command, "-o", str(tmp_path / "main")], check=True)
    done = subprocess.run([str(tmp_path / "main")], capture_output=True, check=True)
    assert done.stdout == pathlib.Path(file.path).read_bytes()
    with pytest.raises(ValueError, match=r"end in '\.cc'"):
        write_c_array(file, tmp_path / "model.c")


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("CONV_2D", "AddConv2D"),
        ("DEPTHWISE_CONV_2D", "AddDepthwiseConv2D"),
        ("PADV2", "AddPadV2"),
        ("RELU6", "AddRelu6"),
        ("SPACE_TO_BATCH_ND", "AddSpaceToBatchNd"),
        ("UNIDIRECTIONAL_SEQUENCE_LSTM", "AddUnidirectionalSequenceLSTM"),
    ],
)
def test_names_of_resolver_methods(name, method):
    assert resolver_method(name) == method


def test_the_program(dense, tmp_path, capsys):
    figures, source = tmp_path / "figures.json", tmp_path / "model.cc"
    told = run_program(
        "export.micro", dense, f"--result_json={figures}", f"--c_array={source}", "--arena=4000"
    )
    assert not told
    [file] = json.loads(figures.read_text())["files"]
    assert file["resolver"] == ["AddFullyConnected"]
    assert source.exists()
    assert "register AddFullyConnected" in capsys.readouterr().out
    assert run_program("export.micro").startswith("export.micro: name one or more")
    assert "more than the 10 of" in run_program("export.micro", dense, "--arena=10")


def test_a_source_that_cannot_be_written_is_told_before_the_work(dense, tmp_path, monkeypatch):
    monkeypatch.setattr("export.micro.measure", lambda *_, **__: pytest.fail("measured"))
    told = run_program("export.micro", dense, f"--c_array={tmp_path / 'model.c'}")
    assert "must end in '.cc' or '.cpp'" in told
    (tmp_path / "model.h").mkdir()
    told = run_program("export.micro", dense, f"--c_array={tmp_path / 'model.cc'}")
    assert "model.h" in told
