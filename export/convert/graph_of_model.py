"""A Keras model as a TensorFlow graph, for the converters."""

import contextlib
import functools

from export.convert.argmax import plain_argmax
from export.convert.recurrent import without_loops
from export.kinds import kind_of
from export.names import with_named_outputs


def save_graph(model, specs, folder, settings, samples):
    """Traces a model for inference and writes it as a SavedModel with one signature.

    Args:
        model: a built `keras.Model`.
        specs: the result of `input_specs`.
        folder: the folder to write.
        settings: a `Settings`.
        samples: representative samples from `check_samples`, or None.
    """
    import keras

    archive = keras.export.ExportArchive()
    named = with_named_outputs(model)
    archive.track(named)
    with contextlib.ExitStack() as stack:
        stack.enter_context(plain_argmax(named))
        if kind_of(settings.quantize).calibrated:
            fuse = settings.route == "litert"
            stack.enter_context(without_loops(model, specs, samples, fuse=fuse))
        archive.add_endpoint(
            "serve", functools.partial(named.__call__, training=False), input_signature=[specs]
        )
        archive.write_out(str(folder), verbose=False)
