"""Finds the channel axes of weights from the `slices` of the rules."""

import numpy as np


def weight_axes(unit, roots):
    """The axes of a unit's weights that are sliced when channels are removed.

    The rule's `slices` are computed several times, each time with other channels kept. The times in
    which an index is kept identify its channel.

    Args:
        unit: a `FollowedUnit`. The `keep` of its tensors is overwritten.
        roots: `{value of the graph: root of each channel}`.

    Returns:
        List of `(weight name, axis, reads, roots)`. `reads` is whether the axis belongs to the
        inputs. `roots` has the root of the channel for each index along the axis, -1 for none.
    """
    shapes = {} if not getattr(unit.operation, "weights", None) else _shapes(unit)
    if not shapes:
        return []
    passes = any(unit.rule.coupled_channels(call) for call in unit.calls)
    found = {}
    # Outputs first: a layer that reads its own output has one tensor on both sides.
    for reads in (False, True):
        for key, own in _probe(unit, roots, reads, shapes).items():
            # If a layer passes on the channels of its input, the axis belongs to the layer.
            found.setdefault(key, (reads and not passes, own))
    return [(name, axis, reads, own) for (name, axis), (reads, own) in found.items()]


def _shapes(unit):
    names = unit.rule.slices(unit)
    arrays = {name: unit.array(name) for name in names}
    return {name: array.shape for name, array in arrays.items() if array is not None}


def _probe(unit, roots, reads, shapes):
    """`{(weight name, axis): root of each index}` for the channels of one side."""
    sides = [unit.inputs, unit.outputs]
    own, other = sides if reads else sides[::-1]
    for value in _values(other):
        value.keep = np.ones(len(value.keep), bool)
    values = _values(own)
    if not values:
        return {}
    known = np.unique(np.concatenate([roots[value.traced] for value in values]))
    if len(known) < 2:
        return {}  # the last channel is never removed
    codes, bits = _codes(len(known))
    seen = {}
    for bit in range(bits):
        kept = (codes >> bit & 1).astype(bool)
        for key, mask in _masks(unit, roots, values, known, kept, shapes).items():
            seen[key] = seen.get(key, 0) | (mask.astype(int) << bit)
    found = {}
    for key, code in seen.items():
        place = np.searchsorted(codes, code).clip(0, len(codes) - 1)
        counts = codes[place] == code
        if counts.any():
            found[key] = np.where(counts, place, -1)
    _refute(found, lambda kept: _masks(unit, roots, values, known, kept, shapes), len(known))
    return {key: np.where(place < 0, -1, known[place]) for key, place in found.items()}


def _codes(count):
    """Rising binary numbers, so that each bit is set in some, and their number of bits.

    0 and all ones are left out: they mean an index that is never or always kept.
    """
    bits = int(count + 1).bit_length()
    return 1 + np.arange(count) * ((1 << bits) - 2) // count, bits


def _refute(found, masks, count, trials=4):
    """Removes axes that are not channel axes, because further slices contradict them."""
    rng = np.random.default_rng(0)
    for _ in range(trials):
        kept = rng.random(count) < 0.5
        kept[rng.integers(count)] = True
        for key, mask in masks(kept).items():
            if key in found and (mask != ((found[key] < 0) | kept[found[key]])).any():
                del found[key]


def _masks(unit, roots, values, known, kept, shapes):
    """`{(weight name, axis): mask of the kept indices}`, if only some of the roots are kept."""
    for value in values:
        value.keep = kept[np.searchsorted(known, roots[value.traced])]
    return {
        (name, axis): mask
        for name, part in unit.rule.slices(unit).items()
        if name in shapes
        for axis, mask in enumerate(_kept(part, shapes[name]))
    }


def _values(ports):
    return list({id(v): v for port in ports for v in port.values}.values())


def _kept(part, shape):
    """For each axis, a mask of the indices that a slice keeps."""
    masks = [np.ones(size, bool) for size in shape]
    for axis, mask in enumerate(masks):
        if callable(part):
            index = np.arange(len(mask)).reshape(
                [-1 if i == axis else 1 for i in range(len(shape))]
            )
            left = part(np.broadcast_to(index, shape))
            # If another axis keeps no index, the slice shows nothing about this axis.
            kept = None if left.shape[axis] and not left.size else np.unique(left)
        else:
            kept = part[axis]
        if kept is not None:
            mask[:] = False
            mask[kept] = True
    return masks
