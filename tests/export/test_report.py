"""Runs beside each other: read from their reports, on one page."""

import json

import pytest

from export.report import NoReportError, html, read_runs
from tests.export.test_run_folder import Reader
from tests.in_process import run_program


def network(accuracy, macs):
    return {"accuracy": accuracy, "macs": macs, "parameters": macs // 10}


def file(name, kind, accuracy, latency):
    figures = {"accuracy": accuracy, "latency_ms_min": latency, "bytes": 1000}
    return {"network": name, "quantize": kind, **figures}


TRAINED = {
    "model": "tiny",
    "dataset": "points",
    "optimizer": "rda",
    "epochs": 3,
    "seed": 0,
    "sparsity": 0.75,
    "processor": "A CPU",
    "num_threads": 1,
    "command": "python -m apps.train",
    "dense": network(0.90, 8000),
    "trained": network(0.89, 8000),
    "compact": network(0.89, 4000),
    "files": [
        file("dense", "float32", 0.95, 2.0),
        file("model", "float32", 0.94, 2.0),
        file("compact", "float32", 0.94, 1.0),
        {"network": "dense", "quantize": "int8", "error": "no"},
        file("compact", "int8", 0.88, 0.5),
    ],
}
COMPRESSED = {
    "model": "models/m.keras",
    "data": "d.npz",
    "settings": {"target": {"latency": 0.5, "macs": "20k"}, "epochs": 2, "importance": "taylor"},
    "costs": {"latency": [1.0, 2.0, 0.9]},
    "processor": "A CPU",
    "num_threads": 1,
    "dense": network(0.91, 8000),
    "compact": network(0.92, 3000),
    "files": [file("dense", "float32", 0.9, 2.2), file("compact", "float32", 0.9, 0.9)],
}
WITHOUT_FILES = {k: TRAINED[k] for k in ("model", "dataset", "sparsity")} | {
    "accuracy": 0.7,
    "parameters": 80,
}
TIMED = {
    "processor": "A CPU",
    "files": [
        {
            "model": f"folder/{name}.tflite",
            "latency": {"min_ms": ms},
            "macs": 10,
            "model_size_bytes": 5,
            "num_threads": 2,
        }
        for name, ms in (("wide", 3.0), ("narrow", 1.5))
    ],
}


@pytest.fixture
def folder(tmp_path):
    reports = {"a": TRAINED, "b/deep": COMPRESSED, "c": WITHOUT_FILES}
    for name, report in reports.items():
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "report.json").write_text(json.dumps(report))
    (tmp_path / "a" / "report.html").write_text("page")
    (tmp_path / "timing.json").write_text(json.dumps(TIMED))
    return tmp_path


def test_runs_are_read_from_what_the_programs_write(folder):
    a, b, c, timed = read_runs([folder, folder / "timing.json", folder / "a"])
    assert [run.program for run in (a, b, c, timed)] == ["train", "compress", "train", "benchmark"]
    assert [(row.network, row.kind, row.accuracy, row.latency_ms) for row in a.rows] == [
        ("dense", "float32", 0.90, 2.0),
        ("sparse", "float32", 0.89, 2.0),
        ("compact", "float32", 0.89, 1.0),  # the network's, on all test images
        ("compact", "int8", 0.88, 0.5),  # the file's own
    ]
    assert a.facts == {"optimizer": "rda", "epochs": "3", "seed": "0", "zeros": "75.0%"}
    assert (b.title, b.facts["target"]) == ("m.keras on d.npz", "latency: 0.5, macs: 20k")
    assert [(row.network, row.accuracy, row.latency_ms) for row in c.rows] == [
        ("sparse", 0.7, None)
    ]
    assert timed.processor == "A CPU, 2 threads"
    assert [row.network for row in timed.rows] == ["wide.tflite", "narrow.tflite"]


