"""Which dense network a run is compared with."""

import pytest

from apps.training.baseline import dense_values

from .flag_values import parse


@pytest.mark.parametrize(
    ("arguments", "optimizer", "rate", "schedule"),
    [
        (["--init_scale=3", "--learning_rate=2", "--augment"], "adam", None, "cosine"),
        (["--optimizer=rigl", "--learning_rate=0.2", "--schedule=cosine"], "sgd", 0.2, "cosine"),
        (["--optimizer=set", "--inner=adam"], "adam", None, None),
        (["--optimizer=adam", "--l2=1e-3", "--learning_rate=0.01"], "adam", 0.01, None),
    ],
)
def test_the_same_network_dense(arguments, optimizer, rate, schedule):
    values = parse(*arguments, "--seed=3", "--epochs=7")
    dense = dense_values(values)
    assert (dense.optimizer, dense.learning_rate, dense.schedule) == (optimizer, rate, schedule)
    assert (dense.seed, dense.epochs, dense.augment) == (3, 7, values.augment)
    assert dense.l2 == 0
    assert values.optimizer != dense.optimizer or values.l2 > 0  # itself unchanged


@pytest.mark.parametrize("arguments", [["--optimizer=sgd", "--l2=1e-4"], ["--nobaseline"]])
def test_no_baseline(arguments):
    assert dense_values(parse(*arguments)) is None
