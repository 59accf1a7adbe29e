"""The files of a compression: both models, and a report that compares them."""

import json
import pathlib

import keras
import rich
import rich.table
from rich.markup import escape

from apps.compression import baselines, firmware, sentences
from export import benchmark, page, run_folder, run_report
from export.benchmark.progress import progress_bar
from export.machine import processor
from export.page import parts
from export.page.page import Table
from export.quantize import variants
from export.samples import spread
from keras_sparse.compression.budget import in_words
from keras_sparse.compression.data import count, take
from keras_sparse.compression.reports import what_stays
from keras_sparse.surgery import count_macs

_COMPARED_SAMPLES = 1000
_CALIBRATED_SAMPLES = 200
_NETWORKS = ("dense", "compact")


def deliver(model, result, data, folder, facts, *, labels, num_threads):
    """Save, convert, time and report a compression.

    Writes `dense.keras`, `compact.keras`, `plan.json`, `history.csv`, `accuracy.png`,
    `channels.png`, `report.json`, `report.md`, `report.html` and, on TensorFlow, the TFLite files
    of both models and, for a target of arena or flash, `firmware.tflite`. Each file is written
    completely or not at all.

    Args:
        model: the given `keras.Model`.
        result: a `Compressed`.
        data: a `Data`.
        folder: a folder, as `run_folder.prepare` returns it.
        facts: dict of further entries of the report: `command`, `settings`, `quantize`, and
            `baselines` if there are any.
        labels: integer classes of the held-out samples, or None.
        num_threads: int, threads of LiteRT.

    Returns:
        The report, as in `report.json`.

    Raises:
        ExportError: a model that cannot be converted to float32.
    """
    networks = dict(zip(_NETWORKS, (model, result.model), strict=True))
    for name, network in networks.items():
        run_folder.save_model(network, folder / f"{name}.keras")
    run_folder.write_text(json.dumps(result.plan.to_dict(), indent=1), folder / "plan.json")
    report = {
        **facts,
        "held_out": count(data.test),
        **{
            name: {
                **_metrics(result.metrics[stage]),
                "parameters": network.count_params(),
                "macs": count_macs(network).total,
            }
            for (name, network), stage in zip(networks.items(), ("given", "recovered"), strict=True)
        },
        "after_cut": _metrics(result.metrics["cut"]),
        "costs": {name: list(costs) for name, costs in result.costs.items()},
        "channels": {name: list(pair) for name, pair in result.report.channels.items()},
        "fixed": result.plan.fixed,
        "versions": run_folder.versions(
            "keras-sparse", "keras", keras.backend.backend(), "ai-edge-litert", "numpy"
        ),
    }
    if keras.backend.backend() == "tensorflow":
        samples = _samples(data, labels)
        report |= _files(networks, folder, facts["quantize"], samples, num_threads)
        _add_files(report)
        if firmware.is_wanted(facts["settings"]["target"]):
            report["firmware"] = firmware.write(result.model, folder, **samples)
    report["surgery"] = result.report.to_dict()
    pictures = _pictures(result, folder, facts["settings"])
    run_folder.write_text(json.dumps(report, indent=1), folder / "report.json")
    run_folder.write_text(_markdown(report, pictures), folder / "report.md")
    if page.available():
        run_folder.write_text(html(report, result.history), folder / "report.html")
    _print(report, folder)
    return report


def _metrics(values):
    """Accuracy first, the loss last."""
    return dict(sorted(values.items(), key=lambda item: (item[0] == "loss", item[0])))


def _samples(data, labels):
    """Samples for a conversion: arguments of `export.convert`."""
    compared = spread(count(data.test), _COMPARED_SAMPLES)
    return {
        "samples": take(data.test, compared)[0],
        "labels": None if labels is None else labels[compared],
        "representative": take(data.train, spread(count(data.train), _CALIBRATED_SAMPLES))[0],
    }


def _files(networks, folder, kinds, samples, num_threads):
    """Rows on the TFLite files, and their timing side by side."""
    found = variants.write_variants(networks, folder, kinds, **samples)
    with progress_bar() as progress:
        timing = benchmark(variants.paths(found), num_threads=num_threads, progress=progress)
    return {
        "files": variants.rows(found, timing),
        "num_threads": num_threads,
        "processor": processor(),
        "latency_note": run_report.latency_note(timing.to_dict(), len(networks)),
        "benchmark": timing.to_dict(),
    }


