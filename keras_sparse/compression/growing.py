"""Pushes chosen channels to zero while a model trains."""

import keras
import numpy as np

from keras_sparse import _keras
from keras_sparse.compression.recovery import compile_like, steps_per_epoch
from keras_sparse.surgery.coupling import READER
from keras_sparse.surgery.functional import separate

# In total, weights without a gradient shrink by a factor of e to the power of this number.
_DEPTH = 8.0


def push(job, plan, epochs, stage):
    """Trains the given model while the chosen channels of a plan decay to zero.

    The model's own weights are trained, so the groups of the plan remain valid.

    Args:
        job: a `Job`.
        plan: a `Plan` of the job's model.
        epochs: int.
        stage: str, name of the folder for the training's checkpoints.

    Returns:
        `{name: values by epoch}`.
    """
    trained = separate(job.model)
    steps = epochs * steps_per_epoch(job.training.data, job.training.batch_size)
    optimizer = pushing(job.optimizer(epochs, constant=True), shrinking_masks(plan), steps)
    own = {weight.path: weight.path for weight in trained.weights}
    compile_like(trained, job.model, optimizer, own)
    return job.train(trained, plan, epochs, stage)


def shrinking_masks(plan):
    """`{path of a weight: [(axis, bool array)]}`, True for entries that a plan removes."""
    masks = {}
    for group, removed in plan.removed.items():
        for part in group.slices:
            if part.role == READER:
                continue
            rows = (part.channels >= 0) & removed[part.channels]
            masks.setdefault(part.path, []).append((part.axis, rows))
    return masks


def pushing(optimizer, masks, steps):
    """Makes an optimizer that decays some weights after each batch, at a growing rate.

    Args:
        optimizer: a `keras.optimizers.Optimizer`; it is not changed.
        masks: the result of `shrinking_masks`.
        steps: int, the total number of batches with decay.

    Returns:
        A new optimizer with the same variables.
    """
    rise = 2.0 * _DEPTH / steps**2

    class Pushing(type(optimizer)):
        """After each batch, the chosen weights decay by a fraction that rises linearly."""

        def apply(self, grads, trainable_variables=None):
            """Applies the gradients of a batch, then decays the weights."""
            step = keras.ops.cast(_keras.batches(self), "float32") + 1.0
            super().apply(grads, trainable_variables)
            share = keras.ops.minimum(1.0, rise * step)
            for variable in _keras.variables_of(self):
                if variable.path in masks:
                    mask = _broadcast(masks[variable.path], len(variable.shape))
                    kept = keras.ops.cast(1.0 - keras.ops.multiply(share, mask), variable.dtype)
                    variable.assign(keras.ops.multiply(variable, kept))

    return Pushing.from_config(optimizer.get_config())


def _broadcast(parts, dimensions):
    """1 where any of the `(axis, rows)` is True, in a shape that broadcasts with the weight."""
    kept = np.float32(1.0)
    for axis, rows in parts:
        shape = [1] * dimensions
        shape[axis] = len(rows)
        kept = kept * (~rows).astype("float32").reshape(shape)
    return 1.0 - kept
