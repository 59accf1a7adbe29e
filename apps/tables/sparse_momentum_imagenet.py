"""Sparse momentum and its baselines on ImageNet: ResNet-50 at 10 and 20% of the weights."""

from apps.reproduction import sparse
from apps.reproduction.table import Row, Table

_DENSITIES = (0.1, 0.2)
# Settings by method, and top-1 in percent at each density.
_METHODS = {
    "static": ({"optimizer": "static", "distribution": "uniform"}, (67.8, 71.6)),
    "thin dense": ({"optimizer": "sgd"}, (70.7, 72.4)),
    "Deep-R": ({"optimizer": "deep_r", "update_every": 100}, (70.2, 71.7)),
    "gradual pruning": (
        {"optimizer": "magnitude_pruning", "prune_from": 0.1, "prune_until": 0.75},
        (70.3, 73.2),
    ),
    "SET": ({"optimizer": "set", "prune_rate": 0.3, "update_every": "epoch"}, (70.4, 72.6)),
    "DSR": ({"optimizer": "dsr", "update_every": 1000}, (71.6, 73.3)),
    "sparse momentum": (sparse.sparse_momentum(0.1), (73.1, 74.9)),
}


def _row(method, density, changes, accuracy):
    return Row(
        labels={"method": method, "weights": f"{100 * density:g}%"},
        changes=changes,
        published={"accuracy": accuracy},
    )


def _sparse(method, settings, density, accuracy):
    if method == "thin dense":
        # The number of weights grows with the square of the width.
        own = {"width": round(density**0.5, 3)}
    elif method == "gradual pruning":
        own = {"target_sparsity": 1 - density}
    else:
        own = {"density": density}
    return _row(method, density, {**settings, **own}, accuracy)


TABLE = Table(
    title="Sparse momentum and its baselines: ResNet-50 on ImageNet",
    reference="Sparse networks from scratch, arXiv 1907.04840, ImageNet",
    settings={
        **{"dataset": "imagenet", "model": "resnet_50", "batch_size": 256, "epochs": 100},
        # A weight decay of 1e-4 in the gradient; Keras' L2(c) adds 2cw.
        **{"momentum": 0.9, "nesterov": False, "l2": 5e-5},
        **sparse.staged(0.1, every=30, of=100),
    },
    rows=(
        _row("dense", 1.0, {"optimizer": "sgd"}, 79.3),
        *(
            _sparse(method, settings, density, accuracy)
            for method, (settings, published) in _METHODS.items()
            for density, accuracy in zip(_DENSITIES, published, strict=True)
        ),
    ),
    columns=sparse.ACCURACY_COLUMNS,
    measure=sparse.measure,
    notes="""\
Declared, not run: no ImageNet and no machine for it
here. The paper's recipe: batch 256, 224 pixels, momentum 0.9, weight decay 1e-4, 100 epochs; when
its rate falls is not known, here at 30, 60 and 90 epochs. What the paper calls compressed sparse is
gradual pruning by magnitude, and dynamic sparse is DSR. The settings of the baselines are not
known: those here are ours. Thin dense has the width at which as many weights are left. Published
top-5 at 10%, then 20%, dense 94.8: static 88.4, 90.4; thin dense 89.9, 90.9; Deep-R 90.0, 90.6;
gradual pruning 90.0, 91.5; SET 90.1, 91.2; DSR 90.5, 92.4; sparse momentum 91.5, 92.5.""",
)
