"""Setting coupled channels to zero, so that surgery can remove them."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np

from keras_sparse.surgery.coupling import READER, ChannelGroup
from keras_sparse.surgery.removal import copied_whole
from keras_sparse.variables import copied, layers_of_type

# A zero in these would not make the channel zero: it would only divide by epsilon.
_DEVIATIONS = ("variance", "stddev")


def zero_groups(
    model: keras.Model, chosen: Mapping[ChannelGroup, Sequence[int] | np.ndarray]
) -> keras.Model:
    """Sets coupled channels to zero in all of their layers.

    Kernels, biases and the scales and shifts of normalisations become zero, so that the channel is
    zero everywhere. `remove_dead_channels` then removes it.

    Args:
        model: a built `keras.Model`; it is not changed.
        chosen: dict from a `ChannelGroup` of `channel_groups(model)` to the channels that become
            zero: indices, or a bool array with one entry for each channel of the group.

    Returns:
        A new model with the same shapes. Nested models are inlined.

    Raises:
        ValueError: a group is fixed or belongs to another model; a group does not have a chosen
            channel; or `remove_dead_channels` would refuse the model.

    Example:

    >>> group = surgery.channel_groups(model)[0]
    >>> zeroed = surgery.zero_groups(model, {group: [0, 5]})
    >>> compact, report = surgery.remove_dead_channels(zeroed)
    """
    return zeroed_and_sources(model, chosen)[0]


def zeroed_and_sources(model, chosen):
    """`zero_groups`, and where the parts of the new model come from.

    Returns:
        `(zeroed, sources, names)`: the new model, `{path of a variable of it: path in the given
        model}`, and `{name of a layer of it: name in the reports on the given model}`.
    """
    if not isinstance(chosen, Mapping):
        raise ValueError(
            "`chosen` must be a dict from groups to channels, such as {group: [0, 5]}. Received: "
            f"{chosen!r}"
        )
    masks = {group: _mask(group, channels) for group, channels in chosen.items()}
    _, rebuild = copied_whole(model)
    weights = {weight.path: weight for weight in rebuild.model.weights}
    copies = {part.source: weights[path] for path, part in rebuild.slices.items()}
    for group, mask in masks.items():
        for part in group.slices if mask.any() else ():
            if part.path in copies:
                rebuild.check_own(copies[part.path])
    zero_slices(masks, copies)
    finalize_normalizations(rebuild.model)
    sources = {path: part.source for path, part in rebuild.slices.items()}
    return rebuild.model, sources, _names(rebuild)


def zero_slices(masks, weights):
    """Sets channels of groups to zero in place.

    Args:
        masks: `{ChannelGroup: bool array (channels,)}`, True where a channel becomes zero.
        weights: `{path in the groups: variable}`.

    Raises:
        ValueError: a group has a path that `weights` lacks, or another number of channels there.
    """
    for group, mask in masks.items():
        for part in group.slices:
            if part.role == READER or part.weight.endswith(_DEVIATIONS):
                continue
            if part.path not in weights:
                raise ValueError(
                    f"The group {group.name!r} is not of this model, which has no weight "
                    f"{part.path!r}. Use the groups that `channel_groups(model)` returns, or a "
                    "plan for this model."
                )
            variable = weights[part.path]
            shape = tuple(variable.shape)
            if shape[part.axis : part.axis + 1 or None] != part.channels.shape:
                raise ValueError(
                    f"The group {group.name!r} is not of this model, whose weight {part.path!r} "
                    f"has shape {shape}, not {len(part.channels)} channels along axis {part.axis}. "
                    "Use the groups that `channel_groups(model)` returns, or a plan for this model."
                )
            value = np.moveaxis(copied(variable), part.axis, 0)
            value[(part.channels >= 0) & mask[part.channels]] = 0
            variable.assign(np.moveaxis(value, 0, part.axis))


def finalize_normalizations(model):
    """Makes `Normalization` layers compute with the statistics that were assigned to them."""
    for layer in layers_of_type(model, keras.layers.Normalization):
        if layer.weights:
            layer.finalize_state()


def _names(rebuild):
    """`{name of a layer of the new model: name of its unit}`; layers inside layers are left out."""
    own = {id(operation) for operation in rebuild.model.operations}
    names = {}
    for unit, layer in rebuild.layers.items():
        if id(layer) in own:
            names.setdefault(layer.name, unit.name)
    return names


def _mask(group, channels):
    if not isinstance(group, ChannelGroup):
        raise ValueError(
            "`chosen` must have groups of `channel_groups(model)` as keys. "
            f"Received: {group!r} (of type {type(group)})"
        )
    mask = _as_mask(group, np.asarray(channels))
    if group.fixed and mask.any():
        raise ValueError(
            f"`chosen` has channels of the group {group.name!r}, of which none can be removed: "
            f"{group.fixed}."
        )
    return mask


def _as_mask(group, channels):
    if channels.dtype == bool and channels.shape == (group.size,):
        return channels
    mask = np.zeros(group.size, bool)
    indices = channels.astype(int).reshape(-1)
    wrong = channels.dtype == bool or (indices != channels.reshape(-1)).any()
    if wrong or (indices < 0).any() or (indices >= group.size).any():
        raise ValueError(
            f"`chosen` must have indices below {group.size}, or a bool array of that length, for "
            f"the group {group.name!r}. Received: {channels!r}"
        )
    mask[indices] = True
    return mask
