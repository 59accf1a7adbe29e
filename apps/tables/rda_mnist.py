"""Dual averaging on MNIST: ResNet-18."""

from apps.reproduction import sparse
from apps.reproduction.table import Row, Table
from apps.tables.rda_cifar10 import rda

TABLE = Table(
    title="RDA on MNIST: ResNet-18",
    reference="Make l1 regularization effective in training sparse CNN, arXiv 1807.04222",
    settings={"dataset": "mnist", "model": "resnet_18", "batch_size": 128, "epochs": 300},
    rows=(
        Row(
            labels={"network": "ResNet-18", "method": "RDA + ASR"},
            changes=rda("RDA + ASR", 10.0),
            published={"accuracy": 99.63},
        ),
    ),
    columns=sparse.ACCURACY_COLUMNS,
    measure=sparse.measure,
    notes="""\
Declared, not run. The sparsity of the paper is lost; not known of its recipe: λ, γ, s
and the epochs, here those of rda_cifar10.""",
)
