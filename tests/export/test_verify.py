import keras
import numpy as np
import pytest
from keras import layers

import export

pytestmark = pytest.mark.tensorflow


def write(model, path):
    """A file that nobody has checked, its input named "x"."""
    spec = keras.InputSpec(shape=(1, 4), dtype="float32", name="x")
    model.export(path, format="litert", input_signature=[spec], verbose=False)
    return path


def dense(units=3, hidden=()):
    inputs = keras.Input((4,), name="x")
    outputs = inputs
    for width in (*hidden, units):
        outputs = layers.Dense(width)(outputs)
    return keras.Model(inputs, outputs)


def test_a_true_file(tmp_path, samples):
    model = dense()
    path = write(model, tmp_path / "model.tflite")
    result = export.verify(model, path, samples=samples)
    assert result.samples == 5
    assert result.max_abs_error <= 1e-6
    assert result.operators == export.operators(path) == {"FULLY_CONNECTED": 1}


def test_the_error_is_the_largest_difference(tmp_path, samples):
    model = dense()
    path = write(model, tmp_path / "model.tflite")
    kernel, bias = model.get_weights()
    model.set_weights([kernel, bias + np.array([0, 0, 0.5])])
    scale = np.abs(model.predict(samples, verbose=0)).max()
    lax = export.Tolerance(error=1.0, agreement=0.0, accuracy=1.0)
    result = export.verify(model, path, samples=samples, tolerance=lax)
    assert result.max_abs_error == pytest.approx(0.5, abs=1e-5)
    assert result.max_relative_error == pytest.approx(0.5 / scale, abs=1e-5)
    with pytest.raises(export.ExportError, match=r"differs from the Keras model by 0\.5"):
        export.verify(model, path, samples=samples)


def test_one_wrong_sample_among_many_is_found(tmp_path):
    inputs = keras.Input((4,), name="x")
    path = write(keras.Model(inputs, keras.ops.relu(inputs)), tmp_path / "model.tflite")
    samples = np.ones((20, 4))
    identity = keras.Model(inputs, inputs + 0.0)
    assert export.verify(identity, path, samples=samples).max_abs_error == 0.0
    samples[13, 2] = -1.0
    with pytest.raises(export.ExportError, match="differs"):
        export.verify(identity, path, samples=samples)


def test_nan_of_the_file_alone_is_a_failure(tmp_path):
    inputs = keras.Input((4,), name="x")
    path = write(keras.Model(inputs, keras.ops.sqrt(inputs)), tmp_path / "model.tflite")
    model = keras.Model(inputs, keras.ops.sqrt(keras.ops.abs(inputs)))
    positive = np.ones((2, 4))
    assert export.verify(model, path, samples=positive).max_abs_error == 0.0
    # One NaN among good values: a maximum taken carelessly would pass it over.
    with pytest.raises(export.ExportError, match="gives NaN or infinity in output 'output_0'; Ker"):
        export.verify(model, path, samples=[[1, 1, 1, 1], [1, -1, 1, 1], [1, 1, 1, 1]])


def test_nan_of_both_is_a_failure(tmp_path):
    inputs = keras.Input((4,), name="x")
    model = keras.Model(inputs, keras.ops.sqrt(inputs))
    path = write(model, tmp_path / "model.tflite")
    with pytest.raises(export.ExportError, match="Keras model itself gives NaN"):
        export.verify(model, path, samples=[[1, 1, 1, 1], [1, -1, 1, 1]])


def test_variables_in_place_of_weights(tmp_path):
    """A converter that is told to track a Keras 3 model loads, and computes garbage."""
    import tensorflow as tf

    model = dense()
    function = tf.function(model, input_signature=[tf.TensorSpec((1, 4))])
    concrete = function.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], model)
    path = tmp_path / "model.tflite"
    path.write_bytes(converter.convert())
    assert "VAR_HANDLE" in export.operators(path)
    with pytest.raises(export.ExportError, match="keeps variables in place of constants"):
        export.verify(model, path)


def test_flex_operators(tmp_path, flex_model):
    path = write(flex_model, tmp_path / "model.tflite")
    assert "FlexMatrixDeterminant" in export.operators(path)
    with pytest.raises(export.ExportError, match="needs TensorFlow itself to run: FlexMatrixDet"):
        export.verify(flex_model, path)


def test_a_file_too_small_for_the_weights(tmp_path):
    path = write(dense(), tmp_path / "model.tflite")
    with pytest.raises(export.ExportError, match="weights are missing"):
        export.verify(dense(hidden=(300,)), path)


def test_equal_weights_are_stored_once(tmp_path):
    """Dead layers are all zero: their kernels share one buffer, and that is no missing weight."""
    model = dense(64, hidden=(64,) * 6)
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    path = write(model, tmp_path / "model.tflite")
    assert path.stat().st_size < 0.5 * 4 * model.count_params()
    assert export.verify(model, path).max_abs_error == 0.0


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.99])
def test_damaged_files(share, tmp_path):
    model = dense()
    path = write(model, tmp_path / "model.tflite")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(export.ExportError, match="LiteRT does not load"):
        export.verify(model, path)


