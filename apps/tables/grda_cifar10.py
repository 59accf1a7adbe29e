"""Directional pruning (gRDA) on CIFAR-10, against SGD at a constant rate."""

from apps.reproduction import sparse
from apps.reproduction.table import Row, Table

# Network: its settings, c, and the accuracies and the share of weights left in percent.
_NETWORKS = {
    "VGG16": ({"model": "vgg16_bn"}, 5e-4, 90.86, 9.5, 90.79),
    "WRN-28-10": ({"model": "wide_resnet", "depth": 28, "width": 10}, 1e-3, 94.50, 2.9, 94.17),
}


def _rows(network, settings, c, accuracy, density, dense_accuracy):
    sparse_row = Row(
        labels={"network": network, "method": "gRDA"},
        changes={**settings, "optimizer": "grda", "c": c, "mu": 0.6},
        published={"accuracy": accuracy, "density": density},
    )
    dense = Row(
        labels={"network": network, "method": "SGD"},
        changes={**settings, "optimizer": "sgd"},
        published={"accuracy": dense_accuracy},
    )
    return sparse_row, dense


TABLE = Table(
    title="gRDA on CIFAR-10",
    reference="Directional pruning of deep neural networks, NeurIPS 2020",
    settings={**sparse.CIFAR10, "epochs": 200, "learning_rate": 0.1},
    rows=tuple(row for network, facts in _NETWORKS.items() for row in _rows(network, *facts)),
    columns=sparse.ACCURACY_COLUMNS,
    measure=sparse.measure,
    notes="""\
Figures from the authors' logs. The number of epochs and the augmentation are ours.""",
)