def _add_files(report):
    """Add figures of the files to the figures of their networks."""
    for row in report["files"]:
        kind, own = row["quantize"], report[row["network"]]
        for key, label in _OF_FILES:
            if row.get(key) is not None and not (kind == "float32" and key == "accuracy"):
                own[f"{kind} file, {label}"] = row[key]


_OF_FILES = (
    ("accuracy", "accuracy"),
    ("bytes", "bytes"),
    ("latency_ms_min", "latency, fastest ms"),
)
_LABELS = {"macs": "multiply-accumulates"}


def _rows(report):
    """Rows of text: label, dense, compact and their ratio."""
    dense, compact = (report[name] for name in _NETWORKS)
    for key in dense:
        pair = [own.get(key) for own in (dense, compact)]
        counts = isinstance(dense[key], int) or key.endswith("ms")
        ratio = f"{pair[1] / pair[0]:.3f}" if counts and None not in pair and pair[0] else ""
        yield _LABELS.get(key, key), *map(_text, pair), ratio


def _text(value):
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _print(report, folder):
    title = "The dense model, and the compact one"
    run_report.print_networks(list(_rows(report)), [*_NETWORKS, "ratio"], title)
    told = [sentences.summary(report), report.get("latency_note"), parts.timed_on(report)]
    for sentence in filter(None, told):
        rich.print(escape(sentence))
    if "baselines" in report:
        _print_baselines(report)
    for sentence in _remarks(report):
        rich.print(escape(sentence))
    rich.print(escape(run_report.what_to_open(folder)))


def _remarks(report):
    """Sentences on layers and files that a user may miss, and on the file for firmware."""
    stay = what_stays(report.get("fixed", {}))
    if "files" not in report:
        missing = "There are no TFLite files: they need TensorFlow (KERAS_BACKEND=tensorflow)."
        return [*stay, missing]
    failed = [
        f"There is no {row['quantize']} file of the {row['network']} model: {row['error']}"
        for row in report["files"]
        if "error" in row
    ]
    return [*stay, *firmware.sentences(report), *failed]


def _pictures(result, folder, settings):
    """Draws channels, and accuracy if it was logged; returns `{file name: title}`."""
    from keras_sparse.analysis import plot_history

    found = {}
    if result.history:
        run_folder.write_history(result.history, folder / "history.csv")
    if "accuracy" in result.history:
        run_folder.write_picture(plot_history(result.history), folder / "accuracy.png")
        before = sentences.epochs_before(settings)
        when = f"; the last cut was after epoch {before}" if before else ", after the cut"
        found["accuracy.png"] = f"Accuracy by epoch of the training{when}"
    run_folder.write_picture(result.report.plot(), folder / "channels.png")
    return {**found, "channels.png": "Channels kept by layer"}


def _title(report):
    return " on ".join(pathlib.Path(report[name]).name for name in ("model", "data"))


def _settings(report):
    """The settings that were given, as text."""
    found = {name: value for name, value in report["settings"].items() if value not in (None, [])}
    target = ", ".join(f"{cost}={limit}" for cost, limit in found["target"].items())
    return {**found, "target": target, "learning_rate": f"{found['learning_rate']:.6g}"}


def _markdown(report, pictures):
    lines = [
        f"# {_title(report)}",
        "",
        f"`{report['command']}`",
        "",
        sentences.summary(report),
        "",
        f"| | {' | '.join(_NETWORKS)} | ratio |",
        "| --- | ---: | ---: | ---: |",
        *(f"| {' | '.join(row)} |" for row in _rows(report)),
        "",
        *_about_baselines(report),
        *(line for sentence in _remarks(report) for line in (sentence, "")),
        *(_about_files(report) if "files" in report else ()),
        *(line for file, title in pictures.items() for line in (f"![{title}]({file})", "")),
        "| layer | channels before | after |",
        "| --- | ---: | ---: |",
        *(f"| {name} | {a} | {b} |" for name, (a, b) in report["channels"].items()),
        "",
        "Settings: " + ", ".join(f"{k} {v}" for k, v in _settings(report).items()) + ".",
        "",
        "Versions: " + ", ".join(f"{k} {v}" for k, v in report["versions"].items()) + ".",
        "",
    ]
    return "\n".join(lines)


