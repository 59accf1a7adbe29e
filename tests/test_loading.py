"""Reading model files.

`fixtures/keras2` holds small files that Keras 2 wrote, with inputs and outputs, and the script that
writes them.
"""

import gzip
import json
import pathlib
import shutil
import warnings
import zipfile

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from keras_sparse.loading import load_model

FIXTURES = pathlib.Path(__file__).parent / "fixtures" / "keras2"
FILES = sorted(path.name for path in FIXTURES.iterdir() if path.suffix in (".gz", ".keras"))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with the files as Keras 2 wrote them."""
    folder = tmp_path_factory.mktemp("keras2")
    for path in FIXTURES.glob("*.keras"):
        shutil.copy(path, folder)
    for path in FIXTURES.glob("*.h5.gz"):
        (folder / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    return folder


def assert_outputs(model, stem):
    arrays = np.load(FIXTURES / f"{stem}.npz")
    inputs = [arrays[name] for name in arrays if name.startswith("input")]
    expected = [arrays[name] for name in arrays if name.startswith("output")]
    outputs = keras.tree.flatten(model(inputs if len(inputs) > 1 else inputs[0], training=False))
    for output, array in zip(outputs, expected, strict=True):
        error = np.max(np.abs(keras.ops.convert_to_numpy(output) - array))
        assert error <= 2e-6 * np.max(np.abs(array))


def test_there_are_files_of_every_kind():
    assert len(FILES) == 14
    assert {"depthwise.h5.gz", "nested_2.12.keras", "operations.keras"} <= set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_outputs_are_those_of_keras_2(files, name):
    name = name.removesuffix(".gz")
    model = load_model(files / name)
    assert_outputs(model, name.rpartition(".")[0])
    assert not model.compiled


@pytest.mark.parametrize("name", ["operations.h5", "nested.keras", "sequences.h5", "chain.keras"])
def test_a_model_can_be_saved_and_loaded_again(files, name, tmp_path):
    load_model(files / name).save(tmp_path / "again.keras")
    assert_outputs(load_model(tmp_path / "again.keras"), name.partition(".")[0])


def test_hdf5_under_another_name(files, tmp_path):
    # TensorFlow 2.12 and before wrote HDF5 whatever the ending.
    shutil.copy(files / "depthwise.h5", tmp_path / "model.keras")
    assert_outputs(load_model(tmp_path / "model.keras"), "depthwise")


def test_layers_keep_their_names_and_what_is_frozen(files):
    model = load_model(files / "nested.h5")
    frozen = [layer.name for layer in model._flatten_layers() if not layer.trainable]
    assert len(frozen) == 1
    assert frozen[0].startswith("batch_normalization")
    assert {"block_late", "block_relu", "a", "b"} <= {layer.name for layer in model.layers}


def test_files_of_keras_3(tmp_path):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, activation="hard_sigmoid")])
    model.compile("sgd", "mse")
    inputs = np.random.default_rng(0).normal(size=(5, 3))
    for name in ("model.keras", "model.h5"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.save(tmp_path / name)
        loaded = load_model(str(tmp_path / name))
        assert not loaded.compiled
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(loaded(inputs)), keras.ops.convert_to_numpy(model(inputs))
        )


# What is refused: files that hold a model's config alone, since it is read first.


def entry(kind, inbound=(), name=None, **config):
    name = name or kind.lower()
    return {
        "class_name": kind,
        "config": {"name": name, **config},
        "name": name,
        "inbound_nodes": list(inbound),
    }


INPUT = entry("InputLayer", name="in", batch_input_shape=[None, 6, 6, 2], dtype="float32")
AFTER_INPUT = [[["in", 0, 0, {}]]]


def write_hdf5(path, layer, version="2.15.0", **attributes):
    config = {
        "name": "model",
        "layers": [INPUT, layer],
        "input_layers": [["in", 0, 0]],
        "output_layers": [[layer["name"], 0, 0]],
    }
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = version
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": config})
        file.create_group("model_weights")
        for name, value in attributes.items():
            file.attrs[name] = value
    return path


def operation(function, **arguments):
    node = ["in", 0, 0, arguments]
    return entry("TFOpLambda", [node], name=f"tf.{function}", function=function)


REFUSED = {
    "lambda": (
        entry("Lambda", AFTER_INPUT, function=["4wEA", None, None]),
        "the layer 'lambda' (Lambda): it holds Python code",
    ),
    "python activation": (
        entry("Activation", AFTER_INPUT, activation={"value": ["4wEA", None, None]}),
        "the layer 'activation' (Activation): its activation is Python code",
    ),
    "unknown activation": (
        entry("Activation", AFTER_INPUT, activation="my_function"),
        "its activation 'my_function' is not in Keras 3. Pass the function in `custom_objects`",
    ),
    "unknown layer": (
        entry("MyLayer", AFTER_INPUT),
        "the layer 'mylayer' (MyLayer): neither Keras 3 nor `custom_objects` has it",
    ),
    "layer that is gone": (
        entry("LocallyConnected2D", AFTER_INPUT, filters=2),
        "Keras 3 has no such layer",
    ),
    "argument that is gone": (
        entry("BatchNormalization", AFTER_INPUT, axis=[3], virtual_batch_size=4),
        "virtual_batch_size=4 changes what it computes",
    ),
    "groups that mean something": (
        entry("DepthwiseConv2D", AFTER_INPUT, kernel_size=[3, 3], groups=2),
        "groups=2 changes what it computes",
    ),
    "cropping": (
        entry("RandomCrop", AFTER_INPUT, height=2, width=2),
        "Keras 3 does not crop at inference",
    ),
    "interpolation": (
        entry("UpSampling2D", AFTER_INPUT, size=[2, 2], interpolation="gaussian"),
        "Keras 3 cannot interpolate so",
    ),
    "unknown function": (operation("math.lgamma"), "tf.math.lgamma is not translated"),
    "unknown argument of a function": (
        operation("nn.relu6", features_too=1),
        "the layer 'tf.nn.relu6': ",
    ),
    "squeeze of a batch of unknown size": (
        operation("compat.v1.squeeze"),
        "tf.squeeze without an axis is not translated",
    ),
    "sizes that cannot be told apart": (
        operation("reshape", shape=[-1, -1]),
        "a shape with several unknown sizes is not translated",
    ),
    "call that is not in the file": (
        entry("ReLU", [[["absent", 0, 0, {}]]]),
        "the inputs of the layers ['relu'] are not in the file",
    ),
    "weights that are not in the file": (
        entry("Dense", AFTER_INPUT, units=3),
        "the layer 'dense' (Dense) has weights of the shapes [(2, 3), (3,)] in Keras 3, and []",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_in_one_line_what_has_no_certain_meaning(case, tmp_path):
    layer, message = REFUSED[case]
    assert_refused(write_hdf5(tmp_path / "model.h5", layer), message)


def assert_refused(path, message, **arguments):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 the message is compared below
        load_model(path, **arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_whole_numbers_are_not_taken_for_real_ones(tmp_path):
    layer = operation("math.reduce_mean", axis=1)
    path = write_hdf5(tmp_path / "model.h5", layer)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        config["config"]["layers"][0]["config"]["dtype"] = "int32"
        file.attrs["model_config"] = json.dumps(config)
    assert_refused(path, "tf.math.reduce_mean of whole numbers is not translated")


def test_merged_masks_are_refused(tmp_path):
    # Keras 2 keeps a step that all inputs keep, Keras 3 one that any of them keeps.
    masking = entry("Masking", name="masking", mask_value=0.0)
    nested = {
        "class_name": "Sequential",
        "config": {"name": "nested", "layers": [masking, entry("Add", name="sum")]},
        "name": "nested",
        "inbound_nodes": AFTER_INPUT,
    }
    path = write_hdf5(tmp_path / "model.h5", nested)
    assert_refused(path, "the layer 'sum' (Add) may merge masks, which 'masking' makes")


def test_weights_in_another_order_are_refused(files, tmp_path):
    path = shutil.copy(files / "sequences.h5", tmp_path / "model.h5")
    with h5py.File(path, "r+") as file:
        group = file["model_weights/time_distributed"]
        names = list(group.attrs["weight_names"])
        # The same shapes: beta, and the bias of the dense layer.
        group.attrs["weight_names"] = [names[0], names[3], names[2], names[1], *names[4:]]
    assert_refused(path, "the weights of the layer 'time_distributed' (TimeDistributed) are in")


def test_custom_objects(tmp_path):
    class Doubling(layers.Layer):
        def call(self, inputs):
            return 2 * inputs

    path = write_hdf5(tmp_path / "model.h5", entry("Doubling", AFTER_INPUT))
    model = load_model(path, custom_objects={"Doubling": Doubling})
    ones = np.ones((1, 6, 6, 2), "float32")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model(ones)), 2 * ones)

    activation = entry("Activation", AFTER_INPUT, activation="triple")
    path = write_hdf5(tmp_path / "model.h5", activation)
    model = load_model(path, custom_objects={"triple": lambda x: 3 * x})
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model(ones)), 3 * ones)


def test_hard_sigmoid_has_the_slope_of_keras_2(tmp_path):
    activation = entry("Activation", AFTER_INPUT, activation="hard_sigmoid")
    model = load_model(write_hdf5(tmp_path / "model.h5", activation))
    inputs = np.random.default_rng(0).normal(0.0, 3.0, (1, 6, 6, 2)).astype("float32")
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(model(inputs)), np.clip(0.2 * inputs + 0.5, 0, 1), atol=1e-6
    )


def test_no_model_file(tmp_path):
    assert_refused(tmp_path / "absent.keras", "There is no such file")
    assert_refused(tmp_path, "`path` must be a .keras or .h5 file, not a folder")
    (tmp_path / "text.h5").write_text("not a model")
    assert_refused(tmp_path / "text.h5", "it is neither a .keras nor an HDF5 file")
    with zipfile.ZipFile(tmp_path / "some.keras", "w") as archive:
        archive.writestr("file.txt", "")
    assert_refused(tmp_path / "some.keras", "it is a zip file, but no Keras model")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").touch()
    assert_refused(tmp_path / "saved", "This folder is a SavedModel")


def test_weights_alone(tmp_path):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    model.save_weights(tmp_path / "model.weights.h5")
    assert_refused(tmp_path / "model.weights.h5", "it holds weights, but no model")


def test_other_writers(tmp_path):
    relu = entry("ReLU", AFTER_INPUT)
    path = write_hdf5(tmp_path / "model.h5", relu, version="1.2.2")
    assert_refused(path, "Keras 1 wrote it")
    path = write_hdf5(tmp_path / "model.h5", relu, backend="theano")
    assert_refused(path, "it was trained on theano")


@pytest.mark.parametrize("metadata", ["{}", "[]", '{"keras_version": 3}'])
def test_a_file_that_does_not_say_who_wrote_it(metadata, tmp_path):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("metadata.json", metadata)
    assert_refused(path, "does not say which Keras wrote it")


@pytest.mark.parametrize("name", ["depthwise.h5", "depthwise.keras"])
def test_damaged_files(files, name, tmp_path):
    whole = (files / name).read_bytes()
    for share in (0.2, 0.6, 0.95):
        path = tmp_path / name
        path.write_bytes(whole[: int(share * len(whole))])
        assert_refused(path, "cannot be loaded: ")


def test_a_model_of_unknown_class(files, tmp_path):
    path = shutil.copy(files / "depthwise.keras", tmp_path / "model.keras")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    parts["config.json"] = json.dumps({**config, "class_name": "MyModel"}).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    assert_refused(path, "its model is a MyModel, whose code the file does not hold")


def small_model():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    model.compile("sgd", "mean_squared_error")
    return model


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("name", ["model.keras", "model.h5", "model", "model.keras.bak", "a b.zip"])
def test_the_contents_decide_and_not_the_name(ending, name, tmp_path):
    model = small_model()
    model.save(tmp_path / f"written{ending}")
    path = (tmp_path / f"written{ending}").rename(tmp_path / name)
    for same, own in zip(load_model(path).get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(same, own)
    assert keras.losses.get(load_model(path, compile=True).loss) is keras.losses.mean_squared_error


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_what_only_the_training_needs(ending, tmp_path):
    path = tmp_path / f"model{ending}"
    model = small_model()
    model.compile("sgd", lambda y, y_pred: keras.ops.mean(y - y_pred))
    model.loss.__name__ = "own_loss"
    model.save(path)
    assert load_model(path).count_params() == 8
    assert_refused(path, "--import=MODULE", compile=True)


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_unknown_layers(ending, tmp_path):
    class Doubling(layers.Layer):
        def call(self, inputs):
            return 2 * inputs

    path = tmp_path / f"model{ending}"
    keras.Sequential([keras.Input((3,)), Doubling()]).save(path)
    assert_refused(path, "'Doubling'. Import the module that registers it")
    assert load_model(path, custom_objects={"Doubling": Doubling}).output_shape == (None, 3)
