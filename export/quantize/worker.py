"""The child process of `quantization_aware`: trains and converts the model in a folder.

The process is separate, because importing TensorFlow Model Optimization permanently changes
`tf.keras` to Keras 2. It runs as `python -m export.quantize.worker FOLDER`. The folder has
`model.keras`, `settings.json`, `y.npy`, and for each input `x0.npy` (to train) and `sample0.npy`
(to compare). The process adds `model.tflite`, `reference.npz` and `history.json`, or `error.txt`.
"""

import json
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import keras_sparse  # noqa: F401 registers what the model may name


def main(folder):
    """Does the work, or writes the error."""
    try:
        _work(folder)
    except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
        (folder / "error.txt").write_text(str(error))
        sys.exit(1)


def _work(folder):
    import tensorflow_model_optimization as tfmot
    import tf_keras

    from export.quantize.losses import from_settings
    from export.quantize.tf_keras_model import check_equal, to_tf_keras

    settings = json.loads((folder / "settings.json").read_text())
    tf_keras.utils.set_random_seed(settings["seed"])
    model = keras.saving.load_model(folder / "model.keras", compile=False, safe_mode=False)
    count = len(model.inputs)
    x = [np.load(folder / f"x{i}.npy", mmap_mode="r") for i in range(count)]
    samples = [np.load(folder / f"sample{i}.npy") for i in range(count)]
    rebuilt = to_tf_keras(model)
    check_equal(model, rebuilt, [value[:32] for value in samples])
    rebuilt = tfmot.quantization.keras.quantize_model(rebuilt)
    rebuilt.compile(
        optimizer=tf_keras.optimizers.Adam(settings["learning_rate"]),
        loss=from_settings(settings),
    )
    history = rebuilt.fit(
        x if count > 1 else x[0],
        np.load(folder / "y.npy"),
        batch_size=settings["batch_size"],
        epochs=settings["epochs"],
        verbose=settings["verbose"],
    )
    (folder / "history.json").write_text(json.dumps(history.history))
    outputs = rebuilt.predict(samples if count > 1 else samples[0], verbose=0)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    names = settings["output_names"]
    np.savez(folder / "reference.npz", **dict(zip(names, outputs, strict=True)))
    (folder / "model.tflite").write_bytes(_converted(rebuilt, settings))


def _converted(model, settings):
    """The TFLite file of a model with fake quantization, with the same names as `convert`."""
    import tempfile

    import tensorflow as tf

    specs = [tf.TensorSpec(shape, dtype, name) for name, shape, dtype in settings["inputs"]]

    @tf.function(input_signature=specs)
    def serve(*inputs):
        outputs = model(list(inputs) if len(inputs) > 1 else inputs[0], training=False)
        return dict(zip(settings["output_names"], tf.nest.flatten(outputs), strict=True))

    module = tf.Module()
    module.model = model
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=serve)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.inference_input_type = tf.as_dtype(settings["input_output"])
        converter.inference_output_type = tf.as_dtype(settings["input_output"])
        return converter.convert()


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
