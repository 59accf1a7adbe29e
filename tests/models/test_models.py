import functools

import keras
import numpy as np
import pytest
from keras import ops

from keras_sparse import models, prunable_variables
from keras_sparse.surgery import remove_dead_channels


@pytest.mark.parametrize(
    ("build", "parameters", "prunable"),
    [(models.lenet_300_100, 266_610, 266_200), (models.lenet_5, 431_080, 430_500)],
)
def test_counts_are_the_published_ones(build, parameters, prunable):
    model = build()
    assert model.count_params() == parameters
    assert sum(int(np.prod(v.shape)) for v in prunable_variables(model)) == prunable
    # Batch normalisation adds no prunable weights.
    normalised = build(batch_norm=True)
    assert sum(int(np.prod(v.shape)) for v in prunable_variables(normalised)) == prunable


@pytest.mark.parametrize(
    ("build", "parameters"),
    [
        (models.vgg16_d, 15_255_626),
        (models.vgg16_c, 11_323_466),
        (models.vgg16_bn, 14_728_266),
        (models.vgg19_bn, 20_040_522),
        (models.alexnet_s, 5_077_066),
        (models.alexnet_b, 8_501_322),
        (models.resnet_18, 11_173_962),
        (lambda: models.resnet_18((64, 64, 3), 1000, stem="imagenet"), 11_689_512),
        (models.resnet_50, 25_557_032),
        (lambda: models.wide_resnet(16, 8), 10_961_370),
        (lambda: models.wide_resnet(16, 10), 17_116_634),
        (lambda: models.wide_resnet(22, 8), 17_158_106),
        (lambda: models.wide_resnet(28, 2), 1_467_610),
        (lambda: models.wide_resnet(28, 10), 36_479_194),
        # Not published; what the docstring says.
        (models.basicnet, 4_655_434),
    ],
)
def test_trainable_counts_are_the_published_ones(build, parameters):
    # Shapes alone: the weights of the large ones take seconds to draw.
    with keras.StatelessScope():
        model = build()
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == parameters


def test_prunable_weights_of_vgg16_d():
    with keras.StatelessScope():
        kernels = prunable_variables(models.vgg16_d())
    assert sum(int(np.prod(v.shape)) for v in kernels) == 15_239_872


def test_vgg16_like_has_one_hidden_dense_layer_less():
    like, full = (build(width=0.1) for build in (models.vgg16_like, models.vgg16_d))
    more = {v.path for v in full.variables} - {v.path for v in like.variables}
    assert {path.split("/")[0] for path in more} == {"dense2", "dense2_bn"}


@pytest.mark.parametrize(
    ("build", "parameters"),
    [
        (models.resnet_8, 78_666),
        (models.mobilenet_v1, 221_794),
        (models.ds_cnn, 24_908),
        (models.autoencoder, 269_992),
    ],
)
def test_counts_of_mlperf_tiny(build, parameters):
    # With the averages of batch normalisation, as the benchmark counts.
    assert build().count_params() == parameters


def test_small_cnn_count():
    assert models.small_cnn((8, 8, 1)).count_params() == 56_874


SMALL = {
    "lenet_300_100": (models.lenet_300_100, 0.3),
    "lenet_5": (models.lenet_5, 0.3),
    "small_cnn": (models.small_cnn, 0.3),
    "alexnet_s": (models.alexnet_s, 0.04),
    "alexnet_b": (models.alexnet_b, 0.04),
    "basicnet": (models.basicnet, 0.1),
    "vgg16_c": (models.vgg16_c, 0.1),
    "vgg16_d": (models.vgg16_d, 0.1),
    "vgg16_like": (models.vgg16_like, 0.1),
    "vgg16_bn": (models.vgg16_bn, 0.1),
    "vgg19_bn": (models.vgg19_bn, 0.1),
    "resnet_8": (models.resnet_8, 0.5),
    "resnet_18": (models.resnet_18, 0.1),
    "resnet_50": (models.resnet_50, 0.1),
    "mobilenet_v1": (models.mobilenet_v1, 0.1),
    "ds_cnn": (models.ds_cnn, 0.3),
    "wide_resnet": (functools.partial(models.wide_resnet, 10, dropout=0.3), 0.5),
}


