"""Names for layers in logs, pictures and results."""

from collections import Counter


def by_name(layers):
    """`{name: layer}`, in order; the path if several layers have the same name (nested models).

    Args:
        layers: list of built layers.

    Returns:
        A dict from the names to the layers.
    """
    counts = Counter(layer.name for layer in layers)
    return {layer.name if counts[layer.name] == 1 else layer.path: layer for layer in layers}
