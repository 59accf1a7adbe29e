import ast
import importlib
import importlib.util
import json
import pathlib

import pytest

from apps import tables
from apps.training.config import TrainConfig
from benchmarks import gpu_queue

BENCHMARKS = sorted(pathlib.Path(__file__).parents[1].joinpath("benchmarks").glob("*.py"))
OWN = {"keras_sparse", "export", "apps"}


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_what_a_benchmark_imports_from_the_packages_is_there(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in OWN:
            module = importlib.import_module(node.module)
            for name in (alias.name for alias in node.names):
                submodule = hasattr(module, "__path__") and importlib.util.find_spec(
                    f"{node.module}.{name}"
                )
                assert hasattr(module, name) or submodule, f"{path.name}: {node.module}.{name}"


def item(name, statement, seconds=0.0, rehearsal="pass"):
    return gpu_queue.Item(name, seconds, "timeit", ["-n1", "-r1", statement], [rehearsal])


def test_the_queue_runs_what_fits_and_goes_on_where_it_stopped(tmp_path):
    large = f"open(r'{tmp_path}/written/model.keras', 'wb').truncate({gpu_queue.LARGEST + 1})"
    items = [item("written", large), item("long", "pass", seconds=100), item("wrong", "no name")]
    gpu_queue.run(items, tmp_path, "", 90.0)
    sleeps = item("stopped", "import time; time.sleep(600)")
    found = gpu_queue.run([sleeps], tmp_path, "", gpu_queue._GRACE + 1.0)
    states = {name: entry["state"] for name, entry in found.items()}
    assert states["wrong"].startswith("failed: status 1")
    assert states | {"wrong": ""} == {
        **{"written": "done", "long": "does not fit", "wrong": "", "stopped": "stopped"}
    }
    assert not list((tmp_path / "written").iterdir())
    assert "SyntaxError" in (tmp_path / "wrong.log").read_text()
    items[0] = item("written", "no name")  # is done, and not run again
    states = gpu_queue.run(items[:2], tmp_path, "", 200.0)
    assert states["written"]["state"] == states["long"]["state"] == "done"
    assert json.loads((tmp_path / "queue.json").read_text()) == states
    assert "| long | 100 |" in (tmp_path / "queue.md").read_text()


def test_a_rehearsal_runs_whatever_it_would_take(tmp_path):
    rehearsed = tmp_path / "rehearsed"
    only = item("a", "pass", seconds=1e6, rehearsal=f"open(r'{rehearsed}', 'w')")
    found = gpu_queue.run([only], tmp_path, "", 60, rehearse=True)
    assert found["a"]["state"] == "done"
    assert rehearsed.exists()


def test_of_a_training_that_was_stopped_the_rest_is_expected(tmp_path):
    training = next(item for item in gpu_queue.ITEMS if item.epochs == 300)
    assert training.seconds_left(tmp_path) == training.seconds
    (tmp_path / training.name).mkdir()
    (tmp_path / training.name / "history.csv").write_text("epoch\n" + 75 * "1\n")
    assert training.seconds_left(tmp_path) == 0.75 * training.seconds


@pytest.mark.parametrize("found", gpu_queue.ITEMS, ids=lambda found: found.name)
def test_items_are_there(found):
    assert importlib.util.find_spec(found.module)
    values = dict(argument[2:].split("=") for argument in found.arguments if "=" in argument)
    if "row" in values:
        assert isinstance(tables.row(values["row"]), TrainConfig)
    if "table" in values:
        keys = {row.key for row in tables.load(values["table"]).rows}
        assert all(any(part in key for key in keys) for part in values["rows"].split("|"))
