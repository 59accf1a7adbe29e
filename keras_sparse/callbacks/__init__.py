"""Callbacks for sparse training: `model.fit(callbacks=[DeadChannelCounter()])`."""

from keras_sparse import _renamed
from keras_sparse.callbacks.adaptive_sparse_retraining import AdaptiveSparseRetraining
from keras_sparse.callbacks.dead_channel_counter import DeadChannelCounter
from keras_sparse.callbacks.epoch_checkpoint import EpochCheckpoint
from keras_sparse.callbacks.mask_history import MaskHistory
from keras_sparse.callbacks.mask_update import MaskUpdate
from keras_sparse.callbacks.schedule_over_training import ScheduleOverTraining
from keras_sparse.callbacks.separate_updates import SeparateUpdates
from keras_sparse.callbacks.sparsity_logger import SparsityLogger
from keras_sparse.callbacks.terminate_on_dead_network import TerminateOnDeadNetwork
from keras_sparse.callbacks.throughput import Throughput

__all__ = [
    "AdaptiveSparseRetraining",
    "DeadChannelCounter",
    "EpochCheckpoint",
    "MaskHistory",
    "MaskUpdate",
    "ScheduleOverTraining",
    "SeparateUpdates",
    "SparsityLogger",
    "TerminateOnDeadNetwork",
    "Throughput",
]

__getattr__ = _renamed.module_getattr(__name__, {"ZeroChannels": "DeadChannelCounter"})
