"""What holds for all tests."""

import ctypes
import functools
import gc
import os
import signal
import tempfile
from unittest import mock

# The same programs in less time: here more of it goes into compiling than into running. Also for
# the programs that tests start. `XLA_FLAGS= python -m pytest` compiles all as users do.
os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)

# Two processes run tests, each on a core of its own.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

# Many tests and programs compile the same on JAX, which forgets it with the function.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    compiled = tempfile.TemporaryDirectory()
    os.environ["JAX_COMPILATION_CACHE_DIR"] = compiled.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

# Two devices on every backend, for what distributes. All else runs on the first one.
if os.environ.get("KERAS_BACKEND") == "jax":
    os.environ["XLA_FLAGS"] += " --xla_force_host_platform_device_count=2"

import hypothesis
import keras
import pytest
from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter

BACKEND = keras.backend.backend()
COMPILES_LITTLE = "disable_expensive_passes" in os.environ["XLA_FLAGS"]
if BACKEND == "tensorflow":
    import tensorflow as tf

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    # To rewrite a graph takes longer than to run it for a few steps.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": COMPILES_LITTLE})

# Few random examples here, thousands by `--hypothesis-profile=nightly`.
hypothesis.settings.register_profile("few", max_examples=5, deadline=None)
hypothesis.settings.register_profile("nightly", max_examples=2000, deadline=None)
hypothesis.settings.load_profile("few")

# Graphs and models are millions of objects: to look through them all for what is garbage, again and
# again, took an eighth of the time. At the end of each file is enough.
gc.freeze()
gc.set_threshold(50_000, 20, 20)

# Memory that was collected goes back to the system, where the C library has a call for it.
_give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)

# A shell without job control starts `pytest &` with Ctrl-C ignored, and so would the programs that
# tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def _collect_garbage():
    yield
    gc.collect()
    gc.freeze()
    if _give_back:
        _give_back(0)


@pytest.fixture(autouse=True)
def _without_xla(request, monkeypatch):
    """Masks move in a graph of TensorFlow, which takes half the time that XLA takes to compile.

    Not so in slow tests and in those that are marked `xla`.
    """
    if BACKEND == "tensorflow" and not _as_users_do(request):
        graph = functools.partial(tf.function, autograph=False)
        monkeypatch.setattr("keras_sparse.optimizers.dynamic_mask.compiled", graph)


@pytest.fixture(autouse=True)
def _built_before_traced(request, monkeypatch):
    """Metrics and optimizers are built before `fit` traces its step, which is then traced once.

    With variables made in it TensorFlow traces a step twice, as it does for users, in slow tests
    and in those that are marked `xla`.
    """
    if BACKEND == "tensorflow" and not _as_users_do(request):
        monkeypatch.setattr(keras.Model, "_maybe_symbolic_build", _build)


def _as_users_do(request):
    marked = any(map(request.node.get_closest_marker, ("xla", "slow")))
    return marked or not COMPILES_LITTLE


def _build(model, iterator=None, data_batch=None):
    """In place of Keras' method, which builds nothing ahead of `fit` without a strategy."""
    adapter = getattr(iterator, "data_adapter", None)
    if model._distribute_strategy is not None:
        _of_keras(model, iterator, data_batch)
    elif isinstance(adapter, ArrayDataAdapter) and model.built:
        model._symbolic_build(data_batch=adapter._inputs)


_of_keras = getattr(keras.Model, "_maybe_symbolic_build", None)


@pytest.fixture(scope="session", autouse=True)
def _short_timings():
    """TFLite files are timed for as long as it takes to have a figure, not a good one."""
    if not COMPILES_LITTLE or BACKEND != "tensorflow":
        yield
        return
    from export.benchmark import host
    from export.latency import timing

    with (
        mock.patch.multiple(host, STARTS=1, BURST_MS=1.0, PROFILE_MS=1.0),
        mock.patch.dict(host.benchmark.__kwdefaults__, rounds=2),
        mock.patch.multiple(timing, _BURST_SECONDS=1e-4, _MOST_PASSES=3, _PAUSE_SECONDS=0),
    ):
        yield


@functools.cache
def _mirrored():
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


@pytest.fixture
def mirrored():
    """TensorFlow's strategy on both devices: one for all, or their messages get mixed up."""
    return _mirrored()


@pytest.fixture
def data_parallel():
    """A function that makes models of this test live on both devices, under JAX."""

    def use(**arguments):
        distribution = keras.distribution.DataParallel(**arguments)
        keras.distribution.set_distribution(distribution)

    yield use
    keras.distribution.set_distribution(None)


def pytest_collection_modifyitems(config, items):
    """Leave out what is about another backend than this process's."""
    others = {"tensorflow", "jax", "torch"} - {BACKEND}
    left_out = [item for item in items if any(map(item.get_closest_marker, others))]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
