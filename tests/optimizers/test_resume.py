import os
import signal
import subprocess
import sys

import pytest

from .matrix import MASKED, STEPS_PER_EPOCH, check_masks, same_bits
from .train_and_die import EPOCHS, train


@pytest.mark.parametrize(
    ("name", "way"),
    [("SparseMomentum", "keras"), ("RigL", "backup"), ("target", "keras"), ("published", "backup")],
)
def test_killed_and_resumed_is_never_killed(name, way, tmp_path):
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    result = subprocess.run(
        [sys.executable, "-m", "tests.optimizers.train_and_die", name, str(tmp_path), way],
        cwd=root,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == -signal.SIGKILL, result.stderr[-3000:]
    assert any(tmp_path.iterdir())
    resumed = train(name, str(tmp_path), way)
    whole = train(name)
    assert int(resumed.optimizer.iterations) == EPOCHS * STEPS_PER_EPOCH
    if name in MASKED:
        check_masks(resumed)
    same_bits(resumed.weights, whole.weights)
    same_bits(resumed.optimizer.variables, whole.optimizer.variables)
