"""Files and folders of the programs, before anything is read or written."""

import json

import pytest

from apps import paths

TRAINED = {"sparsity": 0.5, "model": "m", "dataset": "digits", "accuracy": 0.9, "parameters": 5}
COMPRESSED = {"settings": {"target": {}}, "costs": {}, "model": "m.keras", "data": "d.npz"}
RUNS = [
    ("train", "history.csv", "epoch"),
    ("train", "report.json", json.dumps(TRAINED)),
    ("compress", "settings.json", "{}"),
    ("compress", "recovery/scores.npz", ""),
    ("compress", "report.json", json.dumps(COMPRESSED)),
    ("reproduce", "table.json", "{}"),
]


@pytest.mark.parametrize(("program", "file", "text"), RUNS)
def test_a_folder_is_for_the_program_that_made_it(program, file, text, tmp_path):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    paths.check_run(tmp_path, program)
    for other in {"train", "compress", "reproduce", None} - {program}:
        with pytest.raises(ValueError, match=f"holds a run of the program {program}: move it"):
            paths.check_run(tmp_path, other)


def test_a_history_of_a_compression_is_no_training(tmp_path):
    for name in ("history.csv", "settings.json"):
        (tmp_path / name).touch()
    paths.check_run(tmp_path, "compress")


@pytest.mark.parametrize("name", ["plan.json", "m.keras", "latency.json", "report.json"])
def test_other_files_are_no_run(name, tmp_path):
    (tmp_path / name).touch()
    paths.check_run(tmp_path, None)
    paths.check_run(tmp_path / "absent", None)


def test_no_input_is_an_output(tmp_path):
    (tmp_path / "link").symlink_to("out")
    paths.check_inputs({"model": tmp_path / "m", "table": None}, [tmp_path / "out"])
    with pytest.raises(ValueError, match=r"--model=.*link would be replaced by a file of the run"):
        paths.check_inputs({"model": tmp_path / "link"}, [tmp_path / "out"])
