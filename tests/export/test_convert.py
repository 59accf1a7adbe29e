import os

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

import export
from export.convert import litert

pytestmark = pytest.mark.tensorflow


def convolutional():
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3, padding="same"),
            layers.BatchNormalization(moving_mean_initializer="ones"),
            layers.ReLU(),
            layers.DepthwiseConv2D(3),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )


def test_file_equals_keras_on_the_users_samples(tmp_path):
    model = convolutional()
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), "uint8")
    result = export.convert(model, tmp_path / "model.tflite", samples=images)
    assert result.path == tmp_path / "model.tflite"
    assert result.bytes == result.path.stat().st_size
    assert (result.samples, result.drawn) == (12, False)
    assert result.max_relative_error <= 1e-5
    assert result.operators["CONV_2D"] == 1
    assert os.listdir(tmp_path) == ["model.tflite"]

    # The claim, checked by another path through the runtime than the one that made it.
    interpreter = Interpreter(model_path=str(result.path))
    interpreter.allocate_tensors()
    [input_detail] = interpreter.get_input_details()
    [output_detail] = interpreter.get_output_details()
    assert list(input_detail["shape"]) == [1, 8, 8, 3]
    errors = []
    for image, wanted in zip(images, model.predict(images, verbose=0), strict=True):
        interpreter.set_tensor(input_detail["index"], image[np.newaxis].astype("float32"))
        interpreter.invoke()
        errors.append(np.abs(interpreter.get_tensor(output_detail["index"])[0] - wanted).max())
    assert max(errors) <= 1e-6


def test_samples_are_drawn_when_none_are_given(model, tmp_path):
    result = export.convert(model, tmp_path / "model.tflite")
    assert (result.samples, result.drawn) == (8, True)
    assert result.max_abs_error <= 1e-6
    assert result.to_dict()["path"] == str(tmp_path / "model.tflite")


def test_an_existing_file_is_replaced(model, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"old")
    export.convert(model, path)
    assert path.read_bytes()[4:8] == b"TFL3"


def test_a_relative_path_after_the_current_folder_has_changed(model, tmp_path, monkeypatch):
    export.convert(model, tmp_path / "first.tflite")  # the process of the converters is there now
    monkeypatch.chdir(tmp_path)
    calibration = np.random.default_rng(0).normal(size=(64, *model.input_shape[1:]))
    export.convert(model, "second.tflite", quantize="int8", representative=calibration)
    assert (tmp_path / "second.tflite").exists()


def test_nothing_is_printed(model, tmp_path, capfd):
    export.convert(model, tmp_path / "model.tflite")
    assert not capfd.readouterr().out


def two_inputs(as_dict):
    left, right = keras.Input((4,), name="left"), keras.Input((2, 3), name="right")
    merged = layers.Concatenate()([left, layers.Flatten()(right)])
    outputs = [layers.Dense(2)(merged), layers.Dense(5)(merged), right]
    if as_dict:
        # Neither inputs nor outputs in alphabetical order.
        return keras.Model({"right": right, "left": left}, dict(zip("zay", outputs, strict=True)))
    return keras.Model([left, right], outputs)


@pytest.mark.parametrize("as_dict", [False, True])
def test_several_inputs_and_outputs(as_dict, tmp_path):
    model = two_inputs(as_dict)
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(6, 4)), rng.normal(size=(6, 2, 3))
    samples = {"left": left, "right": right} if as_dict else [left, right]
    result = export.convert(model, tmp_path / "model.tflite", samples=samples)
    assert result.max_relative_error <= 1e-5
    signature = Interpreter(model_path=str(result.path)).get_signature_list()["serving_default"]
    assert signature["inputs"] == ["left", "right"]
    assert signature["outputs"] == (
        ["a", "y", "z"] if as_dict else ["output_0", "output_1", "output_2"]
    )


def test_more_than_ten_outputs_keep_their_order(tmp_path):
    inputs = keras.Input((3,))
    outputs = [layers.Dense(2, bias_initializer="ones")(inputs) for _ in range(12)]
    result = export.convert(keras.Model(inputs, outputs), tmp_path / "model.tflite")
    assert result.max_relative_error <= 1e-5


