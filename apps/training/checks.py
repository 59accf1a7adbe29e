"""What is wrong with the flags themselves, told before Keras is imported, which takes seconds."""

import os
import re

from apps import paths
from apps.program import LARGEST_INTEGER, FiniteParser
from apps.training import methods
from apps.training.choices import check, refuse_unused
from apps.training.flags import GREY, KINDS, OF_MODELS, OF_SCHEDULES, STAGES

_NETWORKS = ("dense", "model", "compact")
# What a training writes into its folder.
_FILES = (
    *(f"{name}{ending}" for name in _NETWORKS for ending in (".keras", ".tflite")),
    *("history.csv", "dense_history.csv", "report.json", "report.md", "report.html"),
    *("accuracy.png", "channels.png", "masks.npz"),
)
_FOLDERS = ("checkpoint", "dense_checkpoint", "tensorboard")


def check_flags(values):
    """Raise a ValueError for flags that do not go with each other, or files that are not there.

    Args:
        values: the `FlagValues`.
    """
    refuse_unused("model", OF_MODELS, values)
    if values.depth is not None:
        fits = values.depth >= 10 and values.depth % 6 == 4
        check(fits, "depth", "6n + 4 for a whole n: 10, 16, 22, 28, ...", values)
    refuse_unused("optimizer", methods.takes(), values)
    _check_data(values)
    given = values["init_bound"].present and values.init_scale is None
    check(not given, "init_bound", "given with --init_scale only", values)
    _check_optimizer(values)
    _check_schedule(values)
    _check_output(values)


def _check_data(values):
    if values.dataset == "imagenet":
        for name in ("held_out", "train_images", "augment"):
            check(not values[name].present, name, "left away with --dataset=imagenet", values)
        if values.data_dir:
            check(os.path.isdir(values.data_dir), "data_dir", "a folder that is there", values)
        return
    check(values.image_size is None, "image_size", "left away without --dataset=imagenet", values)
    grey = values.dataset in GREY
    check(not (values.augment and grey), "augment", "left away for images in grey", values)
    paths.check_data(values.dataset, values.data_dir)


def _check_optimizer(values):
    try:
        re.compile(values.exclude or "")
    except re.error as error:
        check(False, "exclude", f"a regular expression ({error})", values)
    fits = methods.retrain_epochs(values) <= values.epochs
    check(fits, "retrain_epochs", "from 0 to --epochs", values)
    if values.optimizer == "rda":
        _check_rda(values)
    if "update_every" in methods.METHODS[values.optimizer].takes:
        _check_updates(values)
    if "prune_schedule" in methods.METHODS[values.optimizer].takes:
        constant = methods.value("prune_schedule", values) in (None, "constant")
        if constant and values["prune_until"].present:
            raise ValueError("--prune_until needs --prune_schedule=linear or cosine.")
    if None not in (values.prune_from, values.prune_until):
        ordered = values.prune_from <= values.prune_until
        check(ordered, "prune_until", "at least --prune_from", values)


def _check_rda(values):
    both = values.l1 is not None and values.target_sparsity is not None
    check(not both, "l1", "left away with --target_sparsity, from which it is found", values)
    by_channel = values.target_sparsity is not None and values.groups == "channel"
    if by_channel and values.form == "published":
        raise ValueError(
            "--target_sparsity by channel needs form='accumulated': give --form=accumulated, "
            "--groups=weight, or --l1 instead."
        )
    zero = values.center == "zero" and values.form != "published"
    check(not zero, "center", "initial with --form=accumulated", values)
    falls = values.rho and values.l1 is None and values.target_sparsity is not None
    check(not falls, "rho", "left away with --target_sparsity", values)


def _check_updates(values):
    every = values.update_every or "epoch"
    fits = every == "epoch" or (every.isdecimal() and 1 <= int(every) <= LARGEST_INTEGER)
    check(fits, "update_every", "a number or epoch", values)
    if values.update_masks == "callback":
        check(values.optimizer != "rigl", "update_masks", "in_step or apart for rigl", values)


def _check_schedule(values):
    default = "inverse_sqrt" if values.optimizer == "prox_sgd" else "constant"
    refuse_unused("schedule", {**OF_SCHEDULES, None: OF_SCHEDULES[default]}, values)
    if values.schedule == "step":
        check(values.step_every is not None, "step_every", "given with --schedule=step", values)
    if values.schedule != "staged":
        return
    rates, starts = (_numbers(name, values) for name in STAGES)
    check(rates and min(rates) > 0, "stages", "learning rates above 0", values)
    ascending = all(a < b for a, b in zip([0, *starts], starts, strict=False))
    fit = len(starts) == len(rates) - 1 and ascending
    check(fit, "stage_starts", "an ascending epoch for each of --stages but the first", values)


def _numbers(name, values):
    try:
        return [FiniteParser().parse(text) for text in values[name].value]
    except ValueError:
        check(False, name, "numbers separated by commas", values)


def _check_output(values):
    known = set(values.quantize) <= set(KINDS)
    check(known, "quantize", f"any of {', '.join(KINDS)}", values)
    quantizes = values.quantize and values.export is False
    check(not quantizes, "quantize", "left away without --export", values)
    # Metrics have an axis more there, see `strategies`, which TensorBoard does not take.
    scalars = not (values.tensorboard and values.strategy == "multi_worker")
    check(scalars, "tensorboard", "left away with --strategy=multi_worker", values)
    files = [*_FILES]
    for kind in values.quantize:
        files += [f"{name}-{kind}.tflite" for name in _NETWORKS]
    paths.check_out(values.out or f"runs/{values.dataset}", files, _FOLDERS)
