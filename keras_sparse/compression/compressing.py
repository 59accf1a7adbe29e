"""The public function `compress`, and its result."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras

from keras_sparse._types import Layers, Path
from keras_sparse.compression.arguments import (
    check_compiled,
    check_configs,
    check_meter,
    check_plan,
    checked_callbacks,
)
from keras_sparse.compression.budget import in_words
from keras_sparse.compression.checks import check_data
from keras_sparse.compression.cost import CostModel, check_latency
from keras_sparse.compression.descriptions import check_importance
from keras_sparse.compression.excluding import excluded_names
from keras_sparse.compression.importance import as_importance
from keras_sparse.compression.job import Job
from keras_sparse.compression.planning import Plan, check_allocation
from keras_sparse.compression.recovery import default_peak, steps_per_epoch
from keras_sparse.compression.reports import as_table, channels_in_words, what_stays
from keras_sparse.compression.schedules import as_schedule
from keras_sparse.compression.training import STUDENT_LOSS_WEIGHT, Training
from keras_sparse.files import check_folder
from keras_sparse.surgery.functional import check_model
from keras_sparse.training_steps import check_training_steps
from keras_sparse.validation import check_integer, check_number


@dataclasses.dataclass(frozen=True, eq=False)
class Compressed:
    """The result of `compress`.

    Args:
        model: the compact `keras.Model`, trained and compiled.
        plan: the `Plan`; with several cuts, the plan of the last cut.
        report: the `surgery.Report` of the removal, from the given model to `model`; with several
            cuts, its `slices` are those of the last cut.
        costs: dict `{cost: (limit or None, before, after)}`. The cost after is measured if
            possible; otherwise it is counted on the compact model, or predicted.
        sources: dict `{cost: source}` of the cost after: `"measured"`, `"counted"` or
            `"predicted"`. What the plan predicted is in `plan.costs`.
        metrics: dict from `"given"`, `"cut"` and `"recovered"` to `{name: float}`: the metrics on
            the validation data of the given model, of the model right after the cut, and of the
            model after the training. Empty without validation data.
        history: `{name: values by epoch}` of the training.
    """

    model: keras.Model
    plan: Plan
    report: object
    costs: dict
    sources: dict
    metrics: dict
    history: dict

    def __str__(self):
        stay = what_stays(self.plan.fixed)
        parts = [channels_in_words(self.report), *stay, as_table(self._cost_rows())]
        if self.metrics:
            parts.append(as_table(self._metric_rows()))
        else:
            parts.append("No accuracy: `validation_data` was not given.")
        return "\n".join(parts)

    def _cost_rows(self):
        yield "", "asked", "before", "predicted", "after", "ratio", ""
        for name, (limit, before, after) in self.costs.items():
            costs = limit, before, self.plan.costs[name][1], after
            texts = ("" if cost is None else in_words(name, cost) for cost in costs)
            yield name, *texts, f"{after / before:.3f}", self.sources[name]

    def _metric_rows(self):
        stages = self.metrics["given"], self.metrics["cut"], self.metrics["recovered"]
        yield "", "given", "after the cut", "recovered"
        for name in stages[0]:
            yield name, *(f"{metrics[name]:.4f}" for metrics in stages)


def compress(
    model: keras.Model,
    data: Any,
    *,
    target: Mapping[str, float | str] | None = None,
    plan: Plan | None = None,
    epochs: int = 12,
    schedule: Any = "one_shot",
    validation_data: Any = None,
    learning_rate: float | None = None,
    batch_size: int = 128,
    distillation: Any = None,
    student_loss_weight: float = STUDENT_LOSS_WEIGHT,
    importance: Any = None,
    allocation: str = "importance",
    latency: Mapping[str, Any] | None = None,
    micro: Any = None,
    files: Any = None,
    exclude: Layers = (),
    folder: Path | None = None,
    callbacks: list[keras.callbacks.Callback] | keras.callbacks.Callback | None = None,
    verbose: int | str = "auto",
) -> Compressed:
    """Makes a trained model meet a budget, and trains it to recover its accuracy.

    The channels that matter least are chosen, as in `keras_sparse.plan`, and removed. Then the
    compact model is trained with the loss and the optimizer of `model`. The learning rate rises to
    its peak in the first epoch, and then falls to 0 along a cosine.

    Args:
        model: a built `keras.Model`, compiled with the loss, the metrics and the optimizer of its
            training. It is not changed.
        data: training data: arrays `(x, y)` or `(x, y, sample_weight)`, a `tf.data.Dataset` with a
            known number of batches, or a `keras.utils.PyDataset`. A `PyDataset` may be infinite, as
            `keras_sparse.data.Batches` is.
        target: dict `{cost: limit}`, as in `keras_sparse.plan`. If the compact model's parameters,
            multiply-accumulates or memory exceed a limit, a smaller model is planned.
        plan: a `Plan` for `model`, instead of `target`.
        epochs: int, the total number of epochs of training. With 0, the model is not trained.
        schedule: when to remove the channels. `"one_shot"`: all at once, before the training.
            `"iterative"`: in several cuts with an epoch of training after each; see `Iterative`.
            `"growing"`: channels are pushed to zero during training, and then removed; see
            `Growing`.
        validation_data: held-out data of the same kind as `data`, with an end. The metrics of the
            result are computed on it.
        learning_rate: float, the peak of the learning rate. Defaults to the learning rate of the
            model's optimizer, or to the largest that its schedule has had; with fewer than 8
            epochs, to 0.3 times that. Give it if a callback changed the rate, as
            `ReduceLROnPlateau` does.
        batch_size: int, the batch size if `data` are arrays.
        distillation: a loss of `keras.distillation`, or a list of them. `model` is then the
            teacher. It must have one output, and the data no sample weights.
        student_loss_weight: float in [0, 1], the weight of the model's own loss next to the
            distillation loss. Regularization losses are added without a weight.
        importance, allocation, latency, exclude: as in `keras_sparse.plan`. With `latency`, the
            whole compact model is timed too; if it exceeds its limit, a smaller one is planned.
        micro: an `export.Micro`, which measures the costs `"arena"` and `"flash"`. If the compact
            model exceeds a limit, a smaller one is planned. With None, both are only predicted.
        files: an `export.FileSizes`, which measures the costs `"float32_bytes"` and `"int8_bytes"`
            in the same way. With None, both are only predicted.
        folder: path of a folder to save scores, plan and the state of the training after each
            epoch. If the process is killed, the same call continues from there. A call with other
            arguments, arrays, loss or optimizer is refused; of a data set, only the number of
            batches is compared. To continue, an infinite data set needs `first_epoch` and
            `from_epoch`, as `Batches` has.
        callbacks: list of `keras.callbacks.Callback` for the training, or one; none that sets the
            learning rate, such as `ReduceLROnPlateau`.
        verbose: as in `fit`.

    Returns:
        A `Compressed`. Print it to see the channels, the costs and the accuracy before and after.

    Raises:
        ValueError: an argument has the wrong type; the model is not compiled, or overrides a part
            of Keras' training, such as `train_step`; a metric or the optimizer cannot be made again
            from its config; a latency table is of another model; the data have no known length, or
            do not fit the model (names, shapes, classes, NaN).
        BudgetError: the budget cannot be met. The message says what can be reached.

    Warns:
        UserWarning: a measured or counted cost of the compact model is above its limit, after three
            plans; or the model meets the target already.

    Example:

    >>> data, val_data = (x_train, y_train), (x_val, y_val)
    >>> result = keras_sparse.compress(
    ...     model, data, target={"macs": 0.5}, epochs=12, validation_data=val_data
    ... )
    >>> print(result)
    >>> result.model.save("small.keras")

    Reference:
        Distilling the knowledge in a neural network, arXiv 1503.02531.
    """
    check_model(model)
    check_training_steps(model)
    check_compiled(model)
    check_configs(model, folder)
    callbacks = checked_callbacks(callbacks)
    check_latency(latency, model)
    check_allocation(allocation)
    epochs = check_integer("epochs", epochs, "[0, inf)")
    batch_size = check_integer("batch_size", batch_size, "[1, inf)")
    schedule = as_schedule(schedule)
    exclude = excluded_names(exclude, model)
    schedule.check(epochs)
    if folder is not None:
        check_folder("folder", folder)
        if importance is not None:
            as_importance(importance)
            check_importance(importance)
    given = {
        "importance": importance,
        "allocation": allocation != "importance",
        "latency": latency,
        "micro": micro,
        "files": files,
        "exclude": exclude,
    }
    check_meter("micro", micro, "export.Micro()", CostModel.micro_names, target)
    check_meter("files", files, "export.FileSizes()", CostModel.file_names, target)
    check_plan(target, plan, schedule, given)
    if learning_rate is None:
        learning_rate = default_peak(model, epochs)
    learning_rate = check_number("learning_rate", learning_rate, "(0, inf)")
    check_data("data", data, model)
    steps_per_epoch(data, batch_size)
    if validation_data is not None:
        check_data("validation_data", validation_data, model, evaluated=True)
    training = Training(
        model,
        data,
        validation_data,
        batch_size,
        callbacks,
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
    costs, sources = _costs(done)
    return Compressed(
        compact, done.cut.plan, done.cut.report, costs, sources, metrics, done.history
    )


def _costs(done):
    """`{cost: (limit, before, after)}`, and `{cost: source of the cost after}`."""
    plan, counted = done.cut.plan, done.cut.counted
    costs, sources = {}, {}
    for name, (_, predicted) in plan.costs.items():
        if name in done.cut.seconds:
            source, after = "measured", done.cut.seconds[name][1]
        elif name in counted:
            source, after = "counted", counted[name]
        else:
            source, after = "predicted", predicted
        costs[name] = plan.asked.get(name), done.first.costs[name][0], after
        sources[name] = source
    return costs, sources
