"""The report on a trained classifier and its compact model: terminal, Markdown, HTML."""

import rich
import rich.table
from rich.markup import escape

from export.benchmark.reasons import why_latency_falls_less
from export.page import Card, Page, parts, render
from export.page.page import Table
from export.quantize import variants

# Key in the report, name of the files, name in tables.
_TRAINED = (("trained", "model", "trained"), ("compact", "compact", "compact"))
_COMPARED = (
    ("dense", "dense", "dense"),
    ("trained", "model", "sparse"),
    ("compact", "compact", "compact"),
)
_ROWS = (
    ("test accuracy", "accuracy", "{:.4f}"),
    ("parameters", "parameters", "{:,}"),
    ("multiply-accumulates", "macs", "{:,}"),
    ("TFLite file, bytes", "tflite_bytes", "{:,}"),
    ("TFLite latency, fastest ms", "latency_ms_min", "{:.4f}"),
    ("largest difference to Keras", "tflite_max_abs_error", "{:.1e}"),
)
_WITHOUT_RATIO = ("accuracy", "tflite_max_abs_error")
_CARDS = {
    "accuracy": "test accuracy",
    "latency_ms_min": "latency, ms",
    "macs": "multiply-accumulates",
    "tflite_bytes": "TFLite file, bytes",
    "parameters": "parameters",
}
_SETTINGS = ("dataset", "model", "optimizer", "seed", "epochs")


def show(report, folder):
    """Print the table, and the file to open."""
    print_networks(rows(report), [*_names(report), "ratio"])
    for sentence in [*summary(report), parts.timed_on(report)]:
        rich.print(escape(sentence))
    if _quantized(report):
        variants.show(report["files"])
    rich.print(escape(what_to_open(folder)))


def what_to_open(folder):
    """A sentence that names the report's file."""
    page = folder / "report.html"
    if page.exists():
        return f"Everything is in {folder}. Open {page} in a browser."
    return f"Everything is in {folder}. Read {folder / 'report.md'} (report.html needs jinja2)."


def print_networks(table, names, title="The networks"):
    """Print rows with a name and a figure for each network, within 80 columns."""
    text = rich.table.Table(title=title)
    text.add_column("", overflow="fold")
    for name in names:
        text.add_column(name, justify="right", no_wrap=True)
    for row in table:
        text.add_row(*map(escape, row))
    rich.print(text)


def rows(report):
    """Rows of text: label, a figure for each network, and the ratio of the last to the first."""
    networks = [report[key] for key, _, _ in _networks(report)]
    found = []
    for label, key, pattern in _ROWS:
        values = [network[key] for network in networks]
        text = "" if key in _WITHOUT_RATIO else f"{values[-1] / (values[0] or 1):.3f}"
        found.append([label, *(pattern.format(value) for value in values), text])
    return found


def summary(report):
    """Sentences on zeros, on the agreement of both networks, and on latency and MACs."""
    sparse = "The sparse and the compact network" if "dense" in report else "The two networks"
    found = [
        f"{report['sparsity']:.1%} of the {report['prunable_weights']:,} prunable weights are "
        f"zero. {sparse} agree on {report['same_predictions']:.2%} of "
        f"{report['test_images']:,} test images; their outputs differ by at most "
        f"{report['surgery_max_abs_error']:.1e}, where the largest is "
        f"{report['outputs_scale']:.3g}."
    ]
    return [sentence for sentence in (missed(report), *found, report["latency_note"]) if sentence]


def missed(report):
    """A sentence on a missed target; "" if there is none."""
    target = report.get("missed_target")
    if not target:
        return ""
    return (
        f"The target is not met: a sparsity of {target['asked']:.3g} was requested, and "
        f"{target['reached']:.3g} is reached. {target['why']}"
    )


def latency_note(timing, count):
    """The reason why latency falls less than multiply-accumulates; "" if it does not.

    Args:
        timing: `BenchmarkResult.to_dict()`, the files of the networks in float32 first.
        count: int, the number of networks.
    """
    files = timing["files"]
    return why_latency_falls_less(files[0], files[count - 1])


def markdown(report):
    """The report as Markdown."""
    names = [*_names(report), "ratio"]
    lines = [
        f"# {_title(report)}",
        "",
        f"`{report['command']}`",
        "",
        *(line for sentence in summary(report) for line in (sentence, "")),
        f"| | {' | '.join(names)} |",
        f"| --- |{' ---: |' * len(names)}",
        *(f"| {' | '.join(row)} |" for row in rows(report)),
        "",
        parts.timed_on(report),
        "",
        *(_files(report) if _quantized(report) else ()),
        "![Accuracy and sparsity by epoch](accuracy.png)",
        "",
        "![Channels kept by layer](channels.png)",
        "",
        "| layer | channels before | after |",
        "| --- | ---: | ---: |",
        *(f"| {name} | {a} | {b} |" for name, (a, b) in report["channels"].items()),
        "",
        "Versions: " + ", ".join(f"{k} {v}" for k, v in report["versions"].items()) + ".",
        "",
    ]
    return "\n".join(lines)


def html(report, history, dense_history=None):
    """The report as a page in one file.

    Args:
        report: the contents of `report.json`.
        history: dict from a log's name to its values by epoch.
        dense_history: the history of the dense baseline, or None.
    """
    networks = _networks(report)
    files = report["benchmark"]["files"][: len(networks)]
    stems = {stem: name for _, stem, name in networks}
    pictures = [
        parts.frontier(report["files"], stems, report["files"][0]["samples"]),
        parts.epochs(history, dense_history),
    ]
    ends = (networks[0][2], "compact")
    sections = [
        Table("The networks", ["", *_names(report), "ratio"], rows(report), parts.timed_on(report)),
        list(filter(None, pictures)),
        parts.channels(report["surgery"], ends),
        parts.operators([files[0], files[-1]], ends),
        parts.stays(report["surgery"]),
    ]
    if _quantized(report):
        header, body = variants.table(report["files"])
        sections.insert(2, Table("Files", header, body, _about_files(report)))
    page = Page(
        title=_title(report),
        warnings=list(filter(None, [missed(report)])),
        cards=_cards(report),
        summary=[sentence for sentence in summary(report) if sentence != missed(report)],
        sections=list(filter(None, sections)),
        settings={name: report[name] for name in _SETTINGS if name in report},
        command=report["command"],
        machine=parts.machine(report),
    )
    return render(page)


def _networks(report):
    return _COMPARED if "dense" in report else _TRAINED


def _names(report):
    return [name for _, _, name in _networks(report)]


def _title(report):
    return f"{report['model']} on {report['dataset']}"


def _cards(report):
    found = []
    texts = {key: row for (_, key, _), row in zip(_ROWS, rows(report), strict=True)}
    for key, label in _CARDS.items():
        _, before, *_, after, ratio = texts[key]
        found.append(Card(label, before, after, ratio and f"× {ratio}"))
    return found


def _quantized(report):
    return any(row["quantize"] != "float32" for row in report["files"])


def _files(report):
    return [*variants.markdown(report["files"]), "", _about_files(report), ""]


def _about_files(report):
    return (
        f"On the first {report['files'][0]['samples']:,} test images, each file beside its network "
        "in Keras: the largest difference of an output, and how often both predict the same class "
        "(agreement). Ratios are to the first file; gzip is about what is downloaded."
    )
