"""Training on several devices, by Keras and TensorFlow."""

import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Callable

import keras

from apps.training.settings import require
from keras_sparse import _keras

_ADDRESS = re.compile(r".+:\d{1,5}")
_BACKENDS = {"mirrored": "tensorflow", "multi_worker": "tensorflow", "data_parallel": "jax"}


@dataclasses.dataclass(frozen=True)
class Strategy:
    """A distribution of the work over devices.

    Attributes:
        scope: function that returns the context in which a model is made.
        divides: int; every batch size must be divisible by it.
        is_chief: whether this process writes files.
        adapt: function that is called with the compiled model and an example batch.
    """

    scope: Callable = contextlib.nullcontext
    divides: int = 1
    is_chief: bool = True
    adapt: Callable = lambda model, batch: None


def use(settings):
    """Set the strategy of the flags for the process; call it before any device is used.

    Args:
        settings: the part `Training`.

    Returns:
        A `Strategy`; without the flag, a strategy that does nothing.

    Raises:
        ValueError: a backend without this strategy; a cluster without a description.
    """
    name = settings.strategy
    if name is None:
        return Strategy()
    backend, needed = keras.backend.backend(), _BACKENDS[name]
    if backend != needed:
        raise ValueError(
            f"--strategy={name} needs the {needed} backend: set KERAS_BACKEND={needed}. "
            f"Received: {backend}"
        )
    return {
        "mirrored": _mirrored,
        "multi_worker": _multi_worker,
        "data_parallel": _data_parallel,
    }[name](settings)


def _mirrored(settings):
    import tensorflow as tf

    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    _check_shared(len(devices), settings)
    strategy = tf.distribute.MirroredStrategy([device.name for device in devices])
    return Strategy(strategy.scope)


def _multi_worker(settings):
    import tensorflow as tf

    _check_cluster()
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    _check_shared(strategy.num_replicas_in_sync, settings)
    cluster = strategy.cluster_resolver
    is_chief = cluster.task_type in (None, "chief") or (
        cluster.task_id == 0 and "chief" not in cluster.cluster_spec().jobs
    )
    return Strategy(strategy.scope, is_chief=is_chief, adapt=_fit_in_many_workers)


def _check_cluster():
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        for addresses in cluster.values():
            if not isinstance(addresses, list) or not all(map(_ADDRESS.fullmatch, addresses)):
                raise ValueError
        if type(task["index"]) is not int or task["index"] not in range(len(cluster[task["type"]])):
            raise ValueError
    except (ValueError, TypeError, LookupError, AttributeError):
        raise ValueError(
            "--strategy=multi_worker needs the environment variable TF_CONFIG, in each process its "
            'own: {"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": '
            f"0}}}}. Received: {text!r}"
        ) from None


def _fit_in_many_workers(model, batch):
    """Work around errors of Keras 3.15 in `fit` with several workers (keras issue 20585).

    Keras averages a first batch over the workers to infer shapes, and it averages metrics along an
    axis that scalars do not have. Neither works with several workers.
    """
    _keras.build_for(model, batch)
    for name in ("train_step", "test_step"):
        setattr(model, name, _with_axis(getattr(model, name)))


def _with_axis(step):
    def stepped(data):
        return {name: keras.ops.expand_dims(value, 0) for name, value in step(data).items()}

    return stepped


def _data_parallel(settings):
    distribution = keras.distribution.DataParallel(auto_shard_dataset=False)
    devices = len(keras.distribution.list_devices())
    _check_shared(devices, settings)
    keras.distribution.set_distribution(distribution)
    return Strategy(divides=devices)


def _check_shared(devices, settings):
    shared = settings.batch_size % devices == 0
    require(shared, "batch_size", f"divisible by the {devices} devices that share it", settings)
