"""Dual averaging by the scale s of the initial weights in ResNet-18, on CIFAR-100."""

from apps.reproduction import sparse
from apps.reproduction.table import Row, Table

# s: accuracy and share of weights left, in percent.
_RDA = {
    1: (63.67, 9.0),
    2: (66.90, 40.0),
    5: (65.47, 40.0),
    10: (65.54, 58.0),
    15: (64.22, 57.0),
    25: (63.06, 50.0),
    30: (62.75, 58.0),
    50: (64.48, 62.0),
    100: (60.00, 64.0),
}

TABLE = Table(
    title="RDA by the scale of the initial weights: ResNet-18 on CIFAR-100",
    reference="Make l1 regularization effective in training sparse CNN, arXiv 1807.04222",
    settings={
        **{**sparse.CIFAR10, "dataset": "cifar100", "epochs": 120, "model": "resnet_18"},
        **{"optimizer": "rda", "variant": "published", "l1": 1e-6, "learning_rate": 1.0},
    },
    rows=tuple(
        Row(
            labels={"s": f"{scale:g}"},
            changes={"init_scale": scale},
            published={"accuracy": accuracy, "density": density},
        )
        for scale, (accuracy, density) in _RDA.items()
    ),
    columns=sparse.ACCURACY_COLUMNS,
    measure=sparse.measure,
    notes="""\
Declared, not run. The paper does not name the data set: by its accuracies it is
CIFAR-100. The published variant with γ = 1; not known of the recipe: λ, γ and the bound of the
initialization.""",
)
