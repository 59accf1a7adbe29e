"""The library on JAX: the same numbers as on TensorFlow, and its own tests."""

import os
import subprocess
import sys

import numpy as np
import pytest

from tests.trajectory import OPTIMIZERS

pytestmark = pytest.mark.tensorflow  # this process's own backend
ON_JAX = {**os.environ, "KERAS_BACKEND": "jax"}
# Of about the same length, so that two processes end at the same time.
SUITES = (
    (
        "tests/test_variables.py",
        "tests/test_initializers.py",
        "tests/optimizers/test_rda.py",
    ),
    ("tests/callbacks",),
    (
        "tests/optimizers/test_sparse_momentum.py",
        "tests/channels",
        "tests/surgery/test_removal.py",
    ),
)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    found = []
    for environment in (os.environ, ON_JAX):
        path = tmp_path_factory.mktemp("trajectory") / "weights.npz"
        command = [sys.executable, "-m", "tests.trajectory", str(path)]
        subprocess.run(command, env=environment, check=True, timeout=300)
        found.append(np.load(path))
    return found


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_same_weights_and_zeros_on_both_backends(both, name):
    tensorflow, jax = (found[name] for found in both)
    np.testing.assert_allclose(jax, tensorflow, atol=1e-5)
    assert (tensorflow[-1] == 0).any()
    # A value within rounding of its threshold may fall on either side.
    assert ((jax == 0) != (tensorflow == 0)).mean() < 0.01


@pytest.mark.parametrize("suites", SUITES, ids=["rda", "callbacks", "surgery"])
def test_suite_passes_on_jax(suites):
    options = ["-q", "-n", "0", "-m", "not tensorflow and not slow"]
    command = [sys.executable, "-m", "pytest", *options, *suites]
    done = subprocess.run(
        command, env=ON_JAX, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]


def test_without_tensorflow_nothing_imports_it():
    code = "import sys, keras_sparse, keras_sparse.models; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], env=ON_JAX, check=True, timeout=120)
