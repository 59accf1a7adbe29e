"""A short training for callbacks to watch."""

import keras

from tests.optimizers.problems import blobs


def fit(model, optimizer, callbacks, epochs=1):
    """Compile and train; the history."""
    x, y = blobs()
    keras.utils.set_random_seed(0)  # the order of the data
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model.fit(x, y, epochs=epochs, callbacks=callbacks, verbose=0)
