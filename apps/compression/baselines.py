"""Other networks within the same budget, trained for the same number of epochs."""

import contextlib
import dataclasses
import math

import keras

import keras_sparse
from export import run_folder
from keras_sparse.compression import BudgetError, Random, reinitialized
from keras_sparse.compression.planning import measured_costs
from keras_sparse.compression.recovery import (
    base_learning_rate,
    compile_like,
    recovery_optimizer,
    steps_per_epoch,
)
from keras_sparse.compression.training import STUDENT_LOSS_WEIGHT, Training

SCRATCH = "the shape, from scratch"
NARROW = "narrow, from scratch"
NARROW_STEPS = "narrow on the steps of the latency, from scratch"
RANDOM = "random channels in the shape"


def train(model, result, data, folder, settings, latency):
    """Train the baselines, and save `scratch.keras`.

    Args:
        model: the given `keras.Model`.
        result: its `Compressed`.
        data: a `Data`.
        folder: `pathlib.Path` of the run.
        settings: dict, the settings of the run.
        latency: tables by cost, see `compress`.

    Returns:
        `{name: {metric or cost: number}}`.
    """
    training = Training(
        given=model,
        data=data.train,
        validation_data=data.test,
        batch_size=settings["batch_size"],
        callbacks=(),
        verbose="auto",
        distillation=None,
        student_loss_weight=STUDENT_LOSS_WEIGHT,
    )
    found = {}
    print(f"Training {SCRATCH} ...", flush=True)
    scratch = _from_scratch(result.model, model, training, settings, folder / "recovery/scratch")
    run_folder.save_model(scratch, folder / "scratch.keras")
    found[SCRATCH] = _figures(scratch, training)
    for (title, name), network in _narrow(model, data, settings, latency).items():
        print(f"Training {title} ...", flush=True)
        narrow = _from_scratch(network, model, training, settings, folder / "recovery" / name)
        found[title] = _figures(narrow, training)
    print(f"Training {RANDOM} ...", flush=True)
    found[RANDOM] = _random(model, result, data, settings, folder / "recovery/random")
    return found


def _from_scratch(network, model, training, settings, folder):
    """A network trained with new weights, at the given model's own learning rate."""
    keras.utils.set_random_seed(settings["seed"])
    new = reinitialized(network, like=model)
    steps = steps_per_epoch(training.data, training.batch_size)
    epochs = settings["epochs"]
    # A callback, or a schedule with a warm-up, may have lowered the given model's rate.
    rate = max(base_learning_rate(model.optimizer), settings["learning_rate"])
    warmup = steps if epochs > 1 else 0
    compile_like(new, model, recovery_optimizer(model.optimizer, rate, steps * epochs, warmup))
    training.run(new, epochs, folder, {"epochs": epochs, "seed": settings["seed"]})
    return new


def _narrow(model, data, settings, latency):
    """The given network with the same share of channels in all layers, if that fits.

    Returns:
        `{(title, folder): network}`; with a latency, also a network rounded to its steps, if it
        differs.
    """
    kinds = {(NARROW, "narrow"): "uniform"}
    if latency:
        kinds[NARROW_STEPS, "narrow_steps"] = "uniform_steps"
    found, shapes = {}, set()
    for names, allocation in kinds.items():
        with contextlib.suppress(BudgetError):
            plan = keras_sparse.plan(
                model,
                data.train,
                target=settings["target"],
                importance=Random(settings["seed"]),
                allocation=allocation,
                latency=latency,
                exclude=tuple(settings["exclude"]),
            )
            if tuple(plan.widths) not in shapes:
                shapes.add(tuple(plan.widths))
                found[names] = plan.apply(model)[0]
    return found


def _random(model, result, data, settings, folder):
    """Figures of a network of the same shape with random channels."""
    scores = Random(settings["seed"]).scores(model, result.plan.groups)
    found = keras_sparse.compress(
        model,
        data.train,
        plan=dataclasses.replace(result.plan, scores=scores),
        epochs=settings["epochs"],
        learning_rate=settings["learning_rate"],
        batch_size=settings["batch_size"],
        validation_data=data.test,
        folder=folder,
    )
    return {**found.metrics["recovered"], **measured_costs(found.model)}


def _figures(network, training):
    return {**training.evaluate(network), **measured_costs(network)}


def verdict(report):
    """A sentence on whether the shape from scratch is as good as the compact model; "" if not.

    It compares accuracies, or, without them, losses on the held-out samples.
    """
    compact, scratch = report["compact"], report.get("baselines", {}).get(SCRATCH, {})
    name = "accuracy" if "accuracy" in compact else "loss"
    if name not in compact or name not in scratch:
        return ""
    own, other, noise = compact[name], scratch[name], 0.0
    if name == "accuracy":
        noise = math.sqrt(2 * own * (1 - own) / report["held_out"])
    if other < own - noise if name == "accuracy" else other > own:
        return ""
    margin = f", where {noise:.4f} is noise" if noise else ""
    return (
        f"The shape trained from scratch is as good: {name} {other:.4f}, and {own:.4f} of the "
        f"compact model{margin}. It is in scratch.keras."
    )
