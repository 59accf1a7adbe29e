"""Other networks within the same budget, trained for the same number of epochs."""

import contextlib
import dataclasses
import math
import warnings

import keras

import keras_sparse
from apps.compression.options import BASELINES
from export import run_folder
from keras_sparse import checkpoint_files
from keras_sparse.compression import BudgetError, Random, reinitialized
from keras_sparse.compression.device import fit_to_device
from keras_sparse.compression.plan_files import PlanFolder
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
# Names of the files and of the folders of checkpoints.
_NAMES = dict(zip((SCRATCH, NARROW, NARROW_STEPS, RANDOM), BASELINES, strict=True))
_IN_WORDS = {
    SCRATCH: "The shape trained from scratch",
    NARROW: "The narrow network trained from scratch",
    NARROW_STEPS: "The narrow network on the steps of the latency, trained from scratch,",
    RANDOM: "The shape with random channels",
}


def train(model, result, data, folder, settings, latency, micro, files, distillation):
    """Train the baselines, and save them.

    Args:
        model: the given `keras.Model`.
        result: its `Compressed`.
        data: a `Data`.
        folder: `pathlib.Path` of the run.
        settings: dict, the settings of the run.
        latency, micro, files: see `compress`.
        distillation: see `compress`; the given model teaches the baselines too.

    Returns:
        `{name: {metric or cost: number}}`, with the costs of the target.
    """
    training = Training(
        given=model,
        data=data.train,
        validation_data=data.test,
        batch_size=settings["batch_size"],
        callbacks=(),
        verbose="auto",
        distillation=distillation,
        student_loss_weight=STUDENT_LOSS_WEIGHT,
    )
    # Networks of the same shape cost the same.
    costs = {name: after for name, (limit, _, after) in result.costs.items() if limit is not None}
    meters = [meter for meter in (micro, files) if meter is not None]
    shapes = {SCRATCH: (result.model, costs)}
    shapes |= _narrow(model, data, folder / "recovery", settings, latency, meters)
    found = {}
    for title, (network, own) in shapes.items():
        checkpoints = folder / "recovery" / _NAMES[title]
        _tell(title, checkpoints, settings["epochs"])
        trained = _from_scratch(network, model, training, settings, checkpoints)
        run_folder.save_model(trained, folder / f"{_NAMES[title]}.keras")
        found[title] = {**training.evaluate(trained), **measured_costs(trained), **own}
    checkpoints = folder / "recovery" / _NAMES[RANDOM]
    _tell(RANDOM, checkpoints / "recovery", settings["epochs"])
    random = _random(model, result, data, settings, checkpoints, distillation)
    run_folder.save_model(random.model, folder / f"{_NAMES[RANDOM]}.keras")
    found[RANDOM] = {**random.metrics["recovered"], **measured_costs(random.model), **costs}
    return found


def _tell(title, checkpoints, epochs):
    """Says that a training starts or continues, or that it is finished in its folder."""
    saved = checkpoint_files.load(checkpoints, ".weights.h5", {})
    if saved and saved[1]["epoch"] == epochs:
        print(f"Training {title}: taken from {checkpoints}, where it is finished.", flush=True)
    else:
        print(f"Training {title} ...", flush=True)


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


def _narrow(model, data, folder, settings, latency, meters):
    """The given network with the same share of channels in all layers, if that fits.

    Returns:
        `{title: (network, {cost: number})}` with the costs of the target; with a latency, also a
        network rounded to its steps, if it differs.
    """
    kinds = {NARROW: "uniform"}
    if latency:
        kinds[NARROW_STEPS] = "uniform_steps"
    target, seed = settings["target"], settings["seed"]
    found, shapes = {}, set()
    for title, allocation in kinds.items():
        kept = PlanFolder(folder / _NAMES[title], {"target": target, "seed": seed}, ("seed",))
        # A limit that is not met is in the table of the report.
        with contextlib.suppress(BudgetError), warnings.catch_warnings(action="ignore"):
            cut = fit_to_device(
                model,
                data.train,
                kept,
                timed=model,
                target=target,
                importance=Random(seed),
                allocation=allocation,
                latency=latency,
                meters=meters,
                exclude=tuple(settings["exclude"]),
            )
            if tuple(cut.plan.widths) not in shapes:
                shapes.add(tuple(cut.plan.widths))
                found[title] = cut.model, _costs(cut, target)
    return found


def _costs(cut, target):
    """The costs of a target, measured, counted or predicted, as `compress` has them."""
    known = {name: after for name, (_, after) in {**cut.plan.costs, **cut.seconds}.items()}
    known |= measured_costs(cut.model)
    return {name: known[name] for name in target}


def _random(model, result, data, settings, folder, distillation):
    """The `Compressed` of the same shape with random channels."""
    scores = Random(settings["seed"]).scores(model, result.plan.groups)
    return keras_sparse.compress(
        model,
        data.train,
        plan=dataclasses.replace(result.plan, scores=scores),
        epochs=settings["epochs"],
        learning_rate=settings["learning_rate"],
        batch_size=settings["batch_size"],
        validation_data=data.test,
        distillation=distillation,
        folder=folder,
    )


def verdict(report):
    """Sentences on the best baseline and on the shape from scratch, if they are as good.

    They are as good if the accuracy is lower than that of the compact model by at most the noise of
    the held-out samples, or, without accuracies, if the loss is not larger. A baseline that costs
    more than the target allows is not considered.
    """
    compact, rows = report["compact"], report.get("baselines", {})
    name = "accuracy" if "accuracy" in compact else "loss"
    if name not in compact:
        return ""
    own, noise, sign = compact[name], 0.0, -1
    if name == "accuracy":
        noise, sign = math.sqrt(2 * own * (1 - own) / report["held_out"]), 1
    found = {title: row[name] for title, row in rows.items() if name in row and _fits(row, report)}
    best = max(found, key=lambda title: sign * found[title], default=SCRATCH)
    margin = f", where {noise:.4f} is noise" if noise else ""
    sentences = []
    for title in dict.fromkeys((best, SCRATCH)):
        ahead = sign * (found.get(title, math.nan) - own)
        if ahead >= -noise:
            how = "better" if ahead > noise else "as good"
            sentences.append(
                f"{_IN_WORDS[title]} is {how}: {name} {found[title]:.4f}, and {own:.4f} of the "
                f"compact model{margin}. It is in {_NAMES[title]}.keras."
            )
    return " ".join(sentences)


def _fits(row, report):
    """Whether a baseline costs at most what the target allows, or what the compact model costs."""
    limited = {n: row for n, row in report["costs"].items() if row[0] is not None}
    return all(row[n] <= max(limit, after) for n, (limit, _, after) in limited.items())