def test_an_input_that_the_model_ignores(tmp_path):
    used, ignored = keras.Input((3,), name="used"), keras.Input((2,), name="ignored")
    model = keras.Model([ignored, used], layers.Dense(2)(used))
    samples = [np.ones((4, 2)), np.ones((4, 3))]
    result = export.convert(model, tmp_path / "model.tflite", samples=samples)
    assert result.max_relative_error <= 1e-5


def test_an_output_without_a_batch_axis(tmp_path, samples):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.ops.sum(inputs))
    assert export.convert(model, tmp_path / "model.tflite", samples=samples).samples == 5


def test_an_input_name_that_tensorflow_would_change(tmp_path):
    model = keras.Sequential([keras.Input((4,), name="the in-put"), layers.Dense(2)])
    result = export.convert(model, tmp_path / "model.tflite")
    signature = Interpreter(model_path=str(result.path)).get_signature_list()["serving_default"]
    assert signature["inputs"] == ["input_0"]


@pytest.mark.parametrize("options", [{}, {"axis": -1, "keepdims": True}], ids=str)
def test_argmax_and_argmin(options, tmp_path):
    """Of Keras, which LiteRT lacks an operator for, also in a model within the model."""
    inner = keras.Input((4, 3))
    inner = keras.Model(inner, keras.ops.argmin(inner, axis=1))
    inputs = keras.Input((4, 3), batch_size=None if options else 1, name="x")
    model = keras.Model(inputs, [keras.ops.argmax(inputs, **options), inner(inputs)])
    x = np.random.default_rng(0).normal(size=(5, 4, 3))
    result = export.convert(model, tmp_path / "model.tflite", samples=x)
    assert result.output_errors == {"output_0": 0.0, "output_1": 0.0}
    assert result.operators["ARG_MAX"] == 1
    first, second = model(x[:1])
    assert np.array_equal(first, x[:1].argmax(**options))
    assert np.array_equal(second, x[:1].argmin(1))


def test_sizes_that_stay_open(tmp_path):
    inputs = keras.Input((None, None, 3), name="x")
    x = layers.Conv2D(4, 3, strides=2, activation="relu")(inputs)
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    path = tmp_path / "model.tflite"
    export.convert(model, path, input_shape=(None, None, 3))
    for shape in ((6, 9, 10, 3), (2, 20, 7, 3)):
        images = np.random.default_rng(0).normal(size=shape)
        assert export.verify(model, path, samples=images).max_relative_error < 1e-5
    with pytest.raises(export.ExportError, match=r"open sizes, \(1, -1, -1, 3\)"):
        export.benchmark([path], rounds=1)
    # A file that has fixed them takes no others.
    export.convert(model, path, input_shape=(9, 10, 3))
    assert export.verify(model, path).max_relative_error < 1e-5
    with pytest.raises(ValueError, match=r"\(n, 9, 10, 3\).*Received: \(2, 20, 7, 3\)"):
        export.verify(model, path, samples=images)


def test_sizes_that_cannot_stay_open(tmp_path):
    inputs = keras.Input((None, 4), name="x")
    model = keras.Model(inputs, layers.TimeDistributed(layers.Dense(3))(inputs))
    with pytest.raises(export.ExportError, match=r"outputs .* give integers in `input_shape`"):
        export.convert(model, tmp_path / "model.tflite", input_shape=(None, 4))
    export.convert(model, tmp_path / "model.tflite", input_shape=(9, 4))


def test_pixels_that_are_integers_in_keras_stay_so(tmp_path):
    inputs = keras.Input((4, 4, 3), dtype="uint8", name="x")
    x = layers.Flatten()(layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, layers.Dense(2)(x))
    images = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3))
    options = {"quantize": "int8", "representative": images, "samples": images}
    result = export.convert(model, tmp_path / "m.tflite", input_output="int8", **options)
    [detail] = Interpreter(model_path=str(result.path)).get_input_details()
    assert detail["dtype"] == np.uint8


