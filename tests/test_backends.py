"""The library on JAX: the same numbers as on TensorFlow. Its tests run there by themselves."""

import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from tests.data import pictures
from tests.trajectory import OPTIMIZERS, trajectories

pytestmark = pytest.mark.tensorflow  # this process's own backend
ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def on_jax(tmp_path_factory):
    """The folder that a process under JAX has written."""
    folder = tmp_path_factory.mktemp("backends")
    pictures.write(folder / "pictures")
    subprocess.run(
        [sys.executable, "-m", "tests.trajectory", str(folder)],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        check=True,
        timeout=300,
    )
    return folder


@pytest.fixture(scope="module")
def both(on_jax):
    return trajectories(), np.load(on_jax / "weights.npz")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_same_weights_and_zeros_on_both_backends(both, name):
    tensorflow, jax = (found[name] for found in both)
    np.testing.assert_allclose(jax, tensorflow, atol=1e-5)
    assert (tensorflow[-1] == 0).any()
    # A value within rounding of its threshold may fall on either side.
    assert ((jax == 0) != (tensorflow == 0)).mean() < 0.01


def test_pipelines_give_the_same_bits_on_both_backends(on_jax):
    facts = json.loads((on_jax / "facts.json").read_text())
    assert facts["digests"] == pictures.digests(on_jax / "pictures")


def test_without_tensorflow_nothing_imports_it(on_jax):
    assert not json.loads((on_jax / "facts.json").read_text())["imports_tensorflow"]


@pytest.mark.parametrize("file", ["on_jax.txt", "on_jax_nightly.txt", "on_torch.txt"])
def test_what_runs_on_another_backend_is_there(file):
    """A name that is gone would leave tests out of that run without a word."""
    for line in (ROOT / "tests" / file).read_text().split():
        path, _, test = line.removeprefix("--deselect=").partition("::")
        name = test.partition("[")[0]
        assert not name or re.search(rf"(def|class) {name}\b", (ROOT / path).read_text()), line
