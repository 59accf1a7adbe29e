"""The one call: a trained model and a budget in, a smaller trained model out."""

import dataclasses

import keras

from keras_sparse.compression.budget import in_words
from keras_sparse.compression.device import fit_to_device
from keras_sparse.compression.planning import Plan, check_allocation, measured_costs
from keras_sparse.compression.recovery import (
    RATE_SHARE,
    base_learning_rate,
    compile_like,
    recovery_optimizer,
    steps_per_epoch,
)
from keras_sparse.compression.training import STUDENT_LOSS_WEIGHT, Training
from keras_sparse.compression.trial import recalibrate
from keras_sparse.validation import check_integer, check_number


@dataclasses.dataclass(frozen=True, eq=False)
class Compressed:
    """What `compress` returns.

    Args:
        model: the smaller `keras.Model`, trained and compiled.
        plan: the `Plan`.
        report: the `surgery.Report` of the removal.
        costs: `{cost: (asked or None, before, after)}`, counted on the smaller model, or predicted
            where only a device can measure.
        metrics: `{"given", "cut", "recovered": {name: float}}` on the validation
            data, empty without.
        history: `{name: values by epoch}` of the recovery.
    """

    model: keras.Model
    plan: Plan
    report: object
    costs: dict
    metrics: dict
    history: dict

    def __str__(self):
        lines = [f"{'':<16}{'asked':>16}{'before':>16}{'after':>16}{'ratio':>8}"]
        for name, (asked, *both) in self.costs.items():
            wanted = "" if asked is None else in_words(name, asked)
            before, after = (in_words(name, cost) for cost in both)
            ratio = both[1] / both[0]
            lines.append(f"{name:<16}{wanted:>16}{before:>16}{after:>16}{ratio:>8.3f}")
        if self.metrics:
            lines.append(f"{'':<16}{'given':>16}{'after cut':>16}{'recovered':>16}")
            for name in self.metrics["given"]:
                row = [self.metrics[stage][name] for stage in ("given", "cut", "recovered")]
                lines.append(f"{name:<16}{row[0]:>16.4f}{row[1]:>16.4f}{row[2]:>16.4f}")
        return "\n".join(lines)


def compress(
    model,
    data,
    *,
    target,
    epochs=12,
    validation_data=None,
    learning_rate=None,
    batch_size=128,
    distillation=None,
    student_loss_weight=STUDENT_LOSS_WEIGHT,
    importance=None,
    allocation="importance",
    latency=None,
    exclude=(),
    folder=None,
    callbacks=None,
    verbose="auto",
):
    """Make a trained model meet a budget, and train it until its accuracy comes back.

    Channels are chosen and removed as `plan` does, then the smaller model is trained with the loss
    and the optimizer of `model`. The learning rate rises for an epoch to its peak and falls to 0
    along a cosine.

    Args:
        model: a built `keras.Model`, compiled with loss, metrics and optimizer of its training.
            It is not changed.
        data: training data: `(x, y)` or `(x, y, sample_weight)` of arrays, a `tf.data.Dataset`
            with a known number of batches, or a `keras.utils.PyDataset`, also one without end
            such as `keras_sparse.data.Batches`.
        target: `{cost: limit}`, see `plan`.
        epochs: int, epochs of training after the cut; 0 for none.
        validation_data: held-out data of the same kind, on which the metrics of the result are
            computed.
        learning_rate: float, the peak. Defaults to 0.3 times the largest learning rate of the
            model's optimizer.
        batch_size: int, for arrays.
        distillation: a loss of `keras.distillation`, or a list of them, by which the smaller model
            is trained on what `model` says. `model` must have one output, and the data no sample
            weights.
        student_loss_weight: float in [0, 1], the weight of the model's own loss beside the
            distillation's. Regularizers keep theirs.
        importance, allocation, latency, exclude: see `plan`.
        folder: where the training is kept, epoch by epoch. After a kill the same call goes on
            where it was. Batches of arrays are shuffled by epoch; data sets come in their own
            order, and one without end starts at the batches of its epoch if it has `first_epoch`
            and `from_epoch`, as `Batches` has.
        callbacks: list of `keras.callbacks.Callback` for the training.
        verbose: as in `fit`.

    Returns:
        A `Compressed`; print it.

    Raises:
        ValueError: an argument of another kind, a model that is not compiled, data that do not tell
            their length; `BudgetError` for a budget that cannot be met.

    Example:

    >>> result = keras_sparse.compress(
    ...     model, (x_train, y_train), target={"macs": 0.5}, epochs=12, validation_data=(x, y)
    ... )
    >>> print(result)
    >>> result.model.save("small.keras")

    Reference:
        Distilling the knowledge in a neural network, arXiv 1503.02531.
    """
    check_allocation(allocation)
    check_integer("epochs", epochs, "[0, inf)")
    check_integer("batch_size", batch_size, "[1, inf)")
    if learning_rate is None:
        learning_rate = RATE_SHARE * base_learning_rate(_optimizer_of(model))
    check_number("learning_rate", learning_rate, "(0, inf)")
    training = Training(
        model,
        data,
        validation_data,
        batch_size,
        tuple(callbacks or ()),
        verbose,
        distillation,
        student_loss_weight,
    )
    steps = steps_per_epoch(data, batch_size)
    chosen, smaller, report, seconds = fit_to_device(
        model,
        data,
        target=target,
        importance=importance,
        allocation=allocation,
        latency=latency,
        exclude=exclude,
    )
    optimizer = recovery_optimizer(
        model.optimizer, learning_rate, steps * epochs, steps if epochs > 1 else 0
    )
    compile_like(smaller, model, optimizer)
    recalibrate(smaller, data, batch_size)
    metrics = {"given": training.evaluate(model), "cut": training.evaluate(smaller)}
    history = training.run(smaller, epochs, folder)
    metrics["recovered"] = training.evaluate(smaller)
    metrics = {stage: found for stage, found in metrics.items() if found}
    return Compressed(smaller, chosen, report, _costs(chosen, smaller, seconds), metrics, history)


def _optimizer_of(model):
    if getattr(model, "optimizer", None) is None:
        raise ValueError(
            f"The model {model.name!r} has no optimizer: call `model.compile` with the optimizer, "
            "the loss and the metrics of its training."
        )
    return model.optimizer


def _costs(chosen, smaller, seconds):
    """`{cost: (asked, before, after)}`: counted, measured on the device, or predicted."""
    counted = measured_costs(smaller)
    costs = {}
    for name, (before, predicted) in chosen.costs.items():
        known = before, counted.get(name, predicted)
        costs[name] = (chosen.asked.get(name), *seconds.get(name, known))
    return costs