def test_page(folder):
    report = {**COMPRESSED, "data": "points"}
    (folder / "b" / "deep" / "report.json").write_text(json.dumps(report))
    runs = read_runs([folder])
    page = Reader(html(runs, folder, "python -m export.report runs"))
    text = " ".join(page.text)
    assert "3 runs beside each other" in text
    assert "1 compact int8 0.8800 0.500 4,000 1,000 400 yes" in " ".join(text.split())
    assert "2 compact float32 0.9200 0.900 3,000 1,000 300 yes" in " ".join(text.split())
    assert "1 dense float32 0.9000 2.00 8,000 1,000 800 2" not in text  # beaten by run 2
    assert "To the left is faster" in text
    assert "svg" in page.tags
    assert "script" not in page.tags
    assert "a/report.html" in page.loads
    assert not [address for address in page.loads if address.startswith(("http", "//"))]
    assert "Do not compare" not in text


def test_runs_of_two_processors_are_not_compared(folder):
    report = {**COMPRESSED, "processor": "B CPU"}
    (folder / "b" / "deep" / "report.json").write_text(json.dumps(report))
    runs = read_runs([folder])
    text = " ".join(Reader(html(runs, folder)).text)
    assert "A CPU, 1 thread; B CPU, 1 thread. Do not compare latencies across them." in text
    assert text.count("Accuracy by latency.") == 2
    assert "2 dense float32 0.9100 2.20 8,000 1,000 800" in " ".join(text.split())


def test_accuracies_of_two_data_sets_are_not_compared(folder, capsys):
    # The second run is better in both figures, on other data.
    assert run_program("export.report", folder) is None
    assert "among the files on one data set" in capsys.readouterr().out
    text = " ".join(" ".join(Reader((folder / "runs.html").read_text()).text).split())
    assert "1 dense float32 0.9000 2.00 8,000 1,000 800 yes" in text
    assert "of 2 data sets: points; d.npz. Do not compare them across data sets." in text
    assert "no other file on the same data set and the same processor" in text
    assert text.count("Accuracy by latency.") == 2
    assert "On points." in text


def test_files_of_data_with_one_name_are_told_apart(folder):
    settings = {**COMPRESSED["settings"], "data_sha256": "0123456789abcdef"}
    (folder / "b" / "deep" / "report.json").write_text(
        json.dumps({**COMPRESSED, "settings": settings})
    )
    assert [run.data for run in read_runs([folder])] == ["points", "d.npz (01234567)", "points"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty", None, "empty holds no report.json: give folders"),
        ("absent", None, "absent does not exist"),
        ("bad.json", "{", "bad.json is no report of a run"),
        ("other.json", "[1]", "other.json is no report of a run"),
        ("other.json", '{"sparsity": 1}', r"no report of a run \(KeyError\('accuracy'\)\)"),
    ],
)
def test_what_is_no_report_is_named(name, content, message, tmp_path):
    (tmp_path / "empty").mkdir()
    if content:
        (tmp_path / name).write_text(content)
    with pytest.raises(NoReportError, match=message):
        read_runs([tmp_path / name])


def test_program(folder, capsys):
    assert run_program("export.report", folder) is None
    output = capsys.readouterr().out
    assert "compact" in output
    assert f"Open {folder / 'runs.html'}" in "".join(output.split("\n"))
    assert "Accuracy by latency" in (folder / "runs.html").read_text()
    assert "name one or more folders" in run_program("export.report")
    assert "export.report: " in run_program("export.report", folder / "absent")
    told = run_program("export.report", folder, f"--html={folder / 'absent' / 'page.html'}")
    assert told.startswith("export.report: ")
    assert "cannot be written" in told


@pytest.mark.parametrize("report", [{"files": []}, {"files": [{}]}, {}, [], 3])
def test_other_json_is_no_report(report, tmp_path):
    (tmp_path / "report.json").write_text(json.dumps(report))
    with pytest.raises(NoReportError, match="is no report of a run"):
        read_runs([tmp_path / "report.json"])


def test_links_to_folders_with_signs(tmp_path):
    folder = tmp_path / "lr 0.1 #2 100%"
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps(TRAINED))
    (folder / "report.html").touch()
    page = Reader(html(read_runs([tmp_path]), tmp_path))
    assert "lr%200.1%20%232%20100%25/report.html" in page.loads
