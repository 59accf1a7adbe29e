"""Accuracy against what is left of ResNet-8 on CIFAR-10, by method and strength."""

from apps.reproduction import pictures, reduction
from apps.reproduction.table import Table
from keras_sparse import models

_STRENGTHS = {
    reduction.ADAM_L2: (1e-4, 5e-4, 2e-3, 1e-2, 2e-2, 5e-2),
    reduction.GROUP_LASSO: (1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
    reduction.COMBINED: (1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
    reduction.SLIMMING: (1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    reduction.RDA: (1e-4, 2e-4, 5e-4, 1e-3, 2e-3),
    reduction.FILTER_NORM: (0.75, 0.5, 0.25, 0.1, 0.05),
}

TABLE = Table(
    title="Accuracy against what is left, CIFAR-10",
    reference=reduction.REFERENCE,
    settings={
        **{"dataset": "cifar10", "batch_size": 64, "epochs": 100, "schedule": "cosine"},
        "jit_compile": "false",
    },
    rows=reduction.rows("ResNet-8", models.resnet_8, _STRENGTHS),
    columns=reduction.COLUMNS,
    measure=None,
    experiment=reduction.train_and_cut,
    picture=pictures.strengths(
        y="accuracy", x="channels", series="method", panels="network", lowest=20
    ),
    backend="tensorflow",
    notes=reduction.NOTES,
)
