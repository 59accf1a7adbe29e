"""What the report on a compression says."""

from unittest import mock

import pytest
from matplotlib.figure import Figure

from apps.compression import baselines, report, sentences


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (1.9e-3, "The narrow network trained from scratch is better: accuracy 0.9500, and 0.9000"),
        (2.1e-3, "The shape trained from scratch is as good: accuracy 0.8900, and 0.9000"),
    ],
)
def test_the_best_baseline_within_the_budget_is_told(seconds, told):
    rows = {
        baselines.SCRATCH: {"accuracy": 0.89, "latency": 1.8e-3},
        baselines.NARROW: {"accuracy": 0.95, "latency": seconds},
        baselines.RANDOM: {"accuracy": 0.5, "latency": 1.8e-3},
    }
    facts = {
        "compact": {"accuracy": 0.9},
        "held_out": 400,
        "baselines": rows,
        "costs": {"macs": [None, 9, 5], "latency": [2e-3, 4e-3, 1.8e-3]},
    }
    lines = report._about_baselines(facts)
    assert lines[0] == "|  | accuracy | latency |"
    assert f"| {baselines.NARROW} | 0.9500 | {1e3 * seconds:.1f} ms |" in lines
    assert lines[-2].startswith(told)
    assert "It is in scratch.keras." in lines[-2]


@pytest.mark.parametrize(
    ("schedule", "epochs", "told"),
    [
        ("one_shot", 2, ("right after the cut, before 2 epochs of training", ", after the cut")),
        ("growing", 4, ("the cut, after 2 of 4 epochs", "; the last cut was after epoch 2")),
        ("iterative", 5, ("last cut, after 3 of 5 epochs", "; the last cut was after epoch 3")),
    ],
)
def test_the_report_says_when_the_cut_was(schedule, epochs, told, tmp_path):
    settings = {"schedule": schedule, "epochs": epochs}
    facts = {"settings": settings, "costs": {}, "held_out": 5, "after_cut": {"loss": 1.0}}
    assert told[0] in sentences.summary(facts)

    result = mock.Mock(history={"accuracy": [0.5] * epochs})
    result.report.plot = Figure
    title = report._pictures(result, tmp_path, settings)["accuracy.png"]
    assert title == f"Accuracy by epoch of the training{told[1]}"


def test_two_latencies_of_one_file_are_explained():
    facts = {
        "settings": {"schedule": "one_shot", "epochs": 1},
        "costs": {"macs": [5, 9, 5], "latency": [None, 4e-3, 2e-3]},
        "held_out": 5,
        "after_cut": {},
        "benchmark": {},
    }
    assert "were timed again" not in sentences.summary(facts)
    facts["costs"]["latency"][0] = 2e-3
    assert "At the end all files were timed again" in sentences.summary(facts)
