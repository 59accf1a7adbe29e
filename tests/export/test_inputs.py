import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.inputs import check_samples, draw_samples, input_specs, read_samples

SHAPES = st.lists(st.lists(st.integers(1, 4), max_size=3), min_size=1, max_size=4)


def specs_of(shapes):
    return [
        keras.InputSpec(shape=(1, *shape), dtype="float32", name=f"x{i}")
        for i, shape in enumerate(shapes)
    ]


@settings(deadline=None)
@given(shapes=SHAPES, count=st.integers(1, 5))
def test_samples_of_the_inputs_shapes_pass_unchanged(shapes, count):
    rng = np.random.default_rng(0)
    samples = [rng.normal(size=(count, *shape)).astype("float32") for shape in shapes]
    checked = check_samples(samples, specs_of(shapes))
    assert all(map(np.array_equal, checked, samples))
    assert len(checked) == len(samples)


@settings(deadline=None)
@given(shapes=SHAPES, data=st.data())
def test_any_other_shape_is_refused(shapes, data):
    samples = [np.zeros((2, *shape)) for shape in shapes]
    index = data.draw(st.integers(0, len(shapes) - 1))
    samples[index] = samples[index][..., np.newaxis]
    with pytest.raises(ValueError, match="`samples`"):
        check_samples(samples, specs_of(shapes))
    with pytest.raises(ValueError, match="`samples`"):
        check_samples(samples[:-1], specs_of(shapes))


def test_another_number_of_samples_per_input_is_refused():
    with pytest.raises(ValueError, match="same n >= 1"):
        check_samples([np.zeros((2, 3)), np.zeros((3, 4))], specs_of([[3], [4]]))


def test_specs_keep_the_nesting_and_have_batch_one():
    left, right = keras.Input((4,), name="left"), keras.Input((2, 3), dtype="int32", name="_right")
    specs = input_specs(keras.Model({"b": left, "a": [right]}, left))
    assert specs["b"].shape == (1, 4)
    assert (specs["b"].name, specs["b"].dtype) == ("left", "float32")
    [spec] = specs["a"]
    assert (spec.shape, spec.name, spec.dtype) == ((1, 2, 3), "input_0", "int32")


def test_drawn_samples_are_the_same_every_time_and_fit():
    specs = [
        keras.InputSpec(shape=(1, 50), dtype="float32", name="x"),
        keras.InputSpec(shape=(1, 50), dtype="int32", name="y"),
    ]
    floats, integers = draw_samples(specs)
    assert np.array_equal(draw_samples(specs)[0], floats)
    assert floats.shape == integers.shape == (8, 50)
    assert 0.8 < floats.std() < 1.2
    assert set(np.unique(integers)) == {0, 1}
    assert np.array_equal(check_samples([floats, integers], specs)[1], integers)


def test_samples_from_files(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(5, 2)), np.arange(5)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "xy.npz", x=x, y=y[:, None])
    np.savez(tmp_path / "named.npz", x0=x, x1=x[:, :1])
    [one] = specs_of([[2]])
    samples, labels = read_samples(tmp_path / "x.npy", one)
    assert np.array_equal(samples, x)
    assert labels is None
    samples, labels = read_samples(tmp_path / "xy.npz", one)
    assert np.array_equal(samples, x)
    assert np.array_equal(labels, y)
    samples, _ = read_samples(tmp_path / "named.npz", specs_of([[2], [1]]))
    assert np.array_equal(samples[1], x[:, :1])


