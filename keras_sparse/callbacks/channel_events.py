"""Channels for TensorBoard, written without TensorFlow."""

import math
import os
import time

import numpy as np

from keras_sparse.channels.record import log10_scores


class ChannelEvents:
    """Writes `EpochRecord`s as TensorBoard's events.

    Histograms `channels/LAYER/log10_score`; scalars `channels/LAYER/dead`, `channels/dead`, and,
    where they are known, `channels/gap_decades` and `channels/alpha_lambda_over_epsilon`.

    Args:
        log_dir: folder, made if it is not there.

    Raises:
        ImportError: the package tensorboard is not installed.
    """

    def __init__(self, log_dir):
        try:
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as error:
            raise ImportError("`log_dir` needs TensorBoard: pip install tensorboard") from error
        self._writer = EventFileWriter(os.fspath(log_dir))

    def write(self, record):
        from tensorboard.plugins.histogram.summary_v2 import histogram_pb

        for name, values in record.scores.items():
            tag = f"channels/{name}/log10_score"
            self._add(record.epoch, histogram_pb(tag, log10_scores(values)))
            self._add_scalar(record.epoch, f"{name}/dead", int(record.dead[name].sum()))
        total = sum(int(dead.sum()) for dead in record.dead.values())
        self._add_scalar(record.epoch, "dead", total)
        self._add_scalar(record.epoch, "gap_decades", record.gap.decades)
        if record.alpha_lambda_over_epsilon is not None:
            name = "alpha_lambda_over_epsilon"
            self._add_scalar(record.epoch, name, record.alpha_lambda_over_epsilon)
        self._writer.flush()

    def close(self):
        self._writer.close()

    def _add_scalar(self, step, name, value):
        from tensorboard.plugins.scalar.summary_v2 import scalar_pb

        if math.isfinite(value):
            self._add(step, scalar_pb(f"channels/{name}", np.float32(value)))

    def _add(self, step, summary):
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.add_event(Event(step=step, wall_time=time.time(), summary=summary))
