"""Files in fewer bytes, and the traps that give wrong files without a word."""

import os
import re
import types

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

import export
from export.convert import litert
from export.convert.__main__ import main as convert_main
from export.quantize import variants
from export.tflite_file import _dequantized, _quantized
from keras_sparse import data
from tests.optimizers.matrix import thorough

pytestmark = pytest.mark.tensorflow


def classifier():
    x = inputs = keras.Input((8, 8, 1), name="x")
    for _ in range(2):
        x = layers.Conv2D(32, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.8)(x))
    x = layers.GlobalAveragePooling2D()(layers.MaxPooling2D()(x))
    return keras.Model(inputs, layers.Dense(10)(x))


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def trained(digits):
    keras.utils.set_random_seed(0)
    model = classifier()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss=loss)
    model.fit(digits.x_train, digits.y_train, epochs=4, verbose=0)
    return model


@pytest.fixture
def on_digits(digits):
    return {"samples": digits.x_test, "labels": digits.y_test}


def tensors(path):
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    return interpreter, interpreter.get_tensor_details()


def accuracy(path, x, y):
    """By the plain interface of the runtime, not by the one that verified the file."""
    interpreter, _ = tensors(path)
    [source], [target] = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero = source["quantization"]
    if scale:
        limits = np.iinfo(source["dtype"])
        x = np.clip(np.round(x / scale) + zero, limits.min, limits.max)
    correct = 0
    for image, label in zip(x.astype(source["dtype"]), y, strict=True):
        interpreter.set_tensor(source["index"], image[np.newaxis])
        interpreter.invoke()
        correct += interpreter.get_tensor(target["index"])[0].argmax() == label
    return correct / len(y)


@pytest.mark.parametrize(
    ("options", "share", "error"),
    [
        ({"quantize": "float16"}, 0.65, 2e-3),
        pytest.param({"quantize": "dynamic"}, 0.45, 0.05, marks=pytest.mark.slow),
        ({"quantize": "int8"}, 0.45, 0.2),
        pytest.param(
            {"quantize": "int8", "input_output": "int8"}, 0.45, 0.2, marks=pytest.mark.slow
        ),
        pytest.param(
            {"quantize": "int8", "input_output": "uint8"}, 0.45, 0.2, marks=pytest.mark.slow
        ),
        pytest.param({"quantize": "int8", "route": "quantizer"}, 0.45, 0.2, marks=pytest.mark.slow),
        ({"quantize": "int8", "route": "quantizer", "input_output": "int8"}, 0.45, 0.2),
    ],
    ids=str,
)
def test_each_kind_on_real_data(options, share, error, trained, digits, on_digits, tmp_path):
    if options["quantize"] == "int8":
        options = {**options, "representative": digits.x_train[:200]}
    result = export.convert(trained, tmp_path / "model.tflite", **options, **on_digits)
    assert result.bytes < share * 4 * trained.count_params()
    assert 0 < result.max_relative_error < error
    assert result.agreement > 0.97
    assert result.keras_accuracy > 0.9
    x, y = on_digits["samples"], on_digits["labels"]
    assert result.accuracy == pytest.approx(accuracy(result.path, x, y), abs=1e-9)
    assert os.listdir(tmp_path) == ["model.tflite"]
    interpreter, details = tensors(result.path)
    wanted = np.dtype(options.get("input_output", "float32"))
    assert interpreter.get_input_details()[0]["dtype"] == wanted
    assert interpreter.get_output_details()[0]["dtype"] == wanted
    if options["quantize"] == "int8":
        kernels = [d for d in details if tuple(d["shape"]) == (32, 3, 3, 32)]
        assert [k["dtype"] for k in kernels] == [np.int8]
        assert len(kernels[0]["quantization_parameters"]["scales"]) == 32  # per channel


@pytest.mark.parametrize("route", ["litert", "quantizer"])
def test_two_inputs_are_calibrated_each_on_its_own_samples(route, tmp_path):
    """By name: a list of arrays in another order than the file's would swap the ranges."""
    left, right = keras.Input((4,), name="b"), keras.Input((4,), name="a")
    model = keras.Model([left, right], [layers.Dense(3)(left), layers.Dense(3)(right)])
    rng = np.random.default_rng(0)
    samples = [100 * rng.normal(size=(40, 4)), rng.normal(size=(40, 4))]
    path = tmp_path / "model.tflite"
    lax = export.Tolerance(error=0.05, agreement=0.5, accuracy=1.0)
    result = export.convert(
        model,
        path,
        quantize="int8",
        route=route,
        representative=samples,
        samples=samples,
        tolerance=lax,
    )
    assert result.max_relative_error < 0.05


