"""What a compression prints: the stages as they begin, and the result."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse
from keras_sparse.compression import GroupNorm, Iterative, planning
from tests.seconds_by_unit import SecondsByUnit

DATA = np.ones((8, 4), "float32"), np.ones((8, 1), "float32")


def network():
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(16, name="first"), layers.Dense(1, name="last")]
    )
    model.compile("sgd", "mse", metrics=["mae"], run_eagerly=True)
    return model


def compress(**arguments):
    given = {
        "target": {"macs": 0.25}, "epochs": 0, "importance": GroupNorm(),
        "allocation": "uniform", "verbose": 0,
    }  # fmt: skip
    return keras_sparse.compress(network(), DATA, **{**given, **arguments})


class Files:
    """Files of 100 bytes for each unit."""

    def costs(self, model):
        return {"int8_bytes": 100 * model.get_layer("first").units}


def rows(result):
    return {line.split("  ")[0]: line.split() for line in str(result).splitlines()}


@pytest.mark.parametrize(
    ("schedule", "epochs"), [("one_shot", 0), (Iterative(2), 2), ("growing", 2)], ids=str
)
def test_a_result_has_what_was_asked_predicted_and_measured(schedule, epochs):
    result = compress(
        target={"latency": "5 s"}, latency={"latency": SecondsByUnit()}, files=None,
        schedule=schedule, epochs=epochs, validation_data=DATA,
    )  # fmt: skip
    text, found = str(result), rows(result)
    assert text.startswith("channels: first 16 → 4\n")
    assert text.splitlines()[1].split() == ["asked", "before", "predicted", "after", "ratio"]
    predicted = f"{1e3 * result.plan.costs['latency'][1]:.4g}"
    assert found["latency"][1:9:2] == ["5000", "1.7e+04", predicted, "5000"]
    assert found["latency"][-2:] == ["0.294", "measured"]
    assert found["macs"] == ["macs", "80", "20", "20", "0.250", "counted"]
    assert found["int8_bytes"][-1] == result.sources["int8_bytes"] == "predicted"
    assert "after the cut" in text
    assert len(found["mae"]) == 4


def test_a_file_that_was_measured_is_told_from_a_predicted_one():
    found = rows(compress(target={"int8_bytes": 0.8}, files=Files()))
    assert found["int8_bytes"][-1] == "measured"
    assert found["float32_bytes"][-1] == "predicted"


def test_channels_that_all_stay():
    with pytest.warns(UserWarning, match="meets `target` already"):
        result = compress(target={"macs": 1.0})
    assert str(result).startswith("channels: all stay\n")


@pytest.mark.parametrize("schedule", ["one_shot", "iterative"])
def test_a_target_that_is_met_already_is_told(schedule):
    told = r"no channels are removed: macs costs 80, and the limit is 80, parameters costs 97, and"
    with pytest.warns(UserWarning, match=told):
        compress(target={"macs": 1.0, "parameters": 1e6}, schedule=schedule, epochs=4)
    with pytest.warns(UserWarning, match="macs costs 80, and the limit is 80"):
        keras_sparse.plan(network(), target={"macs": 1.0}, importance=GroupNorm())


def test_stages_are_told_unless_verbose_is_0(capsys):
    arguments = {"allocation": "importance", "epochs": 1, "target": {"int8_bytes": 0.8}}
    compress(**arguments, files=Files())
    assert not capsys.readouterr().out
    compress(**arguments, files=Files(), verbose=2)
    told = capsys.readouterr().out
    stages = ["Scoring the channels by GroupNorm", "Choices of widths", "Measuring", "Epochs of"]
    assert [told.count(stage) > 0 for stage in stages] == [True] * 4
    assert sorted(stages, key=told.index) == stages


def test_many_choices_are_counted(capsys, monkeypatch):
    monkeypatch.setattr(planning, "_SILENCE", -1)
    monkeypatch.setattr(planning, "candidates", lambda *_, **__: [np.array([n]) for n in (5, 6, 7)])
    compress(allocation="importance", epochs=0, target={"macs": 0.8}, verbose=2)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "compared" in line] == [
        f"Choices compared: {done} of 3" for done in (1, 2)
    ]
