"""Names for layers in logs, pictures and results."""

from collections import Counter

from keras_sparse.variables import numbered


def by_name(layers):
    """`{name: layer}`, in order; the path if several layers have the same name (nested models).

    Nested models may have layers with equal paths; these are numbered.

    Args:
        layers: list of built layers.

    Returns:
        A dict from the names to the layers.
    """
    counts = Counter(layer.name for layer in layers)
    names = [layer.name if counts[layer.name] == 1 else layer.path for layer in layers]
    return dict(zip(numbered(names), layers, strict=True))
