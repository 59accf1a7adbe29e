"""Dual averaging by the scale s of the start, and proximal SGD, in ResNet-18 on CIFAR-10."""

from apps.reproduction import sparse
from apps.reproduction.table import Row, Table

# s: accuracy and share of weights left, in percent.
_RDA = {
    **{1: None, 2: None},
    **{3: (85.52, 2.0), 4: (86.72, 3.0), 5: (90.03, 5.0), 10: (90.67, 6.0), 100: (91.41, 16.0)},
    **{1000: (90.36, 37.0), 10_000: (71.80, 66.0), 20_000: (68.06, 1.0)},
}


def _row(method, scale, changes, published):
    return Row(
        labels={"method": method, "s": f"{scale:g}"},
        changes={"init_scale": scale, **changes},
        published=published,
    )


TABLE = Table(
    title="RDA by the scale of the start, and proximal SGD: ResNet-18 on CIFAR-10",
    reference="Make l1 regularization effective in training sparse CNN, arXiv 1807.04222",
    settings={
        **sparse.CIFAR10,
        **{"epochs": 120, "model": "resnet_18", "l1": 1e-6, "learning_rate": 1.0},
    },
    rows=(
        *(
            _row(
                "RDA",
                scale,
                {"optimizer": "rda", "variant": "published"},
                dict(zip(("accuracy", "density"), published or ("dead", ""), strict=True)),
            )
            for scale, published in _RDA.items()
        ),
        _row(
            "prox-SGD",
            100,
            {"optimizer": "prox_sgd", "schedule": "inverse_sqrt"},
            {"accuracy": 89.80},
        ),
    ),
    columns=sparse.ACCURACY_COLUMNS,
    measure=sparse.measure,
    notes="""\
The published variant with γ = 1. Not known of the recipe: λ (here that of the authors' later code)
and the bound of the initialization. Proximal SGD is initialized as the row of RDA with s = 100. At
s = 1 and 2 the paper's networks are dead; 1% of the weights at s = 20,000 is as printed there.""",
)
