"""Tables of measured latency. Times are made up, so that they are known."""

import errno
import json
import os
from unittest import mock

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers

import keras_sparse
from export import ExportError, LatencyTable
from export.latency import report, rows
from export.latency.layers import tflite_bytes, timed_layers
from export.latency.resizing import ResizableFile
from export.latency.rows import _references
from keras_sparse.compression import GroupNorm
from keras_sparse.compression.cost import CostModel
from keras_sparse.compression.planning import removable_groups
from tests.in_process import run_program


def network():
    x = keras.Input((6, 6, 3))
    y = layers.Conv2D(16, 3, padding="same", name="first")(x)
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(y)
    y = layers.Conv2D(16, 1, groups=4, name="grouped")(y)
    y = layers.Conv2D(12, 3, name="second")(y)
    return keras.Model(x, layers.Dense(5, name="logits")(layers.Flatten()(y)))


def shapes_of(content):
    """`(inputs, outputs)` channels of a TFLite file."""
    interpreter = Interpreter(model_content=content)
    details = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    return [int(detail["shape"][-1]) for detail in details]


def staircase(contents):
    """Tiles of 8 output channels, a line in the input channels, and 2 us for each inference."""
    return [1e-6 * (2 + _work(*shapes_of(content), len(content))) for content in contents]


def timed(contents):
    return zip(staircase(contents), contents, strict=True)


