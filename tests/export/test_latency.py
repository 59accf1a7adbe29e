"""Tables of measured latency. Times are made up, so that they are known."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers

import keras_sparse
from export import ExportError, LatencyTable
from export.latency import report
from keras_sparse.compression import GroupNorm


def network():
    x = keras.Input((6, 6, 3))
    y = layers.Conv2D(16, 3, padding="same", name="first")(x)
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(y)
    y = layers.Conv2D(16, 1, groups=4, name="grouped")(y)
    y = layers.Conv2D(12, 3, name="second")(y)
    return keras.Model(x, layers.Dense(4, name="logits")(layers.Flatten()(y)))


def shapes_of(content):
    """`(inputs, outputs)` channels of a TFLite file."""
    interpreter = Interpreter(model_content=content)
    details = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    return [int(detail["shape"][-1]) for detail in details]


def staircase(contents):
    """A device with tiles of 8 output channels, whose time is a line in the input channels."""
    return [1e-6 * (1 + inputs) * -(-outputs // 8) for inputs, outputs in map(shapes_of, contents)]


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def table(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("latency") / "table.json"
    return LatencyTable.measure(model, path=path, time=staircase, device="made up")


def test_rows_have_the_times_of_the_device(table):
    assert set(table.rows) == {"first", "depthwise", "grouped", "second", "logits"}
    assert table.seconds("first", 3, 16) == pytest.approx(8e-6)
    assert table.seconds("first", 3, 5) == pytest.approx(4e-6)
    assert table.seconds("second", 16, 12) == pytest.approx(34e-6)
    # 16 of 17 parts of the time go with the input channels.
    assert table.seconds("second", 4, 12) == pytest.approx(10e-6)
    assert table.seconds("depthwise", 8, 8) == pytest.approx(9e-6)
    assert all(width % 4 == 0 for width in table.rows["grouped"]["widths"])


def test_steps_are_the_widths_worth_having(table):
    assert table.steps("first") == [8, 16]
    assert table.steps("second") == [8, 12]
    assert table.steps("unknown") == []


def test_shapes_of_weights_give_the_widths(table):
    assert table.layer_seconds("first", {"kernel": (3, 3, 3, 7)}) == pytest.approx(4e-6)
    assert table.layer_seconds("depthwise", {"kernel": (3, 3, 8, 1)}) == pytest.approx(9e-6)
    assert table.layer_seconds("batch_normalization", {"gamma": (3,)}) == 0


def test_a_table_is_read_again_and_nothing_is_measured_twice(table, model, tmp_path):
    path = tmp_path / "table.json"
    table.save(path)

    def refuse(contents):
        raise AssertionError("measured again")

    again = LatencyTable.measure(model, path=path, time=refuse, device="made up")
    assert json.dumps(again.rows) == json.dumps(table.rows)
    assert LatencyTable.load(path).layer_seconds("first", {"kernel": (3, 3, 3, 7)}) > 0
    with pytest.raises(ValueError, match=r"measured elsewhere.*made up.*another phone"):
        LatencyTable.measure(model, path=path, time=refuse, device="another phone")
    path.write_text("{}")
    with pytest.raises(ValueError, match="is no latency table"):
        LatencyTable.load(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"quantize": "int4"}, "`quantize`"), ({"time": staircase}, "`device`")],
)
def test_bad_arguments(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        LatencyTable.measure(model, **arguments)


def test_open_sizes_are_told():
    x = keras.Input((None, None, 3))
    model = keras.Model(x, layers.Conv2D(4, 3, name="first")(x))
    with pytest.raises(ValueError, match=r"'first'.*open sizes"):
        LatencyTable.measure(model, time=staircase, device="made up")


def test_a_plan_by_measured_latency_keeps_to_the_steps(table, model):
    chosen = keras_sparse.plan(
        model, target={"latency": 0.7}, importance=GroupNorm(), latency={"latency": Stub(table)}
    )
    before, after = chosen.costs["latency"]
    assert after <= 0.7 * before
    widths = dict(zip((group.name for group in chosen.groups), chosen.widths, strict=True))
    assert widths["second"] in table.steps("second")


class Stub:
    """A table without whole models, which nobody can time on a made-up device."""

    def __init__(self, table):
        self.layer_seconds, self.steps = table.layer_seconds, table.steps


def test_the_report_names_wasted_widths(table):
    text = "\n".join(report.lines(table))
    assert "next step down: 8 (4.0 us); 12 to 12 channels cost what 16 do" in text
    assert "sum of the layers" in text


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_this_machine_is_measured(quantize):
    x = keras.Input((4, 4, 2))
    model = keras.Model(x, layers.Conv2D(2, 1, name="only")(x))
    table = LatencyTable.measure(model, quantize=quantize)
    assert table.total() > 0
    assert table.model_seconds(model) > 0
    assert np.isfinite(table.rows["only"]["seconds"]).all()


def test_a_layer_that_cannot_be_timed_is_named(model):
    def broken(contents):
        raise ExportError("the phone is gone")

    with pytest.raises(ExportError, match="the phone is gone"):
        LatencyTable.measure(model, time=broken, device="made up")


def test_wrong_command_lines_are_one_line():
    for arguments, message in (([], "give one file"), (["none.keras"], "there is no file")):
        done = subprocess.run(
            [sys.executable, "-m", "export.latency", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr
