"""Dual averaging by the scale s of the initial weights."""

from apps.reproduction import sparse
from apps.reproduction.table import Row, Table

_SCALES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


def _row(center, scale):
    return Row(
        labels={"center": center, "s": f"{scale:g}"},
        changes={"center": center, "init_scale": scale},
    )


TABLE = Table(
    title="RDA by the scale of the initial weights, LeNet-300-100 with batch normalisation, MNIST",
    reference="Make l1 regularization effective in training sparse CNN, arXiv 1807.04222",
    settings={
        **{"dataset": "mnist", "batch_size": 100, "epochs": 30},
        **{"model": "lenet_300_100", "batch_norm": True},
        **{"optimizer": "rda", "variant": "published", "learning_rate": 1.0, "l1": 1e-4},
    },
    rows=tuple(_row(center, scale) for center in ("zero", "initial") for scale in _SCALES),
    columns=sparse.COLUMNS,
    measure=sparse.measure,
    notes="""\
The published variant, γ = 1, λ = 1e-4, every kernel thresholded by weight. Center: of biases and
batch normalisation; zero, the paper's own, thresholds them too. The paper's sweep is ResNet-18 on
CIFAR-10, so only its signature compares: a small s is a dead network, and sparsity falls as s
grows (there s = 3, 10, 100, 1000: sparsity 0.98, 0.94, 0.84, 0.63).""",
)
