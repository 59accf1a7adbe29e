import keras
import numpy as np
import pytest
from keras import layers

import export

pytestmark = pytest.mark.tensorflow


def mobile_network(padded_stem=True, padded_stride=True, pooled=True, share=0.8, tap=False):
    """Inverted residuals, built so that every condition holds unless told otherwise."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((16, 16, 3))
    if padded_stem:
        x = layers.Conv2D(8, 3, 2, use_bias=False)(layers.ZeroPadding2D(1)(x))
    else:
        x = layers.Conv2D(8, 3, 2, padding="same", use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    for stride in (1, 2, 1):
        y = layers.ReLU(6.0)(layers.Conv2D(32, 1)(x))
        if stride == 2 and padded_stride:
            y = layers.DepthwiseConv2D(3, 2)(layers.ZeroPadding2D(1)(y))
        else:
            y = layers.DepthwiseConv2D(3, stride, padding="same")(y)
        y = layers.Conv2D(8, 1)(layers.ReLU(6.0)(y))
        x = layers.Add()([x, y]) if stride == 1 else y
    outputs = layers.Dense(10)(layers.GlobalAveragePooling2D()(x)) if pooled else x
    model = keras.Model(inputs, [outputs, x] if tap else outputs)
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D) and layer.kernel_size == (1, 1):
            kernel = keras.ops.convert_to_numpy(layer.kernel).copy()
            kernel.reshape(-1)[: round(share * kernel.size)] = 0
            layer.kernel.assign(kernel)
    return model


def failed(report):
    conditions = [*report.conditions, *report.clusters[0].conditions]
    return [condition.name for condition in conditions if not condition.holds]


@pytest.mark.parametrize(
    ("options", "names", "clusters"),
    [
        ({}, [], 1),
        ({"share": 0.6}, ["zeros"], 1),
        ({"padded_stem": False}, ["start"], 1),
        ({"padded_stride": False}, ["end"], 2),
        ({"pooled": False}, ["end"], 1),
        ({"tap": True}, ["inside"], 1),
    ],
    ids=str,
)
def test_each_condition_alone(options, names, clusters):
    report = export.sparse_runtime_report(mobile_network(**options))
    assert failed(report) == names
    assert report.engaged == (not names)
    assert len(report.clusters) == clusters
    assert sum(cluster.weights for cluster in report.clusters) == 6 * 8 * 32
    assert report.clusters[0].sparsity == pytest.approx(options.get("share", 0.8), abs=0.01)
    assert str(report).splitlines()[0].count("would not") == len(names)
    assert report.to_dict()["engaged"] == report.engaged


def test_files_of_each_kind(tmp_path):
    model, path = mobile_network(), tmp_path / "model.tflite"
    export.convert(model, path)
    assert failed(export.sparse_runtime_report(path)) == ["sparse encoding"]
    export.convert(model, path, sparse_encoding=True, quantize="float16")
    assert export.sparse_runtime_report(path).engaged
    samples = np.random.default_rng(0).normal(size=(20, 16, 16, 3))
    export.convert(model, path, quantize="int8", representative=samples)
    report = export.sparse_runtime_report(path)
    assert not report.engaged
    assert not report.clusters


def test_ordinary_convolutions_have_no_sparse_kernels():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same")(inputs)
    x = layers.Conv2D(8, 1, kernel_initializer="zeros")(x)
    x = layers.Conv2D(8, 3, padding="same")(x)
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(x))
    report = export.sparse_runtime_report(model)
    assert failed(report) == ["start", "end"]
    assert "CONV_2D" in str(report)
    assert "3x3, strides (1, 1), 3 channels" in str(report)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="neither a model nor a file"):
        export.sparse_runtime_report(tmp_path / "absent.tflite")