@pytest.mark.parametrize("quantize", thorough([None, "int8"], "int8"))
def test_larger_batches(quantize, trained, digits, on_digits, tmp_path):
    result = export.convert(
        trained,
        tmp_path / "model.tflite",
        quantize=quantize,
        representative=digits.x_train[:50],
        batch_size=4,
        **on_digits,
    )
    assert tuple(tensors(result.path)[0].get_input_details()[0]["shape"]) == (4, 8, 8, 1)
    assert result.samples == len(digits.x_test) == 359  # no multiple of 4
    assert result.agreement > 0.97


def test_an_output_of_the_whole_batch(tmp_path, samples):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.ops.sum(inputs, axis=0))
    result = export.convert(model, tmp_path / "model.tflite", samples=samples, batch_size=2)
    assert result.max_relative_error < 1e-5


def test_an_output_whose_first_axis_holds_the_batch_and_another(tmp_path):
    inputs = keras.Input((4, 2))
    model = keras.Model(inputs, keras.ops.reshape(keras.layers.Dense(3)(inputs), (-1, 3)))
    result = export.convert(model, tmp_path / "model.tflite")
    assert result.max_relative_error < 1e-5


REFUSED = [
    ({"quantize": "int4"}, "`quantize` must be one of"),
    ({"quantize": "int8"}, "needs `representative`"),
    ({"quantize": "int8", "representative": np.zeros((5, 3))}, "`representative` must have"),
    (
        {"quantize": "int8", "representative": np.ones((9, 4)), "sparse_encoding": True},
        "sparse int8",
    ),
    ({"quantize": "dynamic", "sparse_encoding": True}, "sparse int8"),
    ({"quantize": "float16", "route": "quantizer"}, "`route` is for quantize='int8'"),
    ({"input_output": "int8"}, "`input_output` is for quantize='int8'"),
    (
        {
            "quantize": "int8",
            "representative": np.ones((9, 4)),
            "route": "quantizer",
            "input_output": "uint8",
        },
        "Received: input_output='uint8'",
    ),
    ({"batch_size": 0}, "`batch_size` must be"),
    ({"labels": np.zeros(5, int)}, "give both"),
    ({"samples": np.ones((9, 4)), "labels": np.zeros(5, int)}, r"`labels` must be .*\(9,\)"),
    ({"samples": np.ones((9, 4)), "labels": np.zeros(9)}, "Received: float64"),
    ({"tolerance": -1}, "`tolerance` must be"),
    ({"tolerance": "large"}, "`tolerance` must be"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=str)
def test_what_is_refused_before_any_work(options, message, model, tmp_path, monkeypatch):
    monkeypatch.setattr(litert, "_write", None)
    with pytest.raises(ValueError, match=message):
        export.convert(model, tmp_path / "model.tflite", **options)
    assert not os.listdir(tmp_path)


def test_the_quantizer_is_asked_for_where_it_is_missing(model, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ai_edge_quantizer", None)
    monkeypatch.setattr(litert, "_write", None)
    options = {"quantize": "int8", "route": "quantizer", "representative": np.ones((9, 4))}
    with pytest.raises(ValueError, match=r"pip install 'keras-sparse\[quantizer\]'"):
        export.convert(model, tmp_path / "model.tflite", **options)


def test_samples_that_are_not_like_the_data_are_found(trained, digits, on_digits, tmp_path):
    """Calibrated on a hundredth of the range, everything is clipped."""
    few = digits.x_train[:50] / 100
    with pytest.raises(export.ExportError, match="differs from the Keras model by"):
        export.convert(
            trained, tmp_path / "m.tflite", quantize="int8", representative=few, **on_digits
        )
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("policy", thorough(["mixed_float16", "mixed_bfloat16"], "mixed_float16"))
def test_mixed_precision_is_rebuilt_in_float32(policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        inputs = keras.Input((8, 8, 3))
        block = keras.Sequential(
            [keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.BatchNormalization()]
        )
        x = keras.ops.relu(block(inputs)) * 2.0
        x = layers.TimeDistributed(layers.Dense(5))(x)
        model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    finally:
        keras.config.set_dtype_policy("float32")
    # The file needs no loss, so one that cannot be loaded is no hindrance.
    model.compile("sgd", lambda y, p: keras.ops.mean(p))
    # Left as it is, the file needs TensorFlow.
    raw = tmp_path / "raw.tflite"
    spec = keras.InputSpec(shape=(1, 8, 8, 3), dtype="float32", name="x")
    if policy == "mixed_float16":
        model.export(raw, format="litert", input_signature=[spec], verbose=False)
        assert any(name.startswith("Flex") for name in export.operators(raw))
        with pytest.raises(export.ExportError, match="needs TensorFlow itself to run: Flex"):
            export.verify(model, raw)
    result = export.convert(model, tmp_path / "model.tflite")
    assert not [name for name in result.operators if name.startswith(("Flex", "CAST"))]
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
    half = keras.ops.convert_to_numpy(keras.ops.cast(model(x), "float32"))
    interpreter, _ = tensors(result.path)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x[:1])
    interpreter.invoke()
    got = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(got, half[:1], atol=0.05 * np.abs(half).max())
    assert keras.config.dtype_policy().name == "float32"


def pruned(share=0.8):
    model = classifier()
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D):
            kernel = keras.ops.convert_to_numpy(layer.kernel).copy()
            kernel[np.random.default_rng(0).random(kernel.shape) < share] = 0
            layer.kernel.assign(kernel)
    return model


@pytest.mark.parametrize("quantize", thorough([None, "float16"], None))
def test_sparse_encoding_is_smaller_and_equal(quantize, tmp_path):
    model = pruned()
    sizes = [
        export.convert(
            model, tmp_path / "model.tflite", quantize=quantize, sparse_encoding=sparse
        ).bytes
        for sparse in (False, True)
    ]
    assert sizes[1] < 0.7 * sizes[0]


def pruned_dense():
    model = keras.Sequential([keras.Input((64,), name="x"), layers.Dense(64), layers.Dense(8)])
    kernel = keras.ops.convert_to_numpy(model.layers[0].kernel).copy()
    kernel[np.random.default_rng(0).random(kernel.shape) < 0.9] = 0
    model.layers[0].kernel.assign(kernel)
    return model


@pytest.mark.parametrize(
    ("make_model", "quantize"),
    thorough(
        [(pruned, "dynamic"), (pruned_dense, "dynamic"), (pruned_dense, "int8")],
        (pruned_dense, "int8"),
    ),
)
def test_sparse_int8_made_by_hand_does_not_pass(make_model, quantize, tmp_path):
    """Why it is refused: the converter writes it, and the runtime does not run it."""
    import tensorflow as tf

    model, path = make_model(), tmp_path / "model.tflite"
    shape = model.inputs[0].shape[1:]
    samples = np.random.default_rng(0).normal(size=(20, *shape)).astype("float32")
    calibration = {"representative_dataset": lambda: ([x[None]] for x in samples)}
    model.export(
        path,
        format="litert",
        input_signature=[keras.InputSpec(shape=(1, *shape), dtype="float32", name="x")],
        verbose=False,
        optimizations=[tf.lite.Optimize.DEFAULT, tf.lite.Optimize.EXPERIMENTAL_SPARSITY],
        **(calibration if quantize == "int8" else {}),
    )
    assert "DENSIFY" in export.operators(path)
    with pytest.raises(export.ExportError, match=r"LiteRT does not run .* failed to prepare"):
        export.verify(model, path, quantize=quantize, sparse_encoding=True, samples=samples)


def test_predictions_and_accuracy_are_asked_for(tmp_path):
    """Outputs that are close, and yet choose another class for most samples."""
    inputs = keras.Input((4,), name="x")
    base = np.random.default_rng(0).normal(size=(4, 1)).astype("float32")
    model = keras.Sequential([inputs, layers.Dense(2)])
    model.set_weights([np.hstack([base, base]), np.array([0.001, 0.0], "float32")])
    path = tmp_path / "model.tflite"
    samples = np.random.default_rng(1).normal(size=(30, 4))
    export.convert(model, path, samples=samples)
    model.set_weights([np.hstack([base, base]), np.array([0.0, 0.001], "float32")])
    near = {"samples": samples, "tolerance": 0.01}
    with pytest.raises(export.ExportError, match=r"predicts the same .* for 0\.00% of 30 samples"):
        export.verify(model, path, **near)
    lax = export.Tolerance(error=0.01, agreement=0.0, accuracy=0.5)
    with pytest.raises(export.ExportError, match=r"accuracy of 0\.0000, the Keras model 1\.0000"):
        export.verify(model, path, samples=samples, labels=np.ones(30, int), tolerance=lax)
    better = export.verify(model, path, samples=samples, labels=np.zeros(30, int), tolerance=lax)
    assert (better.accuracy, better.keras_accuracy, better.agreement) == (1.0, 0.0, 0.0)


def test_a_file_too_small_for_its_kind(tmp_path):
    small = keras.Sequential([keras.Input((4,), name="x"), layers.Dense(3)])
    large = keras.Sequential([keras.Input((4,), name="x"), layers.Dense(2000), layers.Dense(3)])
    path = tmp_path / "model.tflite"
    export.convert(small, path)
    for kind in (None, "float16", "dynamic", "int8"):
        with pytest.raises(export.ExportError, match="weights are missing"):
            export.verify(large, path, quantize=kind)


@settings(deadline=None)
@given(
    scale=st.floats(1e-6, 1e3),
    zero=st.integers(-128, 127),
    levels=st.lists(st.floats(-128, 127), min_size=1, max_size=8),
)
def test_integers_stand_for_the_nearest_float(scale, zero, levels):
    detail = {"quantization": (scale, zero), "dtype": np.int8}
    value = scale * (np.array(levels) - zero)
    stored = _quantized(value, detail)
    assert stored.dtype == np.int8
    assert np.abs(_dequantized(stored, detail) - value).max() <= 0.501 * scale


def test_the_command_line(trained, digits, on_digits, tmp_path, capsys):
    trained.save(tmp_path / "model.keras")
    np.savez(tmp_path / "x.npz", x=digits.x_test, y=digits.y_test)
    values = types.SimpleNamespace(
        quantize="int8",
        representative=str(tmp_path / "x.npz"),
        input_output="uint8",
        route="litert",
        sparse_encoding=False,
        batch_size=1,
        input_shape=[],
        **{"import": None},
    )
    convert_main(["", str(tmp_path / "model.keras"), str(tmp_path / "model.tflite")], values)
    out = capsys.readouterr().out
    assert " on 359 samples\n" in out
    assert re.search(r"same prediction +\d+\.\d\d%\naccuracy +0\.9", out)
    assert tensors(tmp_path / "model.tflite")[0].get_input_details()[0]["dtype"] == np.uint8


def test_a_kind_that_fails_does_not_stop_the_others(trained, digits, on_digits, tmp_path):
    found = variants.write_variants(
        {"model": trained},
        tmp_path,
        ("int8", "float16"),
        representative=digits.x_train[:20] / 100,
        **on_digits,
    )
    assert [(v.quantize, v.error is None) for v in found] == [
        (None, True),
        ("int8", False),
        ("float16", True),
    ]
    rows = variants.rows(found, export.benchmark(variants.paths(found), rounds=1))
    text = variants.markdown(rows)
    assert [line.split(" | ")[0] for line in text[2:4]] == [
        "| model.tflite",
        "| model-float16.tflite",
    ]
    assert text[5].startswith("No int8 file of model: ")
    assert rows[2]["accuracy"] == found[2].verification.accuracy
    assert rows[2]["gzip_bytes"] < rows[2]["bytes"] < rows[0]["bytes"]
    assert sorted(os.listdir(tmp_path)) == ["model-float16.tflite", "model.tflite"]


def test_kinds_are_checked():
    assert variants.checked_kinds(["int8", "float16", "int8"]) == ("int8", "float16")
    with pytest.raises(ValueError, match=r"any of float16, dynamic, int8\. Received: int4"):
        variants.checked_kinds(["int8", "int4"])


def test_the_table_of_files_in_80_columns(capsys):
    figures = {"bytes": 2_281_702, "ratio_to_keras": 1.0, "accuracy": 0.9123, "agreement": 1.0}
    row = {"network": "net", "quantize": "int8", "file": "a" * 50, **figures}
    row |= {"latency_ms_min": 0.0123, "max_relative_error": 1.2e-6}
    failed = {"network": "net", "quantize": "float16", "error": "[/job:localhost] failed [b]"}
    variants.show([row, {**row, "file": "b[int8].tflite"}, failed])
    text = capsys.readouterr().out
    assert "No float16 file of net: [/job:localhost] failed [b]" in text
    assert "b[int8].tflite" in text
    assert "…" not in text
