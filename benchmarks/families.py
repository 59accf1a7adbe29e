"""Runs surgery on families of models and prints a table in Markdown.

    python -m benchmarks.families                  # all
    python -m benchmarks.families --only="^ViT"    # those whose name matches

The models are small configurations with random weights and statistics. 30% of each kernel's columns
are zero; biases and normalisation are arbitrary. The table has for each model: parameters before
and after; parameters after an ideal cut (see `families_ideal`); the change of the outputs, in units
of their scale; and, if more than 5% above the ideal is left, the main reason. Models of
`keras-hub` need that package.
"""

import re
import warnings

import keras
import numpy as np
from absl import app, flags

from benchmarks.families_ideal import ideal_parameters
from keras_sparse import surgery
from keras_sparse.surgery.messages import one_line

_ONLY = flags.DEFINE_string("only", "", "regular expression for the models' names")
_SETS = flags.DEFINE_list("sets", "hub,io", "hub (KerasHub) and io (models as on keras.io)")

# Up to this factor of the ideal counts as near it.
_NEAR = 1.05


def fill(model, seed=0, share=0.3):
    """Random weights everywhere, and a share of the columns of each kernel zero."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if "seed" in weight.path or "int" in str(weight.dtype):
            continue
        value = rng.standard_normal(weight.shape) * 0.3
        if "variance" in weight.path:
            value = rng.uniform(0.5, 1.5, weight.shape)
        width = weight.shape[-1] if len(weight.shape) > 1 else 1
        if weight.path.endswith("kernel") and width > 3:
            value[..., : int(share * width)] = 0
        weight.assign(value)


def run(make):
    """`(parameters before, after, ideal, error, what is to be said)` for one model."""
    try:
        model = make()
    except Exception as error:
        return None, None, None, None, f"cannot be built: {one_line(error)}"
    fill(model)
    before = model.count_params()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compact, report = surgery.remove_dead_channels(model)
    except Exception as error:
        return before, None, None, None, f"{type(error).__name__}: {one_line(error)}"
    after, ideal = compact.count_params(), ideal_parameters(model)
    reason = "" if after <= _NEAR * ideal else _reason(report)
    return before, after, ideal, report.max_error, reason


def _reason(report):
    """The reason that kept most dead channels, or the reason why layers stay whole."""
    notes = [" ".join(note) for note in report.notes.values()]
    return one_line(report.dead_kept[0].reason if report.dead_kept else "; ".join(notes[:1]))


def main(argv):
    """Prints the table row by row."""
    del argv
    models = {}
    if "hub" in _SETS.value:
        from benchmarks.hub_models import MODELS

        models |= MODELS
    if "io" in _SETS.value:
        from benchmarks.keras_io_models import MODELS

        models |= MODELS
    print("| model | parameters | left | ideal | difference | kept by |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    near = []
    for name, make in models.items():
        if re.search(_ONLY.value, name):
            _, after, ideal, *_ = found = run(make)
            print(row(name, *found), flush=True)
            if after is not None:
                near.append(after <= _NEAR * ideal)
            keras.utils.clear_session()
    print(f"\n{sum(near)} of {len(near)} within {_NEAR - 1:.0%} of the ideal.")


def row(name, before, after, ideal, error, text):
    """One line of the table."""
    if after is None:
        return f"| {name} | {before or ''} | | | | {text} |"
    counts = f"{before:,} → {after:,} | {after / before:.0%} | {ideal:,}"
    return f"| {name} | {counts} | {error:.0e} | {text} |"


if __name__ == "__main__":
    app.run(main)