def test_a_file_with_a_part_to_train_on(tmp_path):
    x, y, other = np.ones((5, 2)), np.arange(5), np.zeros((7, 2))
    np.savez(tmp_path / "d.npz", x_train=x, y_train=y[:, None], x_test=other, y_test=np.zeros(7))
    [one] = specs_of([[2]])
    samples, labels = read_samples(tmp_path / "d.npz", one)
    assert np.array_equal(samples, x)
    assert np.array_equal(labels, y)
    np.savez(tmp_path / "two.npz", x_train_x0=x, x_train_x1=x[:, :1], y_train=y, x_test_x0=other)
    samples, labels = read_samples(tmp_path / "two.npz", specs_of([[2], [1]]))
    assert [array.shape for array in samples] == [(5, 2), (5, 1)]
    assert np.array_equal(labels, y)
    # Outputs that are called as the inputs are, and inputs as the labels.
    np.savez(tmp_path / "same.npz", x_train_x0=x, x_train_x1=x[:, :1], y_train_x0=-x, y_train_x1=y)
    samples, labels = read_samples(tmp_path / "same.npz", specs_of([[2], [1]]))
    assert np.array_equal(samples[0], x)
    assert labels is None
    specs = specs_of([[2], [1]])
    specs[1].name = "y"
    np.savez(tmp_path / "input_y.npz", x_train_x0=x, x_train_y=x[:, :1], y_train=y)
    samples, labels = read_samples(tmp_path / "input_y.npz", specs)
    assert np.array_equal(samples[1], x[:, :1])
    assert labels is None
    # The form for a few held-out samples, without parts.
    np.savez(tmp_path / "whole.npz", x_x0=x, x_x1=x[:, :1], y=y, y_kind=y)
    samples, labels = read_samples(tmp_path / "whole.npz", specs_of([[2], [1]]))
    assert [array.shape for array in samples] == [(5, 2), (5, 1)]
    assert np.array_equal(labels, y)
    # An input that is called as a part is.
    one.name = "x_train"
    np.savez(tmp_path / "named.npz", x_train=x, y=y)
    samples, labels = read_samples(tmp_path / "named.npz", one)
    assert np.array_equal(samples, x)
    assert np.array_equal(labels, y)


def test_files_without_the_samples(tmp_path):
    (tmp_path / "text.npz").write_text("not arrays")
    np.savez(tmp_path / "y.npz", y=np.arange(5))
    np.save(tmp_path / "wide.npy", np.zeros((5, 3)))
    [one] = specs_of([[2]])
    for name, message in [
        ("absent.npz", "cannot be read as arrays: No such file"),
        ("text.npz", "cannot be read as arrays"),
        ("y.npz", r"has no array x with samples for the model's input, or x0\. Received: y"),
        ("wide.npy", r"`arrays of .*wide\.npy` must have the shapes"),
    ]:
        with pytest.raises(ValueError, match=message):
            read_samples(tmp_path / name, one)


def test_files_are_read_by_name(tmp_path):
    specs = specs_of([[2], [1]])
    arrays = {"x0": np.ones((5, 2)), "x1": np.zeros((5, 1))}
    np.savez(tmp_path / "typo.npz", label=np.arange(5), **arrays)
    with pytest.raises(ValueError, match="has an unknown array label"):
        read_samples(tmp_path / "typo.npz", specs)
    # An input that is called as the labels are.
    specs[1].name = "y"
    np.savez(tmp_path / "y.npz", x0=arrays["x0"], y=arrays["x1"])
    samples, labels = read_samples(tmp_path / "y.npz", specs)
    assert samples[1].shape == (5, 1)
    assert labels is None


def named(names, nest=list):
    """Specs of a model whose inputs take 1, 2, ... numbers."""
    inputs = [keras.Input((i + 1,), name=name) for i, name in enumerate(names)]
    outputs = keras.layers.Concatenate()(inputs)
    return input_specs(keras.Model(nest(inputs), outputs))


def ones(*widths):
    return [np.full((3, width), float(width)) for width in widths]


def widths(checked):
    return [array.shape[1] for array in checked]


def test_a_dict_for_a_list_goes_by_name():
    specs = named(["zeta", "alpha"])
    one, two = ones(1, 2)
    for samples in ({"zeta": one, "alpha": two}, {"alpha": two, "zeta": one}, (one, two)):
        assert widths(check_samples(samples, specs)) == [1, 2]
    # Of equal shapes only the names can tell.
    inputs = [keras.Input((1,), name=name) for name in ("zeta", "alpha")]
    specs = input_specs(keras.Model(inputs, keras.layers.Add()(inputs)))
    first, second = check_samples({"alpha": 2 * one, "zeta": one}, specs)
    assert (first == one).all()
    assert (second == 2 * one).all()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["zeta"], "has no array alpha.*Received: zeta"),
        (["zeta", "alpa"], "has no array alpha"),
        (["zeta", "alpha", "beta"], "has an unknown array beta"),
        ([], "has no array zeta, alpha.*Received: no arrays"),
    ],
)
def test_names_that_are_missing_or_unknown(names, message):
    one, two = ones(1, 2)
    with pytest.raises(ValueError, match=f"`representative` {message}"):
        check_samples(
            {name: two if "alpha" in name else one for name in names},
            named(["zeta", "alpha"]),
            "representative",
        )


