"""Sentences of the report on a compression."""

from keras_sparse.compression.budget import in_words
from keras_sparse.compression.schedules import as_schedule


def summary(report):
    """The target, and the result right after the cut."""
    cut = ", ".join(f"{name} {value:.4f}" for name, value in report["after_cut"].items())
    sentences = [*of_costs(report), *_two_timings(report)]
    return (
        f"{' '.join(sentences)} On {report['held_out']:,} held-out samples; right after the "
        f"{_time_of_cut(report['settings'])}: {cut}."
    )


def of_costs(report):
    """A sentence for each limit of the target."""
    requested = {name: row for name, row in report["costs"].items() if row[0] is not None}
    sentences = []
    for name, (asked, before, after) in requested.items():
        met = "" if after <= asked else " The target is not met."
        sentences.append(
            f"{name}: at most {in_words(name, asked)} requested, {in_words(name, before)} "
            f"before, {in_words(name, after)} after.{met}"
        )
    return sentences


def epochs_before(settings):
    """Epochs of training before the last cut."""
    return as_schedule(settings["schedule"]).before(settings["epochs"])


def _time_of_cut(settings):
    epochs, before = settings["epochs"], epochs_before(settings)
    which = "last cut" if settings["schedule"] == "iterative" else "cut"
    when = f"after {before} of" if before else "before"
    return f"{which}, {when} {epochs} epoch{'s' * (epochs != 1)} of training"


def _two_timings(report):
    """A sentence on two latencies of one file; none if it was timed once."""
    limited = [name for name, row in report["costs"].items() if row[0] is not None]
    if "benchmark" not in report or not any(name.endswith("latency") for name in limited):
        return []
    return [
        "The latency of the target was measured when the channels were chosen. At the end all "
        "files were timed again, alternately: the latencies in the table differ a little from it."
    ]
