"""RigL and gradual pruning on CIFAR-10: WRN-22-2 by the share of weights."""

from apps.reproduction import sparse
from apps.reproduction.table import Row, Table

_RIGL = {0.2: 93.6, 0.1: 92.9, 0.05: 91.8}
_PRUNED = {0.05: 92.3}


def _row(method, density, accuracy, changes):
    return Row(
        labels={"method": method, "weights": f"{100 * density:g}%"},
        changes=changes,
        published={"accuracy": accuracy},
    )


def _rigl(density):
    return {
        **{"optimizer": "rigl", "density": density, "distribution": "erk", "update_every": 100},
        **{"prune_rate": 0.3, "prune_schedule": "cosine", "prune_until": 0.75},
    }


def _pruned(density):
    return {
        **{"optimizer": "magnitude_pruning", "target_sparsity": 1 - density, "update_every": 100},
        **{"prune_from": 0.1, "prune_until": 0.75},
    }


TABLE = Table(
    title="RigL and gradual pruning on CIFAR-10: WRN-22-2 by the share of weights",
    reference="Rigging the lottery, arXiv 1911.11134, CIFAR-10",
    settings={
        **sparse.CIFAR10,
        **{"epochs": 250, "model": "wide_resnet", "depth": 22, "width": 2, "l2": sparse.L2},
        **{"learning_rate": 0.1, "schedule": "step", "step_every": 30_000, "step_factor": 0.2},
    },
    rows=(
        *(_row("RigL", density, figure, _rigl(density)) for density, figure in _RIGL.items()),
        *(
            _row("gradual pruning", density, figure, _pruned(density))
            for density, figure in _PRUNED.items()
        ),
    ),
    columns=sparse.ACCURACY_COLUMNS,
    measure=sparse.measure,
    notes="""\
Batch 128, 250 epochs, rate 0.1, times 0.2 every 30,000 steps, weight decay 5e-4 in the gradient of
kernels. From when to when gradual pruning prunes is ours.""",
)
