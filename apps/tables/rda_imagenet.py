"""Dual averaging on ImageNet: ResNet-18."""

from apps.reproduction import sparse
from apps.reproduction.table import Row, Table
from apps.tables.rda_cifar10 import rda

TABLE = Table(
    title="RDA on ImageNet",
    reference="Make l1 regularization effective in training sparse CNN, arXiv 1807.04222",
    settings={"dataset": "imagenet", "model": "resnet_18", "batch_size": 256, "epochs": 90},
    rows=(
        Row(
            labels={"network": "ResNet-18", "method": "RDA + ASR"},
            changes=rda("RDA + ASR", 10.0),
            published={"accuracy": 64.93, "density": 64.0},
        ),
    ),
    columns=sparse.ACCURACY_COLUMNS,
    measure=sparse.measure,
    notes="""\
Declared and started for a few steps on made images, not run: no ImageNet and no machine for it
here. Dense the network has about 69% in the paper. Not known of its recipe: λ, γ, s, the batch and
the epochs; here those of rda_cifar10, batch 256 and 90 epochs.""",
)