def test_other_outputs(tmp_path):
    path = write(dense(3), tmp_path / "model.tflite")
    inputs = keras.Input((4,), name="x")
    # One unit would broadcast against three.
    for model in (keras.Model(inputs, {"head": layers.Dense(3)(inputs)}), dense(2), dense(1)):
        with pytest.raises(export.ExportError, match=r"has the outputs .* the model"):
            export.verify(model, path)


def test_other_inputs(tmp_path):
    path = write(dense(), tmp_path / "model.tflite")
    for shape, name in (((4,), "y"), ((5,), "x")):
        model = keras.Sequential([keras.Input(shape, name=name), layers.Dense(3)])
        with pytest.raises(export.ExportError, match=r"has the inputs .* the model"):
            export.verify(model, path)


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_every_row_of_an_embedding_is_compared(dtype, tmp_path):
    inputs = keras.Input((5,), dtype=dtype, name="ids")
    model = keras.Model(inputs, layers.Flatten()(layers.Embedding(30, 2, name="table")(inputs)))
    path = tmp_path / "model.tflite"
    assert export.convert(model, path).drawn
    model.get_layer("table").embeddings.assign_add(np.eye(30, 2, k=-25))
    with pytest.raises(export.ExportError, match="differs from the Keras model by 1 "):
        export.verify(model, path)


def test_a_file_that_is_not_of_the_kind_that_was_asked_for(tmp_path):
    model = dense()
    path = write(model, tmp_path / "model.tflite")
    with pytest.raises(export.ExportError, match="FULLY_CONNECTED gives float32 in"):
        export.verify(model, path, quantize="int8")
    export.convert(model, path, quantize="dynamic")
    with pytest.raises(export.ExportError, match="was to have int8 activations"):
        export.verify(model, path, quantize="int8")


def test_what_stays_in_floats_in_an_int8_file_is_told(tmp_path):
    inputs = keras.Input((4, 4, 4, 2), name="x")
    x = layers.Conv3D(4, 3)(inputs)
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))
    x = np.random.default_rng(0).normal(size=(20, 4, 4, 4, 2))
    options = {"quantize": "int8", "representative": x, "samples": x}
    result = export.convert(model, tmp_path / "model.tflite", **options)
    assert result.float_operators == {"CONV_3D": 1}


@pytest.fixture(scope="module")
def masked():
    """Attention whose mask is as low as a float can be, and numbers of other sizes beside it."""
    inputs = keras.Input((6, 8), name="x")
    scores = keras.ops.matmul(inputs, keras.ops.transpose(inputs, (0, 2, 1)))
    mask = keras.ops.cast(1 - np.tril(np.ones((6, 6))), "float32")
    shares = keras.ops.softmax(scores + mask * -2e38)
    return keras.Model(inputs, layers.Dense(3)(keras.ops.matmul(shares, inputs)))


def test_an_int8_file_and_what_ruins_its_range(masked, tmp_path):
    path = tmp_path / "model.tflite"
    x = np.random.default_rng(0).normal(size=(40, 6, 8))
    lax = export.Tolerance(error=10.0, agreement=0.0, accuracy=1.0)
    export.convert(
        masked, path, quantize="int8", input_output="int8", representative=x, tolerance=lax
    )
    with pytest.raises(
        export.ExportError,
        match=r"differs .* The tensor '\S*' goes from -2e\+38 to .*`tolerance=`.*"
        r"route='quantizer'.*quantize='dynamic'.*quantization_aware",
    ):
        export.verify(masked, path, quantize="int8", samples=x, input_output="int8")
    assert export.verify(masked, path, quantize="int8", tolerance=lax).float_operators == {}
    for input_output in ("float32", "uint8"):
        with pytest.raises(export.ExportError, match=f"input 'x' in {input_output}, and has it in"):
            export.verify(masked, path, quantize="int8", samples=x, input_output=input_output)


def test_files_that_keras_exports_by_itself(tmp_path, samples):
    """Their inputs have Keras' names, and their outputs positions."""
    inputs = keras.Input((4,))
    model = keras.Model(inputs, [layers.Dense(2, name="age")(inputs), layers.Dense(3)(inputs)])
    path = tmp_path / "model.tflite"
    model.export(path, format="litert", verbose=False)
    result = export.verify(model, path, samples=samples)
    assert max(result.output_errors.values()) < 1e-6
    assert set(result.output_errors) == {"age", "output_1"}


def test_missing_file(tmp_path):
    with pytest.raises(ValueError, match="is no file"):
        export.verify(dense(), tmp_path / "model.tflite")
