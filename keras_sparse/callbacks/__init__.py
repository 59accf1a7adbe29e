"""Callbacks for sparse training: `model.fit(callbacks=[ZeroChannels()])`."""

from keras_sparse.callbacks.adaptive_sparse_retraining import AdaptiveSparseRetraining
from keras_sparse.callbacks.epoch_checkpoint import EpochCheckpoint
from keras_sparse.callbacks.mask_history import MaskHistory
from keras_sparse.callbacks.mask_update import MaskUpdate
from keras_sparse.callbacks.schedule_over_training import ScheduleOverTraining
from keras_sparse.callbacks.separate_updates import SeparateUpdates
from keras_sparse.callbacks.sparsity_logger import SparsityLogger
from keras_sparse.callbacks.terminate_on_dead_network import TerminateOnDeadNetwork
from keras_sparse.callbacks.throughput import Throughput
from keras_sparse.callbacks.zero_channels import ZeroChannels

__all__ = [
    "AdaptiveSparseRetraining",
    "EpochCheckpoint",
    "MaskHistory",
    "MaskUpdate",
    "ScheduleOverTraining",
    "SeparateUpdates",
    "SparsityLogger",
    "TerminateOnDeadNetwork",
    "Throughput",
    "ZeroChannels",
]
