"""The time of whole networks compared with the sum of their layers."""

import numpy as np

from export.latency.layers import tflite_bytes
from keras_sparse import surgery
from keras_sparse.compression.cost import CostModel
from keras_sparse.compression.planning import removable_groups


def whole_networks(model, table, run, file):
    """Time a model, and fit a factor for the times of its layers to a narrower model.

    Args:
        model: the `keras.Model` whose layers the table has.
        table: a `LatencyTable` with a scale of 1.
        run: function from a list of TFLite files to their seconds.
        file: the TFLite file of the model, as bytes.

    Returns:
        `(seconds, scale)`: the time of the model; and the factor between the sum of the layers and
        the time of the model with half of its channels (of the model itself if no channel can be
        removed).
    """
    invoke = table.whole["invoke"]
    files, layers = [file], table.sum() - invoke
    try:
        groups = removable_groups(model)
    except ValueError:  # nothing can be removed
        groups = []
    if groups:
        widths = np.array([-(-group.size // 2) for group in groups])
        files.append(tflite_bytes(narrowed(model, groups, widths), table.machine["quantize"]))
        layers = CostModel(model, groups, {"latency": table}).total("latency", widths) - invoke
    seconds = run(files)
    return seconds[0], max(seconds[-1] - invoke, 0.0) / layers


def narrowed(model, groups, widths):
    """A model with these widths of groups; the last channels of each group are removed."""
    chosen = {group: range(width, group.size) for group, width in zip(groups, widths, strict=True)}
    compact, _ = surgery.remove_dead_channels(surgery.zero_groups(model, chosen))
    return compact
