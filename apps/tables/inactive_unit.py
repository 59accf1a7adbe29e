"""What happens to the weights of a unit that is almost never active, under each optimizer."""

import keras
import numpy as np

from apps.reproduction import pictures
from apps.reproduction.table import Column, Row, Table
from apps.training import loop

_WEIGHTS = 100
_STEPS_PER_EPOCH = 1000
# The papers' λ, which is 2c for Keras' regularizer c·Σw².
_L2_GRADIENT = 1e-3
# Share of steps in which the data activate the initial unit, and size of their gradient.
_ACTIVE = 0.01
_DATA_GRADIENT = 1e-5
_OPTIMIZERS = {
    "SGD": {"optimizer": "sgd", "learning_rate": 0.1},
    "momentum SGD": {"optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.9},
    "Adam": {"optimizer": "adam"},
    "RMSprop": {"optimizer": "rmsprop"},
    "AdamW": {"optimizer": "adamw", "weight_decay": _L2_GRADIENT},
}


class UnitRow(Row):
    """A row that trains no network."""

    @property
    def is_training(self):
        return False


def trajectory(table, row, config, task, folder, on_epoch):
    """Follow the norm of a unit's weights under a real optimizer, 1000 steps an epoch.

    A step's gradient is λw, as from an L2 regularizer (AdamW decays instead), plus occasionally a
    small random gradient for the data. It becomes rarer as the weights become smaller, because a
    negative bias keeps the unit inactive. The arguments are those of `training.train`.
    """
    settings = config.training
    rng = np.random.default_rng(settings.seed)
    weights = keras.Variable(rng.normal(0, 0.05, _WEIGHTS).astype("float32"))
    optimizer = loop.optimizer(config, loop.Run(settings.seed, settings.epochs, _STEPS_PER_EPOCH))
    optimizer.build([weights])
    decay = _L2_GRADIENT if optimizer.weight_decay is None else 0.0
    values = keras.ops.convert_to_numpy(weights)
    start = np.linalg.norm(values)
    norms = [1.0]
    for _ in range(settings.epochs):
        for _ in range(_STEPS_PER_EPOCH):
            gradient = decay * values
            if rng.random() < _ACTIVE * norms[-1]:
                gradient = gradient + rng.normal(0, _DATA_GRADIENT, _WEIGHTS)
            optimizer.apply([keras.ops.convert_to_tensor(gradient, "float32")], [weights])
            values = keras.ops.convert_to_numpy(weights)
            # Squares of such small weights are zero in float32.
            norms.append(float(np.linalg.norm(values.astype("float64")) / start))
        on_epoch()
    return {"norm": norms[-1], "norms": norms}, None


TABLE = Table(
    title="The weights of one inactive unit",
    reference="arXiv 1812.08119, section 3; arXiv 1811.12495, section 4",
    settings={"epochs": 4},
    rows=tuple(UnitRow({"optimizer": name}, changes) for name, changes in _OPTIMIZERS.items()),
    columns={"norm": Column("2-norm at the end, share of the initial one", ".1e")},
    measure=None,
    has_data=False,
    experiment=trajectory,
    picture=pictures.curves("norms", x="step", y="2-norm of the weights, share of the initial one"),
    notes=f"""\
A unit of {_WEIGHTS} weights whose gradient is λw, λ = {_L2_GRADIENT}, and in at most one step of a
hundred a small random one for the data. AdamW has the same λ as its decoupled decay. Rates: 0.1
for SGD, with and without momentum 0.9, and 0.001 for the others. {_STEPS_PER_EPOCH} steps an
epoch.""",
)