# The others are built of the same blocks.
SOME = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow)
        if name in {"alexnet_b", "vgg16_d", "vgg16_like", "vgg19_bn", "resnet_50"}
        else name
        for name in SMALL
    ],
)


@SOME
def test_arguments_and_saving(name, tmp_path):
    build, width = SMALL[name]
    model = build(
        input_shape=(32, 34, 2),
        classes=7,
        activation="softmax",
        width=width,
        kernel_initializer="he_uniform",
        kernel_regularizer="l2",
        name="mine",
    )
    assert model.name == "mine"
    assert model.output_shape == (None, 7)
    x = np.random.default_rng(0).normal(size=(2, 32, 34, 2)).astype("float32")
    outputs = ops.convert_to_numpy(model(x))
    np.testing.assert_allclose(outputs.sum(-1), 1, rtol=1e-5)
    assert len(model.losses) == len(prunable_variables(model))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(ops.convert_to_numpy(loaded(x)), outputs)


@SOME
def test_surgery_removes_their_dead_channels(name):
    build, width = SMALL[name]
    model = build(input_shape=(32, 32, 3), width=width)
    rng = np.random.default_rng(0)
    for kernel in prunable_variables(model)[:-1]:
        values = rng.normal(0, 0.1, kernel.shape)
        if "depthwise" not in kernel.path:
            values[..., ::2] = 0
        kernel.assign(values)
    compact, report = remove_dead_channels(model)
    assert compact.count_params() < 0.7 * model.count_params()
    hidden = list(report.channels.values())[:-1]
    assert all(after <= before // 2 + 1 for before, after in hidden)


# The others take TensorFlow's converter many seconds each, and hold no other kind of layer.
_CONVERTED_ALWAYS = ("resnet_8",)


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in _CONVERTED_ALWAYS else pytest.mark.slow)
        for name in SMALL
    ],
)
def test_conversion_accepts_them(name, tmp_path):
    from export import convert

    build, width = SMALL[name]
    result = convert(build(input_shape=(32, 32, 3), width=width), tmp_path / "model.tflite")
    assert result.max_relative_error <= 1e-4


def test_layers_of_one_shape_start_apart():
    model = models.vgg16_bn(width=0.1, kernel_initializer=keras.initializers.HeNormal())
    first, second = (model.get_layer(f"block5_conv{i}").kernel for i in (2, 3))
    assert np.any(ops.convert_to_numpy(first) != ops.convert_to_numpy(second))


@pytest.mark.parametrize("name", ["lenet_300_100", "lenet_5", "small_cnn", "resnet_8"])
def test_the_seed_is_that_of_when_the_network_is_made(name):
    shared = keras.initializers.HeNormal()

    def start():
        keras.utils.set_random_seed(3)
        return getattr(models, name)((32, 32, 3), kernel_initializer=shared).get_weights()

    first, again = start(), start()
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    keras.utils.set_random_seed(4)
    other = getattr(models, name)((32, 32, 3), kernel_initializer=shared).get_weights()
    assert all(np.any(a != b) for a, b in zip(first, other, strict=True) if a.ndim > 1)


def test_errors_say_what_the_networks_need():
    with pytest.raises(ValueError, match="at least 16x16"):
        models.lenet_5((8, 8, 1))
    with pytest.raises(ValueError, match="at least 4x4"):
        models.small_cnn((3, 4, 1))
    with pytest.raises(ValueError, match="at least 32x32"):
        models.vgg16_bn((28, 28, 1))
    with pytest.raises(ValueError, match="width=0"):
        models.resnet_8(width=0)
    with pytest.raises(ValueError, match="depth=20"):
        models.wide_resnet(20, 2)
    with pytest.raises(ValueError, match="features in one axis"):
        models.autoencoder((5, 128))
    with pytest.raises(ValueError, match="stem='mnist'"):
        models.resnet_18(stem="mnist")
