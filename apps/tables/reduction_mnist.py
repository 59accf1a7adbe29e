"""Accuracy against what is left of two networks on MNIST, by method and strength."""

from apps.reproduction import implicit, pictures, reduction
from apps.reproduction.table import Table

_FILTER_NORM = {reduction.FILTER_NORM: (0.5, 0.2, 0.1, 0.05, 0.02)}
_DENSE = {
    reduction.ADAM_L2: (5e-4, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2),
    reduction.GROUP_LASSO: (1e-5, 3e-5, 1e-4, 3e-4, 1e-3),
    reduction.COMBINED: (3e-6, 1e-5, 3e-5, 1e-4, 3e-4),
    reduction.SLIMMING: (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    reduction.RDA: (5e-5, 1e-4, 2e-4, 4e-4, 8e-4),
    **_FILTER_NORM,
}
_CONVOLUTIONAL = {
    reduction.ADAM_L2: (2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1),
    reduction.GROUP_LASSO: (1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
    reduction.COMBINED: (3e-5, 1e-4, 3e-4, 1e-3, 3e-3),
    reduction.SLIMMING: (1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    reduction.RDA: (2e-4, 5e-4, 1e-3, 2e-3, 5e-3),
    **_FILTER_NORM,
}

TABLE = Table(
    title="Accuracy against what is left, MNIST",
    reference=reduction.REFERENCE,
    settings={**implicit.MNIST, "batch_size": 32, "epochs": 16, "schedule": "cosine"},
    rows=(
        *reduction.rows("dense", implicit.dense_network("relu"), _DENSE),
        *reduction.rows("convolutional", implicit.convolutional_network("relu"), _CONVOLUTIONAL),
    ),
    columns=reduction.COLUMNS,
    measure=None,
    experiment=reduction.train_and_cut,
    picture=pictures.strengths(
        y="accuracy", x="channels", series="method", panels="network", lowest=90
    ),
    backend="tensorflow",
    notes=reduction.NOTES,
)
