"""Groups of layers with coupled channels, which are kept or removed together."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class GroupReport:
    """Channels that are kept or removed together in all layers of a group.

    Args:
        layers: names of the layers that compute the channels, in the order in which they run.
            Normalisations and the like, which only scale channels, are not listed.
        joined_by: names of the sums, products and other merging layers that couple them.
        channels: `(before, after)`: the number of sets of coupled channels.
    """

    layers: tuple
    joined_by: tuple
    channels: tuple[int, int]


def find_groups(findings):
    """The groups of an analysed graph.

    Each channel gets a number where a layer computes it. Layers that only pass channels on also
    pass on the numbers. A layer that couples channels of two tensors adds edges between their
    numbers. Connected sets of channels in the same layers form one group.

    Args:
        findings: the `Findings` of a graph.

    Returns:
        List of `GroupReport`, ordered by their first layers.
    """
    numbers, edges, total = number(findings)
    roots = connect(edges, total)
    order = {unit.name: i for i, unit in enumerate(findings.units)}
    layers, kept = members(findings, numbers, roots)
    joined = joints(findings, numbers, roots)
    groups = {}
    for root, names in layers.items():
        group = groups.setdefault(frozenset(names), [0, 0, set()])
        group[0] += 1
        group[1] += root in kept
        group[2] |= joined.get(root, set())
    found = [
        GroupReport(
            tuple(sorted(names, key=order.get)),
            tuple(sorted(joined, key=order.get)),
            (count, left),
        )
        for names, (count, left, joined) in groups.items()
    ]
    return sorted(found, key=lambda group: [order[name] for name in group.layers])


def number(findings):
    """`{value: number of each channel}`, pairs of coupled numbers, and the count of numbers."""
    numbers, edges, total = {}, [], 0

    def fresh(value):
        nonlocal total
        total += len(value.keep)
        return np.arange(total - len(value.keep), total)

    for value in findings.inputs:
        numbers[value] = fresh(value)
    for call in findings.calls:
        for value in call.outputs:
            numbers[value] = np.full(len(value.keep), -1)
        for source, channels, target, places in call.unit.rule.coupled_channels(call):
            given, known = numbers[source][channels], numbers[target][places]
            numbers[target][places] = np.where(known < 0, given, known)
            edges.append((given, numbers[target][places]))
        for value in call.outputs:
            own = numbers[value]
            numbers[value] = np.where(own < 0, fresh(value), own)
    for unit in findings.units:
        for port in [*unit.inputs, *unit.outputs] if len(unit.calls) > 1 else ():
            rows = [numbers[value] for value in port.values]
            edges += [(rows[0], row) for row in rows[1:] if len(row) == len(rows[0])]
    return numbers, edges, total


def connect(edges, total):
    """For each number, the smallest number that it is connected with: its root."""
    roots = np.arange(total)
    if not edges:
        return roots
    a, b = (np.concatenate(side) for side in zip(*edges, strict=True))
    while True:
        low = np.minimum(roots[a], roots[b])
        if (low == roots[a]).all() and (low == roots[b]).all():
            return roots
        # The roots get the smaller number too, so that all numbers with these roots follow.
        for ends in (roots[a], roots[b], a, b):
            np.minimum.at(roots, ends, low)
        roots = roots[roots]


def members(findings, numbers, roots):
    """`{root: names of the layers that compute its channels}`, in order, and the kept roots."""
    layers, kept = {}, set()
    for unit in findings.units:
        if unit.rule.makes_channels and getattr(unit.operation, "weights", None):
            for value in {id(v): v for port in unit.outputs for v in port.values}.values():
                own = roots[numbers[value]]
                kept.update(own[value.keep].tolist())
                for root in np.unique(own):
                    names = layers.setdefault(int(root), [])
                    names += [] if unit.name in names else [unit.name]
    return layers, kept


def joints(findings, numbers, roots):
    """`{root: names of the units that couple channels of several tensors to it}`."""
    found = {}
    for unit in findings.units:
        couplings = [
            [numbers[v][index] for v, index, *_ in unit.rule.coupled_channels(call)]
            for call in unit.calls
        ]
        shared = [[numbers[value] for value in port.values] for port in unit.inputs]
        for sides in couplings + shared:
            if len(sides) > 1:
                own = np.concatenate([np.unique(roots[side]) for side in sides])
                for root in np.flatnonzero(np.bincount(own) > 1):
                    found.setdefault(int(root), set()).add(unit.name)
    return found
