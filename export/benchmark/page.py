"""The figures of a benchmark as a page."""

from export.benchmark import report
from export.benchmark.reasons import why_latency_falls_less
from export.machine import processor
from export.page import Card, Page, Picture, parts, render, svg
from export.page.page import Table


def html(result, command):
    """`BenchmarkResult.to_html`."""
    files = result.to_dict()["files"]
    ends = [0, -1] if len(files) > 1 else [0]
    (header, *rows), about = report.table(result)
    sections = [
        Table("Files", header, rows, about),
        _pictures(result),
        parts.operators([files[end] for end in ends], [result.names[end] for end in ends]),
    ]
    note = why_latency_falls_less(files[0], files[-1])
    threads = result.files[0].num_threads
    return render(
        Page(
            title="TFLite files, timed side by side",
            cards=_cards(*(result.files[end] for end in ends)) if len(ends) > 1 else [],
            summary=[note] if note else [],
            sections=[section for section in sections if section],
            command=command,
            machine=f"LiteRT on {processor()}, {threads} thread{'s' * (threads > 1)}.",
        )
    )


def _cards(first, last):
    figures = (
        ("latency, fastest ms", "{:#.3g}", first.min_ms, last.min_ms),
        ("multiply-accumulates", "{:,}", first.macs.total, last.macs.total),
        ("file, bytes", "{:,}", first.bytes, last.bytes),
    )
    return [
        Card(
            label,
            pattern.format(before),
            pattern.format(after),
            f"× {after / before:.3f}" if before else "",
        )
        for label, pattern, before, after in figures
    ]


def _pictures(result):
    if not all(file.macs.total for file in result.files):
        return []
    caption = "Below the line latency falls more than multiply-accumulates, above it less."
    picture = svg(report.figure(result), "Latency ratio over ratio of multiply-accumulates")
    return [Picture("Latency by multiply-accumulates", caption, picture)]
