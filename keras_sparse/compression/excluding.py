"""The layers that keep all of their channels: the argument `exclude` of a compression."""

import keras

from keras_sparse import surgery


def excluded_names(exclude, model):
    """The names of the layers in `exclude`.

    Args:
        exclude: the name of a layer, a built layer of `model`, a list of these, or None. A nested
            model stands for all layers in it.
        model: a built `keras.Model`.

    Returns:
        A tuple of names, as in `ChannelGroup.layers`. Names are not checked.

    Raises:
        ValueError: another type, or a layer without channels.
    """
    items = exclude if isinstance(exclude, (list, tuple, set)) else [exclude]
    items = [] if exclude is None else items
    for item in items:
        if not isinstance(item, (str, keras.Layer)):
            raise ValueError(
                "`exclude` must have names of layers, or layers of the model. Received: "
                f"{item!r} (of type {type(item).__name__})"
            )
    if all(isinstance(item, str) for item in items):
        return tuple(items)
    groups = surgery.channel_groups(model)
    layers = {part.path: part.layer for group in groups for part in group.members}
    names = []
    for item in items:
        own = [item] if isinstance(item, str) else _names_of(item, layers)
        if not own:
            raise ValueError(
                f"`exclude` has the layer {item.name!r}, which is no layer of the model with "
                f"channels. The model has {sorted(set(layers.values()))}."
            )
        names += own
    return tuple(dict.fromkeys(names))


def _names_of(layer, layers):
    return [layers[weight.path] for weight in layer.weights if weight.path in layers]
