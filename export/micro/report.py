"""The figures for a microcontroller as Markdown and as a picture."""

from export.micro.texts import CODE_TEXT, agreement_text, where_text

_SHOWN = 6


def markdown(result):
    """`MicroResult.to_markdown`."""
    head = ["file", "flash", "arena", "head", "tail", "MACs", "peak at", "as LiteRT"]
    lines = [
        "LiteRT for Microcontrollers on this machine; bytes.",
        "",
        *_table(
            head,
            [
                [
                    name,
                    *file.sizes,
                    file.peak.layer,
                    agreement_text(file.agreement),
                ]
                for name, file in zip(result.names, result.files, strict=True)
            ],
        ),
        "",
        "Flash is the file alone. Arena is the smallest in which the file runs; head: activations, "
        "tail: what stays. The tail is that of a host of 64 bits.",
        "",
    ]
    for name, file in zip(result.names, result.files, strict=True):
        lines += _details(name, file)
    return "\n".join(lines)


def _table(head, rows):
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _details(name, file):
    peak = file.peak
    rows = [
        [t.name, "x".join(map(str, t.shape)), f"{t.bytes:,}", f"{t.bytes / peak.bytes:.0%}"]
        for t in sorted(peak.tensors, key=lambda tensor: -tensor.bytes)
    ]
    lines = [
        f"`{name}` needs most at {peak.layer} ({peak.operator}), {peak.bytes:,} bytes:",
        "",
        *_table(["tensor", "shape", "bytes", "share"], rows),
        "",
        f"Operators to register: {', '.join(f'`{method}`' for method in file.resolver)}. "
        f"{CODE_TEXT[0].upper()}{CODE_TEXT[1:]}.",
        "",
    ]
    return [*lines, *_differences(file.agreement)]


def _differences(agreement):
    what = "random samples" if agreement.drawn else "samples"
    line = f"Outputs on {agreement.samples} {what}, beside LiteRT's: {agreement_text(agreement)}."
    if not agreement.layers:
        return [line if agreement.within_a_step else f"{line[:-1]}; {where_text(agreement)}.", ""]
    rows = [
        [d.layer, d.operator, f"{d.share:.2%}", f"{d.largest:.3g}"]
        for d in agreement.layers[:_SHOWN]
    ]
    head = ["tensors that differ, in order", "operator", "elements", "largest"]
    return [line, "", *_table(head, rows), ""]


def plot(result, path):
    """`MicroResult.plot`."""
    from matplotlib.figure import Figure

    from keras_sparse.files import replacing

    count = len(result.files)
    width = max(len(file.memory) for file in result.files)
    figure = Figure(figsize=(max(6, 2 + 0.3 * width), 1.2 + 2.6 * count), layout="constrained")
    plots = figure.subplots(count, squeeze=False, sharey=True)[:, 0]
    for axes, name, file in zip(plots, result.names, result.files, strict=True):
        _bars(axes, file)
        axes.set_title(f"{name}: arena {file.arena / 1000:.1f} kB", fontsize="medium")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _bars(axes, file):
    """Bars for the tensors of an operator, and for tensors that later operators need."""
    own = [next((t.bytes for t in row.tensors if t.name == row.layer), 0) for row in file.memory]
    written = [size / 1000 for size in own]
    others = [row.bytes / 1000 - size for row, size in zip(file.memory, written, strict=True)]
    places = range(len(file.memory))
    axes.bar(places, others, color="C0", label="read, or kept for later")
    axes.bar(places, written, bottom=others, color="C1", label="written")
    axes.axhline(file.head / 1000, color="gray", linewidth=1, linestyle="--", label="head")
    axes.set_xticks(list(places), [row.layer for row in file.memory], rotation=90, fontsize=7)
    axes.set_ylabel("kB of activations")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=7)
