"""The one call: a trained model and a budget in, a compact trained model out."""

import dataclasses

import keras

from keras_sparse.compression.budget import in_words
from keras_sparse.compression.checks import check_data
from keras_sparse.compression.cost import CostModel
from keras_sparse.compression.job import Job
from keras_sparse.compression.planning import Plan, check_allocation, measured_costs
from keras_sparse.compression.recovery import RATE_SHARE, base_learning_rate, steps_per_epoch
from keras_sparse.compression.schedules import as_schedule
from keras_sparse.compression.training import STUDENT_LOSS_WEIGHT, Training
from keras_sparse.files import check_folder
from keras_sparse.validation import check_integer, check_number


@dataclasses.dataclass(frozen=True, eq=False)
class Compressed:
    """What `compress` returns.

    Args:
        model: the compact `keras.Model`, trained and compiled.
        plan: the `Plan`, of several cuts the last.
        report: the `surgery.Report` of the removal, of several cuts of the last.
        costs: `{cost: (asked or None, before, after)}`, counted on the compact model, or predicted
            where only a device can measure.
        metrics: `{"given", "cut", "recovered": {name: float}}` on the validation
            data, empty without.
        history: `{name: values by epoch}` of the training.
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
        else:
            lines.append("No accuracy: `validation_data` was not given.")
        return "\n".join(lines)


def compress(
    model,
    data,
    *,
    target=None,
    plan=None,
    epochs=12,
    schedule="one_shot",
    validation_data=None,
    learning_rate=None,
    batch_size=128,
    distillation=None,
    student_loss_weight=STUDENT_LOSS_WEIGHT,
    importance=None,
    allocation="importance",
    latency=None,
    micro=None,
    files=None,
    exclude=(),
    folder=None,
    callbacks=None,
    verbose="auto",
):
    """Make a trained model meet a budget, and train it until its accuracy comes back.

    Channels are chosen and removed as `plan` does, then the compact model is trained with the loss
    and the optimizer of `model`. The learning rate rises for an epoch to its peak and falls to 0
    along a cosine.

    Args:
        model: a built `keras.Model`, compiled with loss, metrics and optimizer of its training.
            It is not changed.
        data: training data: `(x, y)` or `(x, y, sample_weight)` of arrays, a `tf.data.Dataset`
            with a known number of batches, or a `keras.utils.PyDataset`, also one without end
            such as `keras_sparse.data.Batches`.
        target: `{cost: limit}`, see `keras_sparse.plan`.
        plan: a `Plan` of `model`, in place of `target`.
        epochs: int, epochs of training in all; 0 for none.
        schedule: how the channels go. `"one_shot"`: all at once, before the training.
            `"iterative"`: in several cuts with an epoch of training after each, an `Iterative()`.
            `"growing"`: chosen first, then pushed to zero while the model trains, then cut, a
            `Growing()`.
        validation_data: held-out data of the same kind, on which the metrics of the result are
            computed.
        learning_rate: float, the peak. Defaults to 0.3 times the largest learning rate of the
            model's optimizer.
        batch_size: int, for arrays.
        distillation: a loss of `keras.distillation`, or a list of them, by which the compact model
            is trained on what `model` says. `model` must have one output, and the data no sample
            weights.
        student_loss_weight: float in [0, 1], the weight of the model's own loss beside the
            distillation's. Regularizers keep theirs.
        importance, allocation, latency, exclude: see `keras_sparse.plan`.
        micro: what measures the targets `"arena"` and `"flash"`, an `export.Micro`. They are
            predicted from what it says of `model`, and where the compact model needs more than is
            allowed, a smaller one is planned. With None they are only predicted.
        files: what measures the targets `"float32_bytes"` and `"int8_bytes"`, an
            `export.FileSizes`, in the same way. With None they are only predicted.
        folder: where scores, plan and training are kept, the training epoch by epoch. After a kill
            the same call continues where it was; one with other arguments is refused. Batches of
            arrays are shuffled by epoch; data sets come in their own order, and one without end
            starts at the batches of its epoch if it has `first_epoch` and `from_epoch`, as
            `Batches` has.
        callbacks: list of `keras.callbacks.Callback` for the training.
        verbose: as in `fit`.

    Returns:
        A `Compressed`; print it.

    Raises:
        ValueError: an argument of another kind, a model that is not compiled, data that do not tell
            their length or do not fit the model (names, shapes, classes, NaN); `BudgetError` for a
            budget that cannot be met.

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
    schedule = as_schedule(schedule)
    schedule.check(epochs)
    if folder is not None:
        check_folder("folder", folder)
    given = {
        "importance": importance,
        "allocation": allocation != "importance",
        "latency": latency,
        "micro": micro,
        "files": files,
        "exclude": exclude,
    }
    _check_meter("micro", micro, "export.Micro()", ("arena", "flash"), target)
    _check_meter("files", files, "export.FileSizes()", CostModel.file_names, target)
    _check_plan(target, plan, schedule, given)
    if learning_rate is None:
        learning_rate = RATE_SHARE * base_learning_rate(_optimizer_of(model))
    check_number("learning_rate", learning_rate, "(0, inf)")
    check_data("data", data, model)
    steps_per_epoch(data, batch_size)
    if validation_data is not None:
        check_data("validation_data", validation_data, model, ends=True)
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
    job = Job(
        model,
        training,
        target,
        plan,
        epochs,
        learning_rate,
        importance,
        allocation,
        latency,
        exclude,
        micro,
        files,
        folder,
        repr(schedule),
    )
    done = schedule.run(job)
    compact = done.cut.model
    stages = {
        "given": training.evaluate(model),
        "cut": done.metrics,
        "recovered": training.evaluate(compact),
    }
    metrics = stages if validation_data is not None else {}
    return Compressed(compact, done.cut.plan, done.cut.report, _costs(done), metrics, done.history)


