import os
import signal
import subprocess
import sys

import pytest

from tests.killing import AfterSteps

from .matrix import MASKED, STEPS_PER_EPOCH, check_masks, same_bits
from .train_and_die import EPOCHS, STEPS, train


def killed(name, folder, way):
    """A process that ends in the middle of an epoch."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    result = subprocess.run(
        [sys.executable, "-m", "tests.optimizers.train_and_die", name, folder, way],
        cwd=root,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == -signal.SIGKILL, result.stderr[-3000:]


def failed(name, folder, way):
    """A training that fails in the middle of an epoch, which leaves the same files."""

    def fail():
        raise RuntimeError("failed")

    with pytest.raises(RuntimeError, match="failed"):
        train(name, folder, way, [AfterSteps(STEPS, fail)])


@pytest.mark.parametrize(
    ("name", "way", "end"),
    [
        ("SparseMomentum", "keras", failed),
        pytest.param(
            "SparseMomentum", "keras", killed, marks=[pytest.mark.integration, pytest.mark.slow]
        ),
        ("target", "backup", failed),
        pytest.param("RigL", "backup", failed, marks=pytest.mark.slow),
        pytest.param("published", "backup", killed, marks=pytest.mark.slow),
    ],
)
def test_ended_and_resumed_is_never_ended(name, way, end, tmp_path):
    end(name, str(tmp_path), way)
    assert any(tmp_path.iterdir())
    resumed = train(name, str(tmp_path), way)
    whole = train(name)
    assert int(resumed.optimizer.iterations) == EPOCHS * STEPS_PER_EPOCH
    if name in MASKED:
        check_masks(resumed)
    same_bits(resumed.weights, whole.weights)
    same_bits(resumed.optimizer.variables, whole.optimizer.variables)
