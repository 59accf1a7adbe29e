"""Reading runs from the reports in their folders."""

import dataclasses
import json
import pathlib

from export.errors import ExportError

REPORT = "report.json"
# Key of a network in a report, name of its files, name in tables. Not every run has all three.
_NETWORKS = (
    ("dense", "dense", "dense"),
    ("trained", "model", "sparse"),
    ("compact", "compact", "compact"),
)
_NOT_TOLD = "an unknown processor"


class NoReportError(ExportError):
    """A file is not a report, or there is no report."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One network, or one of its files.

    Attributes:
        network: `"dense"`, `"sparse"`, `"compact"`, or the file's name.
        kind: `"float32"`, `"int8"` ... of the file; `""` without a file.
        accuracy: on the held-out images, or None.
        latency_ms: the fastest inference, or None.
        macs, bytes, parameters: int, or None.
    """

    network: str
    kind: str = ""
    accuracy: float | None = None
    latency_ms: float | None = None
    macs: int | None = None
    bytes: int | None = None
    parameters: int | None = None


@dataclasses.dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        path: `pathlib.Path` of its report.
        program: `"train"`, `"compress"` or `"benchmark"`.
        title: what was run: `"small_cnn on digits"`.
        facts: `{name: text}` of the settings that distinguish runs.
        rows: tuple of `Row`.
        processor: the processor on which the files were timed, with the threads; `""` if they were
            not timed.
        command: the command that repeats the run, or `""`.
        data: the data set on which accuracies were measured; `""` without accuracies. A file of
            data is named with the start of its hash, because files of one name may differ.
    """

    path: pathlib.Path
    program: str
    title: str
    facts: dict
    rows: tuple
    processor: str
    command: str
    data: str = ""


def read_runs(paths):
    """The runs in or below the paths.

    Args:
        paths: list of folders of `apps.train` and `apps.compress`, of folders that hold such
            folders, and of JSON files that `export.benchmark --result_json` wrote.

    Returns:
        A list of `Run`, in the order of the paths, and by name within a folder.

    Raises:
        NoReportError: a path that does not exist, a folder without a report, or a file that is not
            a report.
    """
    found = {}
    for path in map(pathlib.Path, paths):
        reports = [path] if path.is_file() else sorted(path.rglob(REPORT))
        if not reports:
            what = "holds no report.json" if path.is_dir() else "does not exist"
            raise NoReportError(
                f"{path} {what}: give folders that apps.train or apps.compress made"
            )
        found |= {report.resolve(): report for report in reports}
    return [_read(path) for path in found.values()]


def _read(path):
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        read = _compressed if "costs" in report else _trained if "sparsity" in report else _timed
        return read(path, report)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise NoReportError(f"{path} is no report of a run ({error!r})") from error


def _trained(path, report):
    facts = {name: report.get(name) for name in ("optimizer", "epochs", "seed")}
    facts["zeros"] = f"{report['sparsity']:.1%}"
    rows = _rows(report) or (
        Row("sparse", accuracy=report["accuracy"], parameters=report["parameters"]),
    )
    title = f"{report['model']} on {report['dataset']}"
    return _run(path, "train", title, facts, rows, report, report["dataset"])


def _compressed(path, report):
    settings = report["settings"]
    target = ", ".join(f"{name}: {value}" for name, value in settings["target"].items())
    facts = {name: settings.get(name) for name in ("epochs", "importance", "schedule", "seed")}
    data, digest = pathlib.Path(report["data"]).name, settings.get("data_sha256")
    title = f"{pathlib.Path(report['model']).name} on {data}"
    data += f" ({digest[:8]})" if digest else ""
    return _run(path, "compress", title, {"target": target, **facts}, _rows(report), report, data)


def _timed(path, report):
    rows = tuple(
        Row(
            pathlib.Path(file["model"]).name,
            latency_ms=file["latency"]["min_ms"],
            macs=file["macs"],
            bytes=file["model_size_bytes"],
        )
        for file in report["files"]
    )
    report = {"num_threads": report["files"][0]["num_threads"], "processor": _NOT_TOLD, **report}
    return _run(path, "benchmark", "TFLite files", {}, rows, report)


def _run(path, program, title, facts, rows, report, data=""):
    threads = report.get("num_threads")
    processor = report.get("processor", "")
    if processor:
        processor = f"{processor}, {threads} thread{'s' * (threads > 1)}"
    known = {name: str(value) for name, value in facts.items() if value is not None}
    command = report.get("command", "")
    return Run(path, program, title, known, tuple(rows), processor, command, data)


def _rows(report):
    """A row for each file, or for each network if there are no files."""
    found = []
    for key, stem, name in _NETWORKS:
        network = report.get(key)
        if network is None or "macs" not in network:
            continue
        figures = {"macs": network["macs"], "parameters": network["parameters"]}
        files = [row for row in report.get("files", ()) if row["network"] == stem]
        found += [_row(name, file, network, figures) for file in files if "error" not in file] or [
            Row(name, accuracy=network.get("accuracy"), **figures)
        ]
    return tuple(found)


def _row(name, file, network, figures):
    # For a float32 file, use the accuracy of its network, which was tested on more images.
    whole = file["quantize"] == "float32"
    return Row(
        name,
        file["quantize"],
        network.get("accuracy") if whole else file["accuracy"],
        file["latency_ms_min"],
        bytes=file["bytes"],
        **figures,
    )
