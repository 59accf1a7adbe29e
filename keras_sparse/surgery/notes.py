"""What the report has to say of layers that no rule looks into."""

import keras
import numpy as np

from keras_sparse.channels import channel_norms, layers_with_channels
from keras_sparse.surgery.macs import unit_macs
from keras_sparse.surgery.rules import Opaque
from keras_sparse.variables import is_prunable


def notes(graph, rebuild):
    """Remarks on layers of the smaller model.

    Args:
        graph: a `Graph` after its `Analysis`.
        rebuild: its `Rebuild`.

    Returns:
        `{layer name: list of sentences}`.
    """
    found = {}
    for unit in graph.units:
        if not unit.alive or not isinstance(unit.operation, keras.Layer):
            continue
        remarks = list(_inside(unit)) if type(unit.rule) is Opaque else []
        if unit in rebuild.whole:
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
    """On what a layer that stays whole has in it."""
    dead = {}
    for layer in layers_with_channels(unit.operation):
        count = int(np.sum(channel_norms(layer) == 0))
        if count:
            dead[layer.name] = count
    if dead:
        where = ", ".join(f"{name}: {count}" for name, count in dead.items())
        yield (
            f"{sum(dead.values())} channels with zero weights stay ({where}): {unit.rule.reason}"
        )
    kernels = [w for w in unit.operation.weights if is_prunable(w) and "embeddings" not in w.path]
    if kernels and not unit_macs(unit, unit.rule):
        yield "its multiply-accumulates are not counted"
