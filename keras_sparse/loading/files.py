"""Reading a model from a file of Keras 3 or Keras 2."""

import io
import json
import os
import re
import shutil
import tempfile
import zipfile

import h5py
import keras

from keras_sparse.loading import keras2_model, keras2_weights


def load_model(path, custom_objects=None, compile=False):
    """Reads a model from a `.keras` or HDF5 file, of Keras 3 or of Keras 2.

    `keras.saving.load_model` reads a file that Keras 3 wrote. A file that Keras 2 (tf.keras) wrote
    is translated layer by layer, and its weights are assigned. Keras 3 refuses most such files,
    because of arguments that it no longer has or TensorFlow functions in the graph. It misreads
    others: for example, `hard_sigmoid` has another slope in Keras 2. A file without a clear meaning
    in Keras 3 is refused.

    Args:
        path: the file. The version of Keras is read from the contents, not from the name.
        custom_objects: `{name: class or function}` of objects that are neither in Keras nor
            registered by `keras.saving.register_keras_serializable`.
        compile: bool, whether to compile a model that Keras 3 saved with its loss and optimizer. A
            model of Keras 2 is never compiled.

    Returns:
        A `keras.Model`. A model of Keras 2 has the same outputs as in Keras 2, up to rounding. `/`
        in names of its layers becomes `_`, because Keras 3 forbids slashes.

    Raises:
        ValueError: `path` is no model file or contains something that cannot be read; the message
            is one line that names the layer and says what to do.

    Example:

    >>> model = load_model("kws_ref_model.h5")
    """
    path = os.fspath(path)
    _check(path)
    with keras.saving.custom_object_scope(custom_objects or {}):
        try:
            read = _zip_reader(path) if zipfile.is_zipfile(path) else _hdf5_reader(path)
            return read(path, compile) if read is _keras3 else read(path)
        except _READING_ERRORS as error:
            raise ValueError(f"{path} cannot be loaded: {_one_line(error)}") from error


# Errors of Keras, h5py and zipfile for damaged or unsupported files.
_READING_ERRORS = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    NotImplementedError,
    OSError,
    zipfile.BadZipFile,
)


def _check(path):
    if os.path.isfile(path):
        return
    if not os.path.exists(path):
        raise ValueError(f"There is no such file. Received: path={path}")
    if os.path.exists(os.path.join(path, "saved_model.pb")):
        raise ValueError(
            "This folder is a SavedModel, which holds no layers that Keras 3 can read. Load it in "
            "the Keras that wrote it (`tf_keras.models.load_model`) and save it as .h5. "
            f"Received: path={path}"
        )
    raise ValueError(f"`path` must be a .keras or .h5 file, not a folder. Received: path={path}")


def _zip_reader(path):
    with zipfile.ZipFile(path) as archive:
        if not {"config.json", "metadata.json"} <= set(archive.namelist()):
            raise ValueError("it is a zip file, but no Keras model.")
        metadata = json.loads(archive.read("metadata.json"))
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    if not isinstance(version, str):
        raise ValueError("its metadata.json does not say which Keras wrote it.")
    return _keras2_zip if _is_keras2(version) else _keras3


def _hdf5_reader(path):
    if not h5py.is_hdf5(path):
        raise ValueError("it is neither a .keras nor an HDF5 file.")
    with h5py.File(path) as file:
        if "model_config" not in file.attrs:
            raise ValueError(
                "it holds weights, but no model. Build the model and call its `load_weights`, then "
                "save it whole."
            )
        group = file.attrs if "keras_version" in file.attrs else file["model_weights"].attrs
        version = keras2_weights.text(group.get("keras_version", "1"))
    return _keras2_hdf5 if _is_keras2(version) else _keras3


def _is_keras2(version):
    if version.startswith("2."):
        return True
    if version.startswith("1"):
        raise ValueError("Keras 1 wrote it. Load it in Keras 2 and save it again.")
    return False


def _keras3(path, compile):
    ending = ".keras" if zipfile.is_zipfile(path) else ".h5"
    if path.endswith(_ENDINGS[ending]):
        return _load(path, compile)
    # Keras tells the format by the ending.
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copyfile(path, os.path.join(folder, f"model{ending}"))
        return _load(copy, compile)


_ENDINGS = {".keras": (".keras",), ".h5": (".h5", ".hdf5")}


def _load(path, compile):
    try:
        return keras.saving.load_model(path, compile=compile)
    except _READING_ERRORS as error:
        if not compile or _UNKNOWN.search(str(error)):
            raise
        keras.saving.load_model(path, compile=False)  # raises if it is the layers
        raise ValueError(
            f"its loss, metrics or optimizer cannot be read: {_one_line(error)}. Import the module "
            "that registers them before; to a program, give --import=MODULE. Or compile the model "
            "with others."
        ) from error


def _keras2_zip(path):
    with zipfile.ZipFile(path) as archive:
        entry = json.loads(archive.read("config.json"))
        weights = io.BytesIO(archive.read("model.weights.h5"))
    part = keras2_model.build(entry)
    with h5py.File(weights) as file:
        keras2_weights.load_from_tree(part, file)
    return part.layer


def _keras2_hdf5(path):
    with h5py.File(path) as file:
        backend = keras2_weights.text(file.attrs.get("backend", "tensorflow"))
        if backend != "tensorflow":
            raise ValueError(
                f"it was trained on {backend}, whose kernels are laid out differently. Load it in "
                "Keras 2 on TensorFlow and save it again."
            )
        part = keras2_model.build(json.loads(keras2_weights.text(file.attrs["model_config"])))
        keras2_weights.load_from_lists(part, file["model_weights"])
    return part.layer


# What Keras says of a class or function that neither it nor the file has, for .keras and for .h5.
_UNKNOWN = re.compile(
    r"(?:Could not locate (?P<kind>class|function)|Unknown (?P<old_kind>[\w ]+):) '(?P<name>[^']+)'"
)


def _one_line(error):
    """The cause, without the configs that Keras prints around it."""
    unknown = _UNKNOWN.search(str(error))
    if unknown:
        kind, name = unknown["kind"] or unknown["old_kind"], unknown["name"]
        return (
            f"Keras has no {kind} {name!r}. Import the module that registers it before, or give "
            f"custom_objects={{{name!r}: {name}}}; to a program, give --import=MODULE"
        )
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    cause = " ".join(text.split("Exception encountered:")[-1].split())
    return cause if len(cause) <= 400 else f"{cause[:400]}..."
