"""A model and what surgery leaves of it, both as TFLite files."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers

from export import convert
from keras_sparse.surgery import remove_dead_channels

pytestmark = pytest.mark.tensorflow


def residual_network():
    """Padded and strided convolutions, a residual sum, depthwise; arbitrary statistics."""
    inputs = keras.Input((12, 12, 3))
    x = layers.Conv2D(12, 3, padding="same", name="stem")(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    y = layers.Conv2D(12, 3, padding="same", name="inner")(x)
    y = layers.BatchNormalization()(y)
    x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.DepthwiseConv2D(3, 2)(x)
    x = layers.Conv2D(8, 1, name="point")(x)
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    model = keras.Model(inputs, layers.Dense(5)(x))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        values = rng.uniform(0.2, 0.6, weight.shape) * rng.choice([-1, 1], weight.shape)
        weight.assign(np.abs(values) if "variance" in weight.path else values)
    for name in ("stem", "inner", "point"):
        kernel = keras.ops.convert_to_numpy(model.get_layer(name).kernel).copy()
        kernel[..., ::3] = 0
        model.get_layer(name).kernel.assign(kernel)
    return model


def run(path, x):
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    outputs = []
    for sample in x:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sample[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    return np.array(outputs)


def test_the_smaller_file_gives_the_same_outputs(tmp_path):
    model = residual_network()
    compact, report = remove_dead_channels(model)
    assert report.parameters[1] < 0.8 * report.parameters[0]
    x = np.random.default_rng(1).normal(size=(10, 12, 12, 3)).astype("float32")
    files = [tmp_path / "model.tflite", tmp_path / "smaller.tflite"]
    for each, path in zip((model, compact), files, strict=True):
        convert(each, path, samples=x)
    assert files[1].stat().st_size < files[0].stat().st_size
    before, after = (run(path, x) for path in files)
    assert np.abs(before).max() > 0.1
    np.testing.assert_allclose(after, before, atol=1e-5 * np.abs(before).max())
