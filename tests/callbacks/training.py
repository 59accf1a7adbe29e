"""A short training for callbacks to watch."""

import keras

from tests.optimizers.problems import blobs


def fit(model, optimizer, callbacks, epochs=1):
    """Compile and train; the history."""
    x, y = blobs()
    keras.utils.set_random_seed(0)  # the order of the data
    # A few steps take TensorFlow less time than to trace one.
    run_eagerly = keras.backend.backend() == "tensorflow" and epochs < 9
    model.compile(optimizer, "sparse_categorical_crossentropy", run_eagerly=run_eagerly)
    return model.fit(x, y, epochs=epochs, callbacks=callbacks, verbose=0)
