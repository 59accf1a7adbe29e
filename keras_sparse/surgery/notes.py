"""The report's notes on layers without a rule."""

import keras
import numpy as np

from keras_sparse import _keras
from keras_sparse.channels import channel_norms, layers_with_channels
from keras_sparse.surgery.macs import unit_macs
from keras_sparse.surgery.rules import Unsupported
from keras_sparse.surgery.rules.activations import why_mixed
from keras_sparse.variables import is_prunable, layers_of_type


def notes(findings, rebuild):
    """Remarks on layers of the compact model.

    Args:
        findings: the `Findings` of the model's graph.
        rebuild: its `Rebuild`.

    Returns:
        `{layer name: list of sentences}`.
    """
    found = {}
    for unit in findings.units:
        if not unit.alive or not isinstance(unit.operation, keras.Layer):
            continue
        remarks = list(_inside(unit))
        if unit.traced in rebuild.whole:
            remarks.append(f"stays whole: {unit.rule.reason}")
        if unit in rebuild.shared:
            remarks.append(
                "shares its weights with the large model, for it cannot be copied: "
                f"{rebuild.shared[unit]}"
            )
        if remarks:
            found.setdefault(unit.name, []).extend(remarks)
    return found


def _inside(unit):
    """Notes on dead channels inside a layer without a rule."""
    unsupported = type(unit.rule) is Unsupported
    if unsupported:
        reason = unit.rule.reason
    else:
        reason = why_mixed(getattr(unit.operation, "activation", None))
    if reason is None:
        return
    dead = _dead_channels(unit.operation)
    if dead:
        where = ", ".join(f"{name}: {count}" for name, count in dead.items())
        yield f"{sum(dead.values())} channels with zero weights stay ({where}): {reason}"
    kernels = [w for w in unit.operation.weights if is_prunable(w) and "embeddings" not in w.path]
    if unsupported and kernels and not unit_macs(unit):
        yield "its multiply-accumulates are not counted"


def _dead_channels(layer):
    """`{layer name: number of channels with zero weights}`, for layers that have any."""
    known = layers_with_channels(layer)
    counts = {part.name: np.sum(channel_norms(part) == 0) for part in known}
    for part in layers_of_type(layer, keras.Layer):
        if type(part).__module__.startswith("keras.") or part in known:
            continue
        inner = {
            id(w)
            for below in _keras.flatten_layers(part, include_self=False)
            for w in below.weights
        }
        for weight in part.weights:
            if id(weight) not in inner and is_prunable(weight):
                rows = keras.ops.convert_to_numpy(weight).reshape(-1, weight.shape[-1])
                counts[part.name] = counts.get(part.name, 0) + np.sum(~rows.any(axis=0))
    return {name: int(count) for name, count in counts.items() if count}
