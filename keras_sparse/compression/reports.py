"""The report on several removals, one after the other, and the result as text."""

import dataclasses
import textwrap

import numpy as np


def joined(first, then):
    """The report on two removals, as if they were one.

    Args:
        first, then: `surgery.Report`s; the second removal is of the result of the first.

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
