"""Multiply-accumulates of TFLite files, by hand and against the Keras model they came from."""

import keras
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers

from export import ExportError
from export.benchmark.macs import FileMacs, file_macs
from keras_sparse.surgery import count_macs
from tests.export.tflite_file import Operators, Types, write, write_dense

sizes = st.integers(1, 40)


@given(inputs=sizes, outputs=sizes)
def test_dense(tmp_path_factory, inputs, outputs):
    path = write_dense(tmp_path_factory.mktemp("macs") / "dense.tflite", inputs, outputs)
    macs = file_macs(path)
    assert macs.total == inputs * outputs
    # The inputs of the network are not padded, its channels are.
    assert macs.tiled == inputs * (outputs + -outputs % 16)
    assert file_macs(path, arm=True).tiled == inputs * (outputs + -outputs % 8)


@given(first=sizes, second=sizes)
def test_hidden_channels_are_rounded_on_both_sides(tmp_path_factory, first, second):
    shapes = [(1, 3), (first, 3), (1, first), (1, first), (second, first), (1, second)]
    path = write(
        tmp_path_factory.mktemp("macs") / "two.tflite",
        [(shape, Types.INT8) for shape in shapes],
        [
            (Operators.FULLY_CONNECTED, (0, 1, -1), (2,)),
            (Operators.RELU, (2,), (3,)),
            (Operators.FULLY_CONNECTED, (3, 4), (5,)),
        ],
    )
    a, b = first + -first % 16, second + -second % 16
    macs = file_macs(path, arm=True)  # integers have the wide tiles on ARM, too
    assert macs.total == 3 * first + first * second
    assert macs.tiled == 3 * a + a * b


@given(steps=sizes, inputs=sizes, units=sizes)
def test_an_lstm(tmp_path_factory, steps, inputs, units):
    kernels, recurrent = [(units, inputs)] * 4, [(units, units)] * 4
    shapes = [(1, steps, inputs), *kernels, *recurrent, (1, steps, units)]
    path = write(
        tmp_path_factory.mktemp("macs") / "lstm.tflite",
        [(shape, Types.FLOAT32) for shape in shapes],
        [(Operators.UNIDIRECTIONAL_SEQUENCE_LSTM, tuple(range(9)), (9,))],
    )
    macs = file_macs(path)
    assert macs.total == steps * 4 * units * (inputs + units)
    assert macs.uncounted == ()


def test_loops_are_named(tmp_path):
    tensors = [((1, 4), Types.FLOAT32), ((1, 4), Types.FLOAT32)]
    path = write(tmp_path / "loop.tflite", tensors, [(Operators.WHILE, (0,), (1,))])
    macs = file_macs(path)
    assert macs.uncounted == ("WHILE",)
    assert str(macs) == "0+"
    assert str(FileMacs(1234, 1234)) == "1,234"


@pytest.mark.parametrize(
    "content", [b"", b"not a model at all", b"\x1c\0\0\0TFL3" + bytes(range(40))]
)
def test_what_is_no_tflite_file(content, tmp_path):
    (tmp_path / "model.tflite").write_bytes(content)
    with pytest.raises(ExportError, match=r"LiteRT does not load .*model\.tflite"):
        file_macs(tmp_path / "model.tflite")


@pytest.mark.slow
@pytest.mark.tensorflow
def test_a_converted_network_has_the_macs_of_its_keras_model(tmp_path):
    import export

    inputs = keras.Input((12, 12, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.DepthwiseConv2D(3)(x)
    x = layers.SeparableConv2D(12, 3, padding="same")(x)
    x = layers.Conv2D(6, 1, groups=2)(x)
    x = layers.Reshape((16, 6))(x)
    x = layers.MultiHeadAttention(2, 4)(x, x)
    x = layers.Conv1D(5, 3)(x)
    outputs = layers.Dense(3)(layers.Flatten()(x))
    model = keras.Model(inputs, outputs)
    export.convert(model, tmp_path / "model.tflite")
    macs = file_macs(tmp_path / "model.tflite")
    assert macs.total == count_macs(model).total
    assert macs.tiled > macs.total
    assert macs.uncounted == ()


@pytest.mark.tensorflow
def test_transposed_and_three_dimensional_convolutions(tmp_path):
    import export

    image = keras.Input((5, 5, 2))
    volume = keras.Input((4, 4, 4, 2))
    transposed = layers.Conv2DTranspose(3, 3, strides=2, use_bias=False)(image)
    export.convert(
        keras.Model([image, volume], [transposed, layers.Conv3D(4, 3)(volume)]),
        tmp_path / "model.tflite",
    )
    # Every pixel of the input meets every weight; 2x2x2 places of the output do.
    macs = 5 * 5 * 9 * 2 * 3 + 8 * 27 * 2 * 4
    assert file_macs(tmp_path / "model.tflite").total == macs
