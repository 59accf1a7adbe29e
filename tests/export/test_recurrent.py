"""Recurrent layers in int8: right for one sample after another, and small."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers

import export
from export.convert.recurrent import FusedLSTM
from export.tflite_file import Runner
from tests.optimizers.matrix import thorough

pytestmark = pytest.mark.tensorflow
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("masked", "return_sequences", "go_backwards"),
    thorough(
        list(itertools.product([False, True], repeat=3)),
        *[(False, False, False), (True, True, False), (True, False, True), (False, True, True)],
    ),
)
def test_an_lstm_for_one_operator_computes_the_same(masked, return_sequences, go_backwards):
    layer = layers.LSTM(5, return_sequences=return_sequences, go_backwards=go_backwards)
    x = keras.ops.convert_to_tensor(RNG.normal(size=(6, 7, 3)).astype("float32"))
    mask = RNG.random((6, 7)) > 0.4
    mask[0], mask[1] = False, True
    mask = keras.ops.convert_to_tensor(mask) if masked else None
    wanted = layer(x, mask=mask)
    got = FusedLSTM.of(layer, 4.0)(x, mask=mask)
    np.testing.assert_allclose(got, wanted, atol=1e-3)


def network(*stack, shape=(12, 6), dtype="float32"):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input(shape, dtype=dtype, name="x"), *stack, layers.Dense(3)])


def remembering():
    """Its state outlives a sequence, so that a file that keeps it gives wrong outputs."""
    model = network(layers.LSTM(8))
    kernel, recurrent, bias = model.layers[0].get_weights()
    bias[8:16] = 5.0
    model.layers[0].set_weights([kernel, recurrent, bias])
    return model


def embedded():
    return network(
        layers.Embedding(20, 6, mask_zero=True),
        layers.Bidirectional(layers.LSTM(8, return_sequences=True)),
        layers.LSTM(8),
        shape=(12,),
        dtype="int32",
    )


@pytest.mark.parametrize(
    ("make_model", "route", "largest_file"),
    [
        (remembering, "litert", 8_000),
        pytest.param(embedded, "litert", 60_000, marks=pytest.mark.slow),
        (lambda: network(layers.GRU(8), shape=(5, 6)), "litert", 30_000),
        (lambda: network(layers.LSTM(8), shape=(5, 6)), "quantizer", 30_000),
        pytest.param(
            lambda: network(layers.ConvLSTM2D(2, 3), layers.Flatten(), shape=(3, 6, 6, 1)),
            "quantizer",
            30_000,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_int8(make_model, route, largest_file, tmp_path):
    model = make_model()
    shape = (40, *model.input_shape[1:])
    tokens = RNG.integers(0, 20, shape) * (RNG.random(shape) > 0.3)
    x = tokens if len(shape) == 2 else RNG.normal(size=shape).astype("float32")
    path = tmp_path / "model.tflite"
    result = export.convert(
        model, path, quantize="int8", route=route, representative=x, samples=x, tolerance=0.08
    )
    assert result.bytes < largest_file
    assert not {"WHILE", "CALL_ONCE", "VAR_HANDLE"} & set(result.operators)
    first = {"x": x[:1].astype(model.inputs[0].dtype)}
    run = Runner(path)
    before = run(first)
    run({"x": x[1:2].astype(model.inputs[0].dtype)})
    np.testing.assert_array_equal(list(run(first).values()), list(before.values()))
    # The model is as it was.
    recurrent = [layer for layer in model._flatten_layers() if hasattr(layer, "unroll")]
    assert not any(layer.unroll or "call" in vars(layer) for layer in recurrent)