def test_a_generator_is_gone_through_once(model, tmp_path):
    batches = ([batch] for batch in np.random.default_rng(0).normal(size=(20, 1, 4)))
    options = {"quantize": "int8", "representative": batches, "samples": batches}
    assert export.convert(model, tmp_path / "model.tflite", **options).samples == 20


def test_integer_inputs(tmp_path):
    model = keras.Sequential(
        [keras.Input((5,), dtype="int32"), layers.Embedding(7, 3), layers.Flatten()]
    )
    result = export.convert(model, tmp_path / "a.tflite")
    assert result.max_abs_error == 0.0
    tokens = np.random.default_rng(0).integers(0, 7, (9, 5))
    assert export.convert(model, tmp_path / "b.tflite", samples=tokens).samples == 9


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)

    def call(self, inputs):
        return self.dense(inputs)


def test_subclassed_model_that_was_called(tmp_path, samples):
    model = Subclassed()
    model(samples)
    assert export.convert(model, tmp_path / "model.tflite", samples=samples).samples == 5


class OfADict(Subclassed):
    def call(self, inputs):
        return self.dense(inputs["zeta"]) - 2 * self.dense(inputs["alpha"])


def test_subclassed_model_of_several_inputs(tmp_path, samples):
    model = OfADict()
    model({"zeta": samples, "alpha": samples})
    result = export.convert(
        model, tmp_path / "model.tflite", samples={"zeta": samples, "alpha": 9 * samples}
    )
    assert result.max_relative_error < 1e-6
    signature = Interpreter(model_path=str(result.path)).get_signature_list()["serving_default"]
    assert signature["inputs"] == ["alpha", "zeta"]


@settings(max_examples=5, deadline=None)
@given(widths=st.lists(st.integers(1, 9), min_size=1, max_size=3), seed=st.integers(0, 99))
def test_random_dense_networks_are_equal(widths, seed, tmp_path_factory):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [keras.Input((5,)), *[layers.Dense(width, activation="tanh") for width in widths]]
    )
    path = tmp_path_factory.mktemp("random") / "model.tflite"
    assert export.convert(model, path).max_relative_error <= 1e-5


@pytest.mark.parametrize(
    ("fixture", "message"),
    [
        ("flex_model", "FlexMatrixDeterminant"),
        ("stateful_model", "variables in place of constants: ASSIGN_VARIABLE"),
        ("nan_model", "Keras model itself gives NaN"),
    ],
)
def test_a_file_that_fails_is_not_left_behind(fixture, message, tmp_path, request):
    path = tmp_path / "model.tflite"
    with pytest.raises(export.ExportError, match=message) as error:
        export.convert(request.getfixturevalue(fixture), path)
    assert not os.listdir(tmp_path)
    assert f".{path.name}." not in str(error.value)  # the temporary name

    path.write_bytes(b"good")
    with pytest.raises(export.ExportError, match=message):
        export.convert(request.getfixturevalue(fixture), path)
    assert path.read_bytes() == b"good"
    assert os.listdir(tmp_path) == ["model.tflite"]


def test_what_tensorflow_cannot_convert_is_told_in_one_line(tmp_path, model):
    model.quantize("int8")
    with pytest.raises(export.ExportError, match="TensorFlow cannot convert") as error:
        export.convert(model, tmp_path / "model.tflite")
    assert "\n" not in str(error.value)
    assert not os.listdir(tmp_path)


def nested_outputs():
    inputs = keras.Input((3,), name="inputs")
    return keras.Model(inputs, [inputs, [layers.Dense(2, name="head")(inputs)]])


