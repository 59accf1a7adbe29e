"""What the layers of a model cost, and which of their widths are wasted."""


def lines(table, unit=1e6):
    """The table's layers in words.

    Args:
        table: a `LatencyTable`.
        unit: how many units a second has; microseconds.

    Returns:
        List of strings: time and share of each layer, then the width that costs as much as the
        layer's own and the next one that costs less.
    """
    total = table.total()
    rows = [f"{'layer':<28}{'in':>6}{'out':>6}{'us':>10}{'share':>8}  widths"]
    for name, row in table.rows.items():
        inputs, outputs = row["inputs"], row["outputs"]
        seconds = table.seconds(name, inputs, outputs)
        share = seconds / total if total else 0.0
        start = f"{name:<28}{inputs:>6}{outputs:>6}{unit * seconds:>10.1f}{share:>8.1%}"
        rows.append(f"{start}  {_widths(table, name, row, unit)}")
    rows.append(f"{'sum of the layers':<40}{unit * total:>10.1f}")
    return rows


def _widths(table, name, row, unit):
    steps = [width for width in table.steps(name) if width < row["outputs"]]
    if not steps:
        return "no narrower layer is faster"
    below = steps[-1]
    seconds = table.seconds(name, row["inputs"], below)
    wasted = [w for w in row["widths"] if below < w < row["outputs"]]
    free = f"; {wasted[0]} to {wasted[-1]} channels cost what {row['outputs']} do" if wasted else ""
    return f"next step down: {below} ({unit * seconds:.1f} us){free}"
