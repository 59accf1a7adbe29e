"""Trainings that need a process of their own. Run by test_train_apart.py."""

import sys

import numpy as np

from apps.training import run
from tests.apps.flag_values import SMALL, parse, train_small
from tests.killing import AfterSteps, kill


def killed(out, step, *arguments):
    training = run.prepare(parse(f"--out={out}", *SMALL, *arguments))
    training.callbacks.append(AfterSteps(int(step), kill))
    training.run("a command")


def compared(out, strategy, *arguments):
    """Train on one device and on two, and compare the weights."""
    if strategy == "mirrored":
        import tensorflow as tf

        two = [tf.config.LogicalDeviceConfiguration()] * 2
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, two)
    one = train_small(f"{out}/one", *arguments, "--resume")
    shared = train_small(f"{out}/two", *arguments, f"--strategy={strategy}")
    for a, b in zip(one, shared, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    print("the same weights")


if __name__ == "__main__":
    {"killed": killed, "compared": compared}[sys.argv[1]](*sys.argv[2:])