def _check_meter(name, meter, needed, costs, target):
    if meter is None:
        return
    if not callable(getattr(meter, "costs", None)):
        raise ValueError(f"`{name}` must be an `{needed}`. Received: {meter!r}")
    if isinstance(target, dict) and not set(costs) & set(target):
        raise ValueError(
            f"`{name}` measures {' and '.join(map(repr, costs))}, and `target` limits neither. "
            f"Received: target={target!r}"
        )


def _check_plan(target, plan, schedule, given):
    if (target is None) == (plan is None):
        raise ValueError(
            "`compress` takes either `target`, a dict such as {'macs': 0.5}, or `plan`, what "
            f"`keras_sparse.plan` returns. Received: target={target!r}, plan of type {type(plan)}"
        )
    if plan is None:
        return
    if not isinstance(plan, Plan):
        raise ValueError(f"`plan` must be a `Plan`, from `keras_sparse.plan`. Received: {plan!r}")
    names = [name for name, value in given.items() if value]
    if names:
        raise ValueError(f"`plan` was made already: give {names} to `keras_sparse.plan`.")
    if not schedule.takes_plan:
        raise ValueError(f"`plan` is for one cut, {schedule} makes several: give `target`.")


def _optimizer_of(model):
    if getattr(model, "optimizer", None) is None:
        raise ValueError(
            f"The model {model.name!r} has no optimizer: call `model.compile` with the optimizer, "
            "the loss and the metrics of its training."
        )
    return model.optimizer


def _costs(done):
    """`{cost: (asked, before, after)}`: counted, measured on the device, or predicted."""
    counted = measured_costs(done.cut.model)
    costs = {}
    for name, (_, predicted) in done.cut.plan.costs.items():
        _, after = done.cut.seconds.get(name, (None, counted.get(name, predicted)))
        costs[name] = (done.cut.plan.asked.get(name), done.first.costs[name][0], after)
    return costs
