"""Every model of keras.applications: exact, and as small as it can be.

Weights and statistics are random, a random 30% of the filters are zero, the same ones in all
layers of one width; biases and batch normalisation stay arbitrary, so what died is a constant.
"""

import gc

import keras
import numpy as np
import pytest
from keras.src.applications.convnext import ConvNeXt

from keras_sparse import surgery
from keras_sparse.surgery import verify

# Kernel parameters in millions that may be left, by model.
FAST = {"MobileNetV3Small": 1.61}
SLOW = {
    "MobileNetV2": 2.2,
    "ConvNeXt": 7.63,
    "ResNet50": 13.1,
    "EfficientNetB0": 3.5,
    "DenseNet121": 4.3,
    "InceptionV3": 12.3,
    "Xception": 17.3,
    "ConvNeXtTiny": 20.8,
    "VGG16": 27.7,
    "ResNet50V2": 13.2,
    "InceptionResNetV2": 36.0,
    "ConvNeXtSmall": 36.0,
    "ConvNeXtBase": 63.4,
    "ConvNeXtLarge": 141.1,
    "ConvNeXtXLarge": 250.1,
    "DenseNet169": 7.45,
    "DenseNet201": 10.45,
    "EfficientNetB1": 5.2,
    "EfficientNetB2": 6.1,
    "EfficientNetB3": 8.2,
    "EfficientNetB4": 13.0,
    "EfficientNetB5": 20.6,
    "EfficientNetB6": 29.2,
    "EfficientNetB7": 45.2,
    "EfficientNetV2B0": 4.9,
    "EfficientNetV2B1": 5.5,
    "EfficientNetV2B2": 6.85,
    "EfficientNetV2B3": 9.75,
    "EfficientNetV2S": 14.6,
    "EfficientNetV2M": 37.1,
    "EfficientNetV2L": 81.5,
    "MobileNet": 2.8,
    "MobileNetV3Large": 3.5,
    "NASNetMobile": 4.3,
    "NASNetLarge": 68.9,
    "ResNet101": 22.5,
    "ResNet101V2": 22.5,
    "ResNet152": 30.2,
    "ResNet152V2": 30.2,
    "VGG19": 30.4,
}
SIZES = {"VGG16": 96, "VGG19": 96, "InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71}
# TensorFlow compiles each of their grouped convolutions.
SIZES |= {f"ConvNeXt{size}": 32 for size in ("", "Tiny", "Small", "Base", "Large", "XLarge")}
# With five blocks, not 18 or more, of which TensorFlow compiles each convolution again.
SHORT = {"ConvNeXt": {"depths": (1, 1, 2, 1), "projection_dims": (96, 192, 384, 768)}}
# 197 M parameters and more: their float64 forms do not fit beside each other in a small machine.
FLOAT32 = {"ConvNeXtLarge", "ConvNeXtXLarge"}
UNTOUCHED = {"count", "mean", "variance"}  # of the input's normalisation


def build(name, rng):
    size = SIZES.get(name, 64)
    make = ConvNeXt if name in SHORT else getattr(keras.applications, name)
    model = make(
        weights=None,
        input_shape=(size, size, 3),
        classifier_activation=None,
        **SHORT.get(name, {}),
    )
    dead = {}
    for layer in model._flatten_layers():
        if not isinstance(layer, keras.Model):
            for weight in layer.weights:
                fill(layer, weight, rng, dead)
    set_statistics(model, rng, size)
    return model


def fill(layer, weight, rng, dead):
    """Random numbers of a scale that keeps signals alive, zero for the filters that are dead."""
    name, shape = weight.path.rsplit("/", 1)[-1], tuple(weight.shape)
    if name in UNTOUCHED:
        return
    value = rng.standard_normal(shape, np.float32) * 0.3
    if name == "gamma":
        value = rng.uniform(0.3, 0.6, shape) * rng.choice([-1, 1], shape)
    elif name.endswith("kernel"):
        depthwise = name == "depthwise_kernel" or "Depthwise" in type(layer).__name__
        fan_in = np.prod(shape[:2] if depthwise else shape[:-1])
        value = value / 0.3 * np.sqrt(2 / fan_in)
        width = shape[-1]
        if not depthwise and layer.name != "predictions" and width != 1000:
            if width not in dead:
                dead[width] = rng.permutation(width)[: int(0.3 * width)]
            value[..., dead[width]] = 0
    weight.assign(value)


def set_statistics(model, rng, size):
    """Statistics near those of a batch, so that nothing saturates, but not equal to them."""
    kind = keras.layers.BatchNormalization
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, kind)]
    if not norms:
        return
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    model(rng.standard_normal((4, size, size, 3)), training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
        mean, variance = layer.moving_mean.numpy(), layer.moving_variance.numpy()
        constant = variance < 1e-12
        spread = np.where(constant, 1.0, variance)
        noise = rng.standard_normal(mean.shape) * np.sqrt(spread)
        layer.moving_mean.assign(mean + np.where(constant, 0.3, 0.1) * noise)
        layer.moving_variance.assign(spread * rng.uniform(0.7, 1.4, mean.shape))


def kernels(model):
    """Parameters of all kernels but those of depthwise convolutions."""
    layers = [x for x in model._flatten_layers() if not isinstance(x, keras.Model)]
    layers = [x for x in layers if not isinstance(x, keras.layers.DepthwiseConv2D)]
    return sum(int(np.prod(w.shape)) for x in layers for w in x.weights if len(w.shape) > 1)


def check(name, limit):
    model = build(name, np.random.default_rng(0))
    compact, report = surgery.remove_dead_channels(model, verify=False)
    x = verify.random_inputs(model)
    both = np.concatenate([x, np.nextafter(x, np.copysign(np.inf, x))])
    outputs, moved = np.split(keras.ops.convert_to_numpy(model(both, training=False)), 2)
    scale = np.abs(outputs).max()
    noise = np.abs(outputs - moved).max() / scale
    result = keras.ops.convert_to_numpy(compact(x, training=False))
    difference = np.abs(outputs - result).max() / scale
    print(
        f"{name:20s} {len(model.layers):5d} layers, kernels {kernels(model) / 1e6:7.2f} M -> "
        f"{kernels(compact) / 1e6:7.2f} M, difference {difference:.1e}, noise {noise:.1e}"
    )
    assert np.abs(outputs[0] - outputs[1]).max() > 1e-3 * scale, "the output ignores the input"
    if keras.config.floatx() == "float64":
        assert difference <= 32 * noise
    else:
        assert difference <= max(1e-5, 32 * noise)
    assert kernels(compact) <= limit * 1e6
    assert report.macs[1] < report.macs[0]


@pytest.fixture(autouse=True, scope="module")
def freeze():
    """What the tests before left alive is not looked through after each model here."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def forget():
    yield
    keras.backend.clear_session()
    gc.collect()


@pytest.mark.tensorflow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", FAST)
def test_application(name):
    check(name, FAST[name])


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", SLOW)
def test_slow_application(name, harness):
    if name in FLOAT32:
        harness.use_precision("float32")
    check(name, SLOW[name])


def test_every_application_is_listed():
    found = {
        name
        for name in dir(keras.applications)
        if isinstance(getattr(keras.applications, name), type(build)) and name[0].isupper()
    }
    assert found == (set(FAST) | set(SLOW)) - set(SHORT)