def _baselines(report):
    """Headings and rows of text for the compact model and the baselines."""
    limited = {name: row[2] for name, row in report["costs"].items() if row[0] is not None}
    compact = limited | report["compact"]
    rows = {"compact": compact, **report["baselines"]}
    names = dict.fromkeys((*report["compact"], *limited))
    names = [name for name in names if all(name in row for row in rows.values())]
    headings = ["", *(_LABELS.get(name, name) for name in names)]

    def text(name, value):
        return _text(value) if name in report["compact"] else in_words(name, value)

    return headings, [[title, *(text(n, row[n]) for n in names)] for title, row in rows.items()]


def _print_baselines(report):
    headings, rows = _baselines(report)
    table = rich.table.Table(title="The compact model, and what could be trained instead")
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    rich.print(table)
    sentence = baselines.verdict(report)
    if sentence:
        rich.print(escape(sentence))


def _about_baselines(report):
    """The baselines as lines of Markdown."""
    if "baselines" not in report:
        return []
    headings, rows = _baselines(report)
    lines = [
        f"| {' | '.join(headings)} |",
        f"| --- |{' ---: |' * (len(headings) - 1)}",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
    ]
    sentence = baselines.verdict(report)
    return [*lines, sentence, ""] if sentence else lines


def _about_files(report):
    return [
        " ".join(filter(None, [report["latency_note"], parts.timed_on(report)])),
        "",
        *variants.markdown([row for row in report["files"] if "error" not in row]),
        "",
        _about_columns(report),
        "",
    ]


def _about_columns(report):
    return (
        f"Errors, agreement and accuracy of a file: on {report['files'][0]['samples']} evenly "
        "spaced held-out samples, beside the model in Keras. Ratios are to `dense.tflite`."
    )


def html(report, history):
    """The report as a page in one file.

    Args:
        report: the contents of `report.json`.
        history: dict from a log's name to its values by epoch of the training.
    """
    rows = [list(row) for row in _rows(report)]
    missed = [s for s in sentences.of_costs(report) if "not met" in s]
    sections = [
        Table("The networks", ["", *_NETWORKS, "ratio"], rows, parts.timed_on(report)),
        list(filter(None, [_frontier(report), parts.epochs(history)])),
    ]
    if "baselines" in report:
        headings, found = _baselines(report)
        verdict = baselines.verdict(report)
        sections.append(Table("What could be trained instead", headings, found, verdict))
    if "files" in report and len(report["files"]) > len(_NETWORKS):
        header, body = variants.table(report["files"])
        sections.append(Table("Files", header, body, _about_columns(report)))
    sections.append(parts.channels(report["surgery"], _NETWORKS))
    if "benchmark" in report:
        files = report["benchmark"]["files"][: len(_NETWORKS)]
        sections.append(parts.operators(files, _NETWORKS))
    sections.append(parts.stays(report["surgery"]))
    summary = [sentences.summary(report), report.get("latency_note"), *_remarks(report)]
    return page.render(
        page.Page(
            title=_title(report),
            warnings=missed,
            cards=_cards(report),
            summary=list(filter(None, summary)),
            sections=list(filter(None, sections)),
            settings=_settings(report),
            command=report["command"],
            machine=parts.machine(report),
        )
    )


def _frontier(report):
    if "files" not in report:
        return None
    names = {name: name for name in _NETWORKS}
    return parts.frontier(report["files"], names, report["files"][0]["samples"])


_CARDS = (
    "accuracy",
    "float32 file, latency, fastest ms",
    "int8 file, latency, fastest ms",
    "macs",
    "float32 file, bytes",
    "parameters",
)


def _cards(report):
    texts = dict(zip(report["dense"], _rows(report), strict=True))
    return [
        page.Card(label, before, after, ratio and f"× {ratio}")
        for label, before, after, ratio in (texts[key] for key in _CARDS if key in texts)
    ]
