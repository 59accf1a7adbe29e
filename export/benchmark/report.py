"""The figures of a benchmark as Markdown and as a picture."""

LONGEST_OPERATORS = 5
_ABOUT = (
    "Times and MACs are of one inference. Ratios are to the first file; the latency ratio is that "
    "of the fastest inferences. Memory is what loading and running the file added, with the "
    "runtime's pages that this touched. Tiled MACs: channels of hidden layers rounded up to the "
    "blocks that the kernels compute. A + marks operators that are not counted, or loops, of which "
    "one turn is."
)


def markdown(result):
    """`BenchmarkResult.to_markdown`."""
    threads = result.files[0].num_threads
    lines = [
        f"LiteRT on this machine, {threads} thread(s); files timed alternately.",
        "",
        *_table(table(result)[0]),
        "",
        _ABOUT,
        "",
    ]
    for name, file in zip(result.names, result.files, strict=True):
        lines += _operators(name, file)
    return "\n".join(lines)


def plot(result, path):
    """`BenchmarkResult.plot`."""
    from keras_sparse.files import replacing

    if not all(file.macs.total for file in result.files):
        raise ValueError("A file has no multiply-accumulates, so there is no ratio to plot.")
    with replacing(path) as temporary:
        figure(result).savefig(temporary, dpi=120)


def figure(result):
    """The figure of `BenchmarkResult.plot`."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(6, 6), layout="constrained")
    axes = drawn.add_subplot()
    # A colour for each file, because names next to the points would overlap.
    points = zip(
        result.names, result.macs_ratios, result.tiled_macs_ratios, result.ratios, strict=True
    )
    for index, (name, macs, tiled, latency) in enumerate(points):
        axes.loglog(macs, latency, "o", color=f"C{index}", label=name)
        axes.loglog(tiled, latency, "o", color=f"C{index}", markerfacecolor="none")
    axes.loglog([], [], "o", color="gray", markerfacecolor="none", label="hollow: tiled MACs")
    axes.axline((0.1, 0.1), (1, 1), color="gray", linewidth=1, label="latency ratio = MACs ratio")
    threads = result.files[0].num_threads
    axes.set(
        xlabel="MACs, ratio to the first file",
        ylabel=f"latency, ratio to the first file ({threads} thread(s))",
        aspect="equal",
    )
    axes.grid(alpha=0.3)
    axes.legend()
    return drawn


def table(result):
    """Rows of text, the first with the headings, and an explanation."""
    return [["file", *(label for label, _ in _COLUMNS)], *_rows(result)], _ABOUT


def _rows(result):
    return [
        [name, *(pattern(file, ratios) for _, pattern in _COLUMNS)]
        for name, file, *ratios in zip(
            result.names,
            result.files,
            result.ratios,
            result.macs_ratios,
            result.tiled_macs_ratios,
            strict=True,
        )
    ]


def _ms(value):
    return f"{value:#.3g}"


def _mb(size):
    return "-" if size is None else f"{size / 2**20:.1f}"


def _ratio(value):
    return "-" if value is None else f"{value:.3f}"


_COLUMNS = (
    ("bytes", lambda file, ratios: f"{file.bytes:,}"),
    ("gzip", lambda file, ratios: f"{file.gzip_bytes:,}"),
    ("start-up ms", lambda file, ratios: _ms(file.init_ms)),
    ("min ms", lambda file, ratios: _ms(file.min_ms)),
    ("median ms", lambda file, ratios: _ms(file.median_ms)),
    ("p90 ms", lambda file, ratios: _ms(file.percentile_ms(90))),
    ("p99 ms", lambda file, ratios: _ms(file.percentile_ms(99))),
    ("peak MB", lambda file, ratios: _mb(file.peak_memory)),
    ("anonymous MB", lambda file, ratios: _mb(file.anonymous_memory)),
    ("file-backed MB", lambda file, ratios: _mb(file.file_backed_memory)),
    ("MACs", lambda file, ratios: str(file.macs)),
    ("latency ratio", lambda file, ratios: _ratio(ratios[0])),
    ("MACs ratio", lambda file, ratios: _ratio(ratios[1])),
    ("tiled MACs ratio", lambda file, ratios: _ratio(ratios[2])),
)


def _table(rows):
    """Markdown lines; the first column is text, the others are numbers."""
    head, *body = rows
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    return [f"| {' | '.join(line)} |" for line in lines]


def _operators(name, file):
    if not file.operators:
        return [f"`{name}`: no time by operator; {file.operators_error}", ""]
    rows = [[o.name, f"{o.nodes}", f"{o.share:.1%}"] for o in file.operators[:LONGEST_OPERATORS]]
    rest = file.operators[LONGEST_OPERATORS:]
    if rest:
        rows.append(
            ["others", f"{sum(o.nodes for o in rest)}", f"{sum(o.share for o in rest):.1%}"]
        )
    return [*_table([[f"operators of `{name}`", "nodes", "time"], *rows]), ""]
