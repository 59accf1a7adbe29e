"""Which dense network a run is compared with."""

import pytest

from apps.training.baseline import dense_config

from .flag_values import configured


@pytest.mark.parametrize(
    ("arguments", "optimizer", "rate", "schedule"),
    [
        (["--init_scale=3", "--learning_rate=2"], "adam", 1e-3, "cosine"),
        (["--optimizer=rigl", "--learning_rate=0.2", "--schedule=cosine"], "sgd", 0.2, "cosine"),
        (["--optimizer=set"], "adam", 3e-3, "constant"),
        (["--optimizer=set", "--inner=sgd", "--momentum=0.5"], "sgd", 0.03, "constant"),
        (["--optimizer=adam", "--l2=1e-3", "--learning_rate=0.01"], "adam", 0.01, "constant"),
    ],
)
def test_the_same_network_dense(arguments, optimizer, rate, schedule):
    config = configured(*arguments, "--seed=3", "--epochs=7", "--dataset=cifar10", "--augment")
    dense = dense_config(config)
    assert (dense.optimizer.flag, dense.rate.schedule) == (optimizer, schedule)
    assert dense.optimizer.learning_rate == rate
    assert dense.training.seed == 3
    assert dense.training.epochs == 7
    assert dense.data == config.data
    assert dense.network.l2 == 0
    assert dense.network.init_scale == 0
    if optimizer == "sgd":
        assert dense.optimizer.momentum == config.optimizer.momentum
        assert dense.optimizer.nesterov


def test_stages_stay_those_of_the_optimizer_inside():
    stages = ("--schedule=staged", "--stages=0.1,0.01", "--stage_starts=0.5")
    dense = dense_config(configured("--optimizer=rigl", *stages))
    assert dense.optimizer.flag == "sgd"
    assert dense.rate.stages == (0.1, 0.01)


@pytest.mark.parametrize("arguments", [["--optimizer=sgd", "--l2=1e-4"], ["--nobaseline"]])
def test_no_baseline(arguments):
    assert dense_config(configured(*arguments)) is None
