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


def test_files_without_the_samples(tmp_path):
    (tmp_path / "text.npz").write_text("not arrays")
    np.savez(tmp_path / "y.npz", y=np.arange(5))
    np.save(tmp_path / "wide.npy", np.zeros((5, 3)))
    [one] = specs_of([[2]])
    for name, message in [
        ("absent.npz", "cannot be read as arrays: No such file"),
        ("text.npz", "cannot be read as arrays"),
        ("y.npz", r"has no array x0.*Received: y"),
        ("wide.npy", r"`arrays of .*wide\.npy` must have the shapes"),
    ]:
        with pytest.raises(ValueError, match=message):
            read_samples(tmp_path / name, one)


def test_batch_size():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    assert input_specs(model, batch_size=3).shape == (3, 4)
    for size in (0, -1, 2.0, None):
        with pytest.raises(ValueError, match="`batch_size` must be"):
            input_specs(model, batch_size=size)