@pytest.mark.parametrize(
    ("make_model", "message"),
    [
        (lambda: keras.Sequential([layers.Dense(3)]), "not built"),
        (lambda: keras.Sequential([keras.Input((None, 3)), layers.Dense(3)]), "unknown dimension"),
        (
            lambda: keras.Sequential(
                [keras.Input((3,)), layers.Dense(3, dtype="float16", name="half")]
            ),
            "'half' computes in float16.*policy 'float32'",
        ),
        (nested_outputs, "nested outputs"),
        (lambda: "model.keras", "must be a keras.Model"),
    ],
)
def test_models_that_are_refused_before_any_work(make_model, message, tmp_path, monkeypatch):
    monkeypatch.setattr(litert, "_write", None)
    with pytest.raises(ValueError, match=message):
        export.convert(make_model(), tmp_path / "model.tflite")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.onnx", "must end in '.tflite'"),
        ("absent/model.tflite", "cannot be written: No such file"),
        ("folder.tflite", "is a folder"),
        ("file/model.tflite", "cannot be written: Not a directory"),
    ],
)
def test_paths_that_are_refused_before_any_work(name, message, model, tmp_path, monkeypatch):
    monkeypatch.setattr(litert, "_write", None)
    (tmp_path / "folder.tflite").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=message):
        export.convert(model, tmp_path / name)


@pytest.mark.parametrize("samples", [np.zeros((5, 3)), np.zeros(4), np.zeros((0, 4)), 1.0, [[]]])
def test_samples_that_are_refused_before_any_work(samples, model, tmp_path, monkeypatch):
    monkeypatch.setattr(litert, "_write", None)
    with pytest.raises(ValueError, match=r"`samples` must have the shapes .*\(n, 4\).*Received"):
        export.convert(model, tmp_path / "model.tflite", samples=samples)


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_a_path_with_signs_of_a_pattern(quantize, tmp_path):
    folder = tmp_path / "a[1] b*?{c}"
    folder.mkdir()
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
    x = np.random.default_rng(0).normal(size=(8, 6)).astype("float32")
    export.convert(model, folder / "m[2].tflite", quantize=quantize, representative=quantize and x)
    assert [path.name for path in folder.iterdir()] == ["m[2].tflite"]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("quantize", [None, "int8"])
@pytest.mark.parametrize("nested", [False, True])
def test_mixed_precision_without_an_input_layer(policy, quantize, nested, tmp_path):
    model = keras.Sequential(
        [
            layers.Rescaling(1 / 255, dtype=policy),
            layers.Conv2D(4, 3, activation="relu", dtype=policy),
            layers.Flatten(dtype=policy),
            layers.Dense(3, dtype="float32"),
        ]
    )
    x = np.random.default_rng(0).integers(0, 256, (20, 6, 6, 3)).astype("float32")
    model.build(x.shape)
    if nested:
        inputs = keras.Input((6, 6, 3))
        model = keras.Model(inputs, model(inputs))
    path = tmp_path / "model.tflite"
    ranges = x if quantize else None
    found = export.convert(model, path, quantize=quantize, representative=ranges, samples=x)
    assert found.max_relative_error < (0.1 if quantize else 1e-4)
    assert Interpreter(str(path)).get_input_details()[0]["dtype"] == np.float32


def test_targets_beside_samples_of_their_shape(tmp_path):
    model = keras.Sequential([keras.Input((6, 6, 2)), layers.Conv2D(2, 3, padding="same")])
    x = np.random.default_rng(0).normal(size=(20, 6, 6, 2)).astype("float32")
    for samples in ((x, 1000 * x), (x, 1000 * x, np.ones(20))):
        assert export.convert(model, tmp_path / "m.tflite", samples=samples).samples == 20


@pytest.mark.parametrize(
    ("make_model", "labels"),
    [
        (layers.Dense(3), [0, 1, 3]),
        (layers.Dense(1), [0, 1, 1]),
        (layers.Reshape((2, 2)), [0, 1, 1]),
        (lambda x: [layers.Dense(3)(x), layers.Dense(3)(x)], [0, 1, 2]),
    ],
)
def test_labels_that_are_refused_before_any_work(make_model, labels, tmp_path, monkeypatch):
    monkeypatch.setattr(litert, "_write", None)
    x = keras.Input((4,))
    model = keras.Model(x, make_model(x))
    with pytest.raises(ValueError, match="`labels` need a model with one output"):
        export.convert(model, tmp_path / "m.tflite", samples=np.zeros((3, 4)), labels=labels)
