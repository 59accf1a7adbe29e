"""What holds for all tests."""

import gc
import os
import signal

# The same programs in less time: here more of it goes into compiling than into running. Also for
# the programs that tests start.
os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)

import keras

# Graphs and models of earlier tests are millions of objects: to look through them all for what is
# garbage, again and again, took an eighth of the time. Seldom is enough.
gc.freeze()
gc.set_threshold(50_000, 20, 20)

# A shell without job control starts `pytest &` with Ctrl-C ignored, and so would the programs that
# tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config, items):
    """Leave out on other backends what is about TensorFlow."""
    if keras.backend.backend() == "tensorflow":
        return
    about_tensorflow = [item for item in items if item.get_closest_marker("tensorflow")]
    config.hook.pytest_deselected(items=about_tensorflow)
    items[:] = [item for item in items if not item.get_closest_marker("tensorflow")]
