"""Names for layers in an epoch's logs."""

from collections import Counter


def log_names(layers):
    """The layers' names; their paths where a name stands for several, as in nested models."""
    counts = Counter(layer.name for layer in layers)
    return [layer.name if counts[layer.name] == 1 else layer.path for layer in layers]