def _work(inputs, outputs, size):
    whole, empty = (3, 5), (1, 1)
    network = LAYERS if size > WHOLE_BYTES else HALF
    return {whole: network, empty: 0}.get((inputs, outputs), inputs * -(-outputs // 8))


# first, depthwise, grouped, second, logits: with all channels and with half of them.
LAYERS = 3 * 2 + 16 * 2 + 16 * 2 + 16 * 2 + 192
HALF = 3 + 8 + 8 + 8 + 96
WHOLE_BYTES = 12_000


@pytest.fixture(scope="module", autouse=True)
def _converted_once():
    """A layer is converted for the first test that times it."""
    files, convert = {}, rows._LayerFile

    def converted(layer, quantize):
        key = (layer.key(), quantize)
        if key not in files:
            files[key] = convert(layer, quantize)
        return files[key]

    with mock.patch.object(rows, "_LayerFile", converted):
        yield


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def table(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("latency") / "table.json"
    return LatencyTable.measure(model, path=path, time=staircase, device="made up")


def test_rows_have_the_times_of_the_device(table):
    assert set(table.rows) == {"first", "depthwise", "grouped", "second", "logits"}
    assert table.total() == pytest.approx(1e-6 * (2 + LAYERS))
    assert table.seconds("second", 16, 12) == pytest.approx(32e-6)
    assert table.seconds("second", 16, 5) == pytest.approx(16e-6)
    assert table.seconds("second", 3, 12) == pytest.approx(6e-6)
    assert table.seconds("depthwise", 8, 8) == pytest.approx(8e-6)
    # The first layer has the 2 us of an inference too.
    assert table.seconds("first", 3, 5) == pytest.approx(5e-6)
    assert all(width % 4 == 0 for width in table.rows["grouped"]["widths"])


def test_the_model_is_timed_and_the_layers_fit_half_of_it(table, model):
    def slow(contents):
        return [s + (s - 2e-6) * (factor(c) - 1) for s, c in timed(contents)]

    def factor(content):
        if shapes_of(content) != [3, 5]:
            return 1.0
        return 1.5 if len(content) > WHOLE_BYTES else 1.2

    slower = LatencyTable.measure(model, time=slow, device="made up")
    assert slower.total() == pytest.approx(2e-6 + 1.5e-6 * LAYERS)
    assert slower.sum() == pytest.approx(2e-6 + 1.2e-6 * LAYERS)
    ratio = slower.seconds("second", 16, 8) / table.seconds("second", 16, 8)
    assert ratio == pytest.approx(1.2)
    groups = removable_groups(model)
    costs = CostModel(model, groups, {"latency": slower})
    assert costs.total("latency", costs.full()) == slower.total()
    half = costs.total("latency", costs.full() // 2)
    assert half == pytest.approx(2e-6 + 1.2e-6 * HALF)


def test_input_channels_that_are_taken_together(model):
    def in_eights(contents):
        pairs = map(shapes_of, contents)
        return [1e-6 * (2 + -(-a // 8) * -(-b // 8)) if a > 1 else 2e-6 for a, b in pairs]

    table = LatencyTable.measure(model, time=in_eights, device="made up")
    assert table.whole["grain"] == 8
    scale = table.whole["scale"]
    assert table.seconds("second", 9, 8) == pytest.approx(scale * 2e-6)


def test_a_width_between_two_takes_the_time_of_the_slower():
    row = {"widths": [16, 24, 32], "seconds": [1.0, 3.0, 2.0], "ratios": None, "calls": 1}
    whole = {"invoke": 0.0, "grain": 1, "scale": 1.0}
    table = LatencyTable({"conv": row}, {}, whole)
    times = [table.seconds("conv", 8, width) for width in (16, 17, 24, 31, 32)]
    assert times == [1.0, 3.0, 3.0, 3.0, 2.0]


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_a_resized_file_has_the_shapes_of_a_converted_one(quantize, model):
    for layer in timed_layers(model)[1:]:
        small, large = _references(layer)
        contents = [tflite_bytes(layer.model(*pair), quantize) for pair in (small, large)]
        resized = ResizableFile(*contents, small, large).at(layer.widths)
        converted = tflite_bytes(layer.model(*layer.widths), quantize)
        details = [Interpreter(model_content=c).get_tensor_details() for c in (resized, converted)]
        shapes = [[tuple(d["shape"]) for d in each] for each in details]
        assert shapes[0] == shapes[1], layer.name
        assert len(resized) == pytest.approx(len(converted), rel=0.05)


def test_files_that_compute_different_things_are_not_resized():
    contents = []
    for width, activation in ((8, None), (16, "relu")):
        layer = keras.layers.Dense(width, activation=activation)
        contents.append(tflite_bytes(keras.Sequential([keras.Input((3,)), layer]), None))
    with pytest.raises(ValueError, match="different things"):
        ResizableFile(*contents, (3, 8), (3, 16))


def test_steps_are_the_widths_worth_having(table):
    assert table.steps("first") == [8, 16]
    assert table.steps("second") == [8, 12]
    assert table.steps("unknown") == []


def test_shapes_of_weights_give_the_widths(table):
    assert table.layer_seconds("second", {"kernel": (3, 3, 16, 7)}) == pytest.approx(16e-6)
    assert table.layer_seconds("depthwise", {"kernel": (3, 3, 8, 1)}) == pytest.approx(8e-6)
    assert table.layer_seconds("batch_normalization", {"gamma": (3,)}) == 0


def test_a_full_disk_leaves_the_table_that_was_there(table, tmp_path, monkeypatch):
    path = tmp_path / "table.json"
    table.save(path)
    before = path.read_bytes()
    full = mock.Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr("pathlib.Path.write_text", full)
    with pytest.raises(OSError, match="No space left"):
        table.save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["table.json"]


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
    with pytest.raises(ValueError, match=r"json was measured with 1 thread, not 2\. .*--table"):
        LatencyTable.measure(model, path=path, time=refuse, device="made up", num_threads=2)
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"is no latency table.*Give another .*--table"):
        LatencyTable.load(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quantize": "int4"}, "`quantize`"),
        ({"time": staircase}, "`device`"),
        ({"time": 3.0, "device": "made up"}, "`time` must be a function"),
    ],
)
def test_bad_arguments(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        LatencyTable.measure(model, **arguments)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (lambda n: 1e-3, r"0\.001"),
        (lambda n: None, "None"),
        (lambda n: [1e-3] * (n - 1), r"\["),
        (lambda n: np.array(1e-3), r"0\.001"),
        (lambda n: [0.0] * n, r"\[0\.0"),
        (lambda n: ["1e-3"] * n, r"\['1e-3'"),
        (lambda n: [float("nan")] * n, r"\[nan"),
        (lambda n: np.full(n, np.inf), r"\[inf"),
        (lambda n: [-1e-3] * n, r"\[-0\.001"),
    ],
)
def test_times_that_are_none_are_refused(seconds, shown, model, tmp_path):
    path = tmp_path / "table.json"
    with pytest.raises(ValueError, match=rf"`time` must return .* files\. Received: {shown}"):
        LatencyTable.measure(
            model, path=path, time=lambda files: seconds(len(files)), device="made up"
        )
    assert not path.exists()


def test_times_of_whole_models_are_checked_too(table, model, tmp_path):
    table.save(tmp_path / "table.json")
    again = LatencyTable.load(tmp_path / "table.json", time=lambda files: None)
    with pytest.raises(ValueError, match="`time` must return a list of seconds"):
        again.models_seconds([model])


def test_differences_that_the_timing_does_not_resolve_are_no_steps():
    # 5% of the layer are 0.7% of its file, which has the inference itself too.
    row = {"widths": [8, 16], "seconds": [1.0e-7, 1.05e-7], "ratios": None, "calls": 1}
    table = LatencyTable({"conv": row}, {}, {"invoke": 6e-7, "grain": 1, "scale": 1.0})
    assert table.steps("conv") == [16]
    table.whole["invoke"] = 0.0
    assert table.steps("conv") == [8, 16]


def test_open_sizes_are_told():
    x = keras.Input((None, None, 3))
    model = keras.Model(x, layers.Conv2D(4, 3, name="first")(x))
    with pytest.raises(ValueError, match=r"'first'.*open sizes"):
        LatencyTable.measure(model, time=staircase, device="made up")


def test_a_plan_by_measured_latency_keeps_to_the_steps(table, model):
    chosen = keras_sparse.plan(
        model, target={"latency": 0.7}, importance=GroupNorm(), latency={"latency": table}
    )
    before, after = chosen.costs["latency"]
    assert after <= 0.7 * before
    widths = dict(zip((group.name for group in chosen.groups), chosen.widths, strict=True))
    assert widths["second"] in table.steps("second")


def renamed(model):
    """The same layers under other names."""
    return keras.models.clone_model(
        model, clone_function=lambda layer: layer.from_config({**layer.get_config(), "name": None})
    )


def test_a_table_of_another_model_is_refused(table, model):
    x = keras.Input((6, 6, 3))
    alone = keras.Model(x, layers.Conv2D(16, 3, padding="same", name="first")(x), name="alone")
    others = {
        r"it has no layer 'conv2d\w*', but first, depthwise": renamed(model),
        "model than 'alone': the model has no layer 'depthwise'": alone,
        "the layer 'logits' has other sizes": keras.models.clone_model(
            model,
            clone_function=lambda layer: (
                layers.Dense(7, name="logits")
                if layer.name == "logits"
                else layer.from_config(layer.get_config())
            ),
        ),
    }
    arguments = {"target": {"latency": 0.7}, "latency": {"latency": table}}
    for message, other in others.items():
        other.compile("sgd", "mse")
        with pytest.raises(ValueError, match=message):
            keras_sparse.plan(other, importance=GroupNorm(), **arguments)
        data = np.zeros((4, 6, 6, 3)), np.zeros((4, *other.output_shape[1:]))
        with pytest.raises(ValueError, match=message):
            keras_sparse.compress(other, data, epochs=0, **arguments)
    table.check(keras.models.clone_model(model))


def test_whole_models_are_timed_on_the_device(table, model, tmp_path):
    given = []

    def device(contents):
        given.append(contents)
        return [1e-6 * len(content) for content in contents]

    path = tmp_path / "table.json"
    table.save(path)
    again = LatencyTable.load(path, time=device)
    model.compile(optimizer="sgd", loss="mse")
    result = keras_sparse.compress(
        model, (np.zeros((1, 6, 6, 3)), np.zeros((1, 5))), target={"latency": 0.7}, epochs=0,
        importance=GroupNorm(), latency={"latency": again}, verbose=0,
    )  # fmt: skip
    (whole, own), before = map(len, given[0]), table.total()
    assert result.costs["latency"] == (0.7 * before, before, pytest.approx(before * own / whole))
    elsewhere = LatencyTable.load(path)
    assert not elsewhere.can_time
    with pytest.raises(ValueError, match=r"'made up'.*give `time`"):
        elsewhere.models_seconds([model])


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_a_mixed_precision_model_is_timed_in_float32(quantize):
    model = keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            layers.Conv2D(4, 3, dtype="mixed_float16", name="conv"),
            layers.Flatten(),
            layers.Dense(2, dtype="mixed_float16", name="logits"),
        ]
    )
    Interpreter(model_content=tflite_bytes(model, quantize)).allocate_tensors()


def test_a_model_that_cannot_be_converted_fails_before_its_layers_are_timed():
    x = keras.Input((6, 6, 3))
    y = layers.Flatten()(layers.Conv2D(4, 3)(x))
    model = keras.Model(x, layers.Dense(2)(keras.ops.fft((y, y))[0]))
    with pytest.raises(ExportError, match="TensorFlow cannot convert"):
        LatencyTable.measure(
            model, time=lambda files: pytest.fail("timed"), device="made up", quantize="int8"
        )


def test_a_model_of_several_inputs_is_timed(table):
    image, words = keras.Input((4, 4, 2), name="image"), keras.Input((3,), dtype="int32")
    x = layers.Flatten()(layers.Conv2D(2, 1)(image))
    x = layers.Concatenate()([x, layers.Flatten()(layers.Embedding(5, 2)(words))])
    model = keras.Model([image, words], [layers.Dense(2)(x), layers.Dense(1)(x)])
    interpreter = Interpreter(model_content=tflite_bytes(model, "int8"))
    shapes = [d["shape"].tolist() for d in interpreter.get_input_details()]
    assert sorted(shapes) == [[1, 3], [1, 4, 4, 2]]
    assert len(interpreter.get_output_details()) == 2


def test_print_shows_the_layers_and_the_device(table):
    text = str(table)
    assert text.startswith("\n".join(report.lines(table)))
    assert text.endswith("On made up, 1 thread(s).")


def test_the_report_names_wasted_widths(table):
    text = "\n".join(report.lines(table))
    assert "next step down: 8 (16.0 us)" in text
    assert "first: 9 to 15 channels cost what 16 do" in text
    assert "sum  " in text


def test_nobody_is_advised_to_remove_classes(table, model):
    lines = report.lines(table)
    [row] = [line for line in lines if line.startswith("logits") and "%" in line]
    assert row.endswith("its channels cannot be removed")
    assert not any(line.startswith("logits:") for line in lines)
    fixed = [name for name, row in table.rows.items() if row["fixed"]]
    assert fixed == ["logits"]


@pytest.mark.parametrize("quantize", [None, pytest.param("int8", marks=pytest.mark.slow)])
def test_this_machine_is_measured(quantize):
    x = keras.Input((4, 4, 2))
    model = keras.Model(x, layers.Conv2D(2, 1, name="only")(x))
    table = LatencyTable.measure(model, quantize=quantize)
    assert table.total() > 0
    [whole] = table.models_seconds([model])
    assert whole > 0
    assert np.isfinite(table.rows["only"]["seconds"]).all()


def test_a_layer_that_cannot_be_timed_is_named(model):
    def broken(contents):
        raise ExportError("the phone is gone")

    with pytest.raises(ExportError, match="the phone is gone"):
        LatencyTable.measure(model, time=broken, device="made up")


def test_wrong_command_lines_are_one_line(tmp_path):
    for arguments, message in (([], "give one file"), (["none.keras"], "there is no file")):
        assert message in run_program("export.latency", *arguments)
    assert "must be a .keras or .h5 file, not a folder" in run_program("export.latency", tmp_path)


def test_a_layer_that_reads_several_sizes_counts_them():
    x = keras.Input((8, 8, 4))
    shared = layers.Conv2D(4, 3, padding="same", name="shared")
    y = layers.MaxPooling2D()(x)
    outputs = [layers.GlobalAveragePooling2D()(shared(part)) for part in (y, x, x)]
    model = keras.Model(x, layers.Dense(2, name="logits")(layers.Add()(outputs)))
    found = {layer.name: layer for layer in timed_layers(model)}
    assert (found["shared"].shape, found["shared"].calls) == ((8, 8, 4), 2.25)
    assert (found["logits"].shape, found["logits"].calls) == ((4,), 1)


def with_more(more):
    x = keras.Input((6, 6, 3))
    y = layers.Conv2D(16, 3, padding="same", name="first")(x)
    return keras.Model(x, layers.Dense(5, name="logits")(layers.Flatten()(more(y))))


@pytest.mark.parametrize(
    "more",
    [
        layers.Activation("gelu"),
        layers.PReLU(),
        lambda y: layers.MultiHeadAttention(2, 4)(y, y),
        lambda y: layers.Add()([y, y]),
    ],
)
def test_other_operations_are_another_model(more, tmp_path):
    def times(contents):
        return [1e-9 * len(content) for content in contents]

    path, plain = tmp_path / "table.json", with_more(layers.Activation("relu"))
    arguments = {"path": path, "time": times, "device": "made up"}
    table = LatencyTable.measure(plain, **arguments)
    table.check(with_more(layers.Activation("relu")))
    other = with_more(more)
    with pytest.raises(ValueError, match="it has other operations beside the dense layers"):
        table.check(other)
    again = LatencyTable.measure(other, **arguments)
    again.check(other)
    assert again.total() == pytest.approx(1e-9 * len(tflite_bytes(other, None)))
    assert list(again.rows) == list(table.rows)


@pytest.mark.parametrize("quantize", [None, "int8"])
@pytest.mark.parametrize(
    "more",
    [
        layers.LSTM(4),
        layers.GRU(4, return_sequences=True),
        layers.Bidirectional(layers.LSTM(4)),
        lambda x: keras.ops.argmax(x, axis=-1),
    ],
    ids=["lstm", "gru", "bidirectional", "argmax"],
)
def test_files_for_models_with_loops_and_argmax(quantize, more):
    x = keras.Input((5, 4))
    interpreter = Interpreter(model_content=tflite_bytes(keras.Model(x, more(x)), quantize))
    interpreter.allocate_tensors()
    assert list(interpreter.get_input_details()[0]["shape"]) == [1, 5, 4]


def test_a_table_needs_tensorflow(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="KERAS_BACKEND=tensorflow"):
        LatencyTable.measure(network())
