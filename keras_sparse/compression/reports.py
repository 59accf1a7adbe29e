"""The report on several removals, one after the other, and the result as text."""

import collections
import dataclasses
import re
import textwrap

import numpy as np

from keras_sparse.surgery.graph import Graph


def names_in(model, compact, slices):
    """The names that the layers of a compact model have in the large model.

    Args:
        model, compact: the large and the compact `keras.Model`.
        slices: the `slices` of the `surgery.Report` on the removal.

    Returns:
        `{name in compact: name in model}` for the layers with weights.
    """
    owners = {weight.path: unit.name for unit, weight in _weights(model)}
    sources = ((unit, slices.get(weight.path)) for unit, weight in _weights(compact))
    return {
        unit.name: owners[part.source]
        for unit, part in sources
        if part is not None and part.source in owners
    }


def renamed(report, names):
    """A report in which layers have other names.

    Args:
        report: a `surgery.Report`.
        names: `{name in the report: new name}`. Layers inside a layer follow it. If several layers
            have the same new name, they keep their names.
    """
    counts = collections.Counter(names.values())
    names = {old: new for old, new in names.items() if old != new and counts[new] == 1}

    def name(old):
        head, rest = old, ""
        while head not in names and "/" in head:
            head, _, last = head.rpartition("/")
            rest = f"/{last}{rest}"
        return names[head] + rest if head in names else old

    def words(text, rename=name):
        return re.sub(r"[^\s:,()]+", lambda word: rename(word[0]), text)

    layers = {
        name(old): dataclasses.replace(
            layer,
            name=name(old),
            dead={k: (constant, words(reason)) for k, (constant, reason) in layer.dead.items()},
        )
        for old, layer in report.layers.items()
    }
    groups = [
        dataclasses.replace(
            group,
            layers=tuple(map(name, group.layers)),
            joined_by=tuple(map(name, group.joined_by)),
        )
        for group in report.groups
    ]
    notes = {}
    for old, sentences in report.notes.items():
        # Other words may be names inside of the layer.
        own = {old: name(old)}
        texts = [
            words(sentence, lambda word, own=own: own.get(word, word)) for sentence in sentences
        ]
        notes.setdefault(name(old), []).extend(texts)
    order = tuple(dict.fromkeys(map(name, report.order)))
    return dataclasses.replace(report, layers=layers, groups=groups, notes=notes, order=order)


def joined(first, then):
    """The report on two removals, as if they were one.

    Args:
        first, then: `surgery.Report`s with the same names of layers; the second removal is of the
            result of the first.

    Returns:
        A `surgery.Report` from the model before both to the model after both. Its `slices` and
        notes are those of the second removal.
    """
    # The second removal does not know layers that the first one removed.
    layers = {
        name: _layer(layer, then.layers[name]) if name in then.layers else layer
        for name, layer in first.layers.items()
    }
    before = {group.layers: group.channels[0] for group in first.groups}
    groups = [
        dataclasses.replace(
            group, channels=(before.get(group.layers, group.channels[0]), group.channels[1])
        )
        for group in then.groups
    ]
    return dataclasses.replace(
        then,
        layers=layers,
        groups=groups,
        order=first.order,
        parameters=_pair(first.parameters, then.parameters),
        macs=_pair(first.macs, then.macs),
    )


def channels_in_words(report):
    """The channels that a model lost, before and after, in lines of text.

    Args:
        report: a `surgery.Report`.
    """
    narrowed = []
    for group in report.groups:
        first, *others = group.layers
        before, after = group.channels
        if after < before:
            beside = f" and {len(others)} more" if others else ""
            narrowed.append(f"{first}{beside} {before} → {after}")
    text = f"channels: {', '.join(narrowed) or 'all stay'}"
    return textwrap.fill(
        text, 100, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def as_table(rows):
    """Rows of text, in columns of the width of their longest text."""
    rows = list(rows)
    name, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines = (
        "  ".join([row[0].ljust(name), *map(str.rjust, row[1:], widths)]).rstrip() for row in rows
    )
    return "\n".join(lines)


def _weights(model):
    for unit in Graph(model).units:
        for weight in getattr(unit.operation, "weights", ()):
            yield unit, weight


def _layer(first, then):
    return dataclasses.replace(
        first,
        channels=_pair(first.channels, then.channels),
        parameters=_pair(first.parameters, then.parameters),
        macs=_pair(first.macs, then.macs),
        kept=np.asarray(first.kept)[np.asarray(then.kept, int)],
        dead={int(first.kept[channel]): found for channel, found in then.dead.items()},
    )


def _pair(first, then):
    return first[0], then[1]


def what_stays(fixed):
    """A sentence for each reason of `Plan.fixed`."""
    names = {}
    for name, why in fixed.items():
        names.setdefault(why, []).append(name)
    return [f"All channels of {', '.join(own)} stay: {why}." for why, own in names.items()]
