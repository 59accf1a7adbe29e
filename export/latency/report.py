"""A report on the time of a model's layers, and on wasted widths."""


def lines(table, unit=1e6):
    """Lines of text about the layers of a table.

    Args:
        table: a `LatencyTable`.
        unit: units per second; the default is microseconds.

    Returns:
        List of strings: time and share of each layer, with the next width that takes less time;
        then the widths that take as much time as the layer's own. Layers whose channels cannot be
        removed have no such widths.
    """
    total = table.total()
    size = max((len(name) for name in table.rows), default=0) + 2
    rows = [f"{'layer':<{size}}{'in':>6}{'out':>6}{'us':>10}{'share':>8}"]
    wasted = []
    for name, row in table.rows.items():
        inputs, outputs = row["inputs"], row["outputs"]
        seconds = table.seconds(name, inputs, outputs)
        share = seconds / total if total else 0.0
        start = f"{name:<{size}}{inputs:>6}{outputs:>6}{unit * seconds:>10.1f}{share:>8.1%}"
        below = max((width for width in table.steps(name) if width < outputs), default=0)
        rows.append(f"{start}  {_below(table, name, row, below, unit)}")
        measured = any(below < width < outputs for width in row["widths"])
        if measured and not row.get("fixed"):
            first, last = below + 1, outputs - 1
            widths = f"{first} to {last}" if first < last else str(first)
            wasted.append(f"{name}: {widths} channels cost what {outputs} do")
    return [*rows, f"{'sum':<{size + 12}}{unit * total:>10.1f}", "", *wasted]


def _below(table, name, row, below, unit):
    if row.get("fixed"):
        return "its channels cannot be removed"
    if not below:
        return "no narrower layer is faster"
    return f"next step down: {below} ({unit * table.seconds(name, row['inputs'], below):.1f} us)"