def test_names_of_other_models():
    one, two = ones(1, 2)
    # Keys come before names, in whatever order the dict was made.
    left, right = keras.Input((1,), name="b"), keras.Input((2,), name="a")
    specs = input_specs(keras.Model({"z": left, "a": right}, left))
    assert widths(check_samples({"z": one, "a": two}, specs)) == [2, 1]
    assert widths(check_samples({"b": one, "a": two}, specs)) == [2, 1]
    specs = input_specs(keras.Model({"z": left, "a": [right]}, left))
    for samples in ({"z": one, "a": [two]}, {"b": one, "a": two}):
        assert widths(check_samples(samples, specs)) == [2, 1]
    # A Sequential model, a model of a list of one, names that Keras made up.
    model = keras.Sequential([keras.Input((1,), name="image"), keras.layers.Dense(1)])
    assert widths(check_samples({"image": one}, input_specs(model))) == [1]
    with pytest.raises(ValueError, match="has no array image"):
        check_samples({"picture": one}, input_specs(model))
    inputs = keras.Input((1,))
    specs = input_specs(keras.Model([inputs], inputs))
    for samples in (one, [one], *({name: one} for name in (inputs.name, "input_0"))):
        assert widths(check_samples(samples, specs)) == [1]


@pytest.mark.parametrize(
    ("dtype", "samples", "message"),
    [
        ("float32", [[0.0, np.nan]], r"input 'x' must be finite.*in 1 of 1 samples, first in sam"),
        ("float32", [[0, 0], [0, -np.inf]], "first in sample 1"),
        ("float32", [[1e300, 0]], "must hold numbers that float32 can hold.*1e\\+300"),
        ("float16", np.float32([[1e5, 0]]), "that float16 can hold"),
        ("bfloat16", [[1e39, 0]], "that bfloat16 can hold"),
        ("float32", [[1j, 0]], "real numbers. A cast would lose their imaginary part"),
        ("float32", [["a", "b"]], "must hold real numbers"),
        ("float32", [[None, 1]], "must hold real numbers"),
        ("uint8", [[0, 256]], "must hold whole numbers that uint8 can hold. Received: int64 from"),
        ("int32", [[0.5, 1]], "must hold whole numbers"),
        ("int32", [[2**40, 1]], "must hold whole numbers"),
        ("int32", [[np.nan, 1]], "must be finite"),
        ("bool", [[2, 1]], "must hold whole numbers that bool"),
    ],
)
def test_numbers_that_an_input_cannot_take(dtype, samples, message):
    spec = keras.InputSpec(shape=(1, 2), dtype=dtype, name="x")
    with pytest.raises(ValueError, match=message):
        check_samples(samples, spec)


def test_numbers_that_an_input_takes():
    for dtype, samples in [
        ("float32", np.float16([[1, 2]])),
        ("float32", np.uint8([[1, 255]])),
        ("int32", [[1.0, -2.0]]),
        ("bool", [[0, 1]]),
        ("float16", np.float64([[0.1, 6e4]])),
    ]:
        spec = keras.InputSpec(shape=(1, 2), dtype=dtype, name="x")
        [checked] = check_samples(samples, spec)
        assert checked.dtype == dtype
        np.testing.assert_allclose(checked.astype("float64"), samples, rtol=1e-3)


class Batched(keras.utils.PyDataset):
    def __init__(self, x, endless=False):
        super().__init__()
        self.x, self.endless = x, endless

    def __len__(self):
        return 3

    @property
    def num_batches(self):
        return None if self.endless else 3

    def __getitem__(self, index):
        return self.x[2 * index % 6 :][:2], np.zeros(2)


X = np.random.default_rng(0).normal(size=(6, 4, 1)).astype("float32")


def generator(x=X):
    for each in x:
        yield [each[np.newaxis]]


FORMS = {
    "array": lambda tf: X,
    "function": lambda tf: lambda: X,
    "generator function": lambda tf: generator,
    "generator": lambda tf: generator(),
    "generator of single samples": lambda tf: iter(X),
    "generator of dicts": lambda tf: ({"image": each[np.newaxis]} for each in X),
    "generator of x and y": lambda tf: ((each, each + 1) for each in X),
    "dataset": lambda tf: tf.data.Dataset.from_tensor_slices(X),
    "batches": lambda tf: tf.data.Dataset.from_tensor_slices(X).batch(4),
    "labelled": lambda tf: tf.data.Dataset.from_tensor_slices((X, np.arange(6))),
    "labelled batches": lambda tf: tf.data.Dataset.from_tensor_slices((X, np.arange(6))).batch(4),
    "list of one array": lambda tf: [X],
    "list of samples": lambda tf: list(X),
    "list of batches": lambda tf: [X[:4], X[4:]],
    "list of lists": lambda tf: [[each[np.newaxis]] for each in X],
    "list of pairs": lambda tf: [[X[:2], np.zeros(2)], [X[2:], np.zeros(4)]],
    "tensor": lambda tf: tf.constant(X),
    "PyDataset": lambda tf: Batched(X),
}


