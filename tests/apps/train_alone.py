"""A training that is killed. Run by test_train_apart.py."""

import sys

from apps.training import run
from tests.apps.flag_values import SMALL, configured
from tests.killing import AfterSteps, kill

if __name__ == "__main__":
    out, step, *arguments = sys.argv[1:]
    training = run.prepare(configured(f"--out={out}", *SMALL, *arguments))
    training.callbacks.append(AfterSteps(int(step), kill))
    training.run("a command")