@pytest.mark.parametrize("form", FORMS)
def test_samples_in_the_forms_that_people_have(form):
    import tensorflow as tf

    spec = keras.InputSpec(shape=(1, 4, 1), dtype="float32", name="image")
    [checked] = check_samples(FORMS[form](tf), spec)
    assert np.array_equal(checked, X)


def test_streams_for_several_inputs():
    specs = named(["zeta", "alpha"])
    one, two = ones(1, 2)
    for stream in (
        lambda: ([a, b] for a, b in zip(one, two, strict=True)),
        lambda: ((a[None], b[None]) for a, b in zip(one, two, strict=True)),
        lambda: (((a, b), 1) for a, b in zip(one, two, strict=True)),
        lambda: ({"alpha": b, "zeta": a} for a, b in zip(one, two, strict=True)),
        [[one, two]],
        [{"alpha": two, "zeta": one}],
    ):
        checked = check_samples(stream, specs)
        assert all(map(np.array_equal, checked, [one, two]))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (iter([]), "`samples` gave no samples. A generator gives them once"),
        (lambda: iter([]), "gave no samples"),
        (iter([np.zeros((2, 4))]), r"must have the shapes .*\(n, 4, 1\).*Received: \(2, 4\)"),
        (lambda: "text", "must have the shapes"),
        ([], "must have the shapes"),
        ([X, np.zeros(3)], "must have the shapes"),
        (Batched(X, endless=True), "gave 11 samples and did not end. Give fewer: dataset.take"),
    ],
)
def test_streams_that_are_refused(samples, message, monkeypatch):
    monkeypatch.setattr("export.samples._MOST_SAMPLES", 10)
    spec = keras.InputSpec(shape=(1, 4, 1), dtype="float32", name="image")
    with pytest.raises(ValueError, match=message.replace("11", "12")):
        check_samples(samples, spec)


def open_model():
    image = keras.Input((None, None, 3), name="image")
    vector = keras.Input((2,), name="vector")
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    return keras.Model([image, vector], keras.layers.Concatenate()([pooled, vector]))


@pytest.mark.parametrize(
    ("input_shape", "shape"),
    [
        ({"image": (5, 6, 3)}, (2, 5, 6, 3)),
        ([(5, None, 3), (2,)], (2, 5, None, 3)),
        ([(5, 6, 3), None], (2, 5, 6, 3)),
        ({"image": [None, None, 3], "vector": (2,)}, (2, None, None, 3)),
    ],
)
def test_sizes_of_open_inputs(input_shape, shape):
    image, vector = input_specs(open_model(), 2, input_shape)
    assert (image.shape, vector.shape) == (shape, (2, 2))


@pytest.mark.parametrize(
    ("input_shape", "message"),
    [
        (None, r"unknown dimension: 'image'.*input_shape=\(32, 32, 3\)"),
        ((5, 6, 3), "a shape for each of the 2 inputs"),
        ([(5, 6, 3)], "a shape for each of the 2 inputs"),
        ("5,6,3", "a shape for each of the 2 inputs"),
        ({"picture": (5, 6, 3)}, "names picture; the inputs of the model are image, vector"),
        ({"vector": (2,)}, "unknown dimension: 'image'"),
        ({"image": (5, 6, 4)}, r"must fit the shape \(None, None, 3\) of the input 'image'"),
        ({"image": (1, 5, 6, 3)}, "without the batch"),
        ({"image": (0, 6, 3)}, "1 or more"),
        ({"image": (True, 6, 3)}, "1 or more"),
        ({"image": (5.0, 6, 3)}, "1 or more"),
        ({"image": 5}, "must fit"),
    ],
)
def test_sizes_that_are_refused(input_shape, message):
    with pytest.raises(ValueError, match=message):
        input_specs(open_model(), 2, input_shape)


def test_text_is_refused():
    inputs = keras.Input((), dtype="string", name="words")
    with pytest.raises(ValueError, match="takes text in its input 'words'"):
        input_specs(keras.Model(inputs, inputs))


def test_batch_size():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    assert input_specs(model, batch_size=3).shape == (3, 4)
    for size in (0, -1, 2.0, None):
        with pytest.raises(ValueError, match="`batch_size` must be"):
            input_specs(model, batch_size=size)
