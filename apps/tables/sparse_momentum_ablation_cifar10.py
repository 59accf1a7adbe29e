"""The effect of redistribution and growth by momentum in VGG16-D on CIFAR-10."""

from apps.reproduction import sparse
from apps.reproduction.table import Row, Table
from apps.tables.sparse_momentum_ablation import VARIANTS
from apps.tables.sparse_momentum_cifar10 import EPOCHS

# The paper's errors in percent.
_WHOLE = 6.49
_CHANGES = (0.0, 0.79, -0.15, 0.49)

TABLE = Table(
    title="Sparse momentum at 5% of the weights, without its parts: VGG16-D on CIFAR-10",
    reference="Sparse networks from scratch, arXiv 1907.04840, ablation",
    settings={
        **sparse.CIFAR10,
        **{"epochs": EPOCHS, "model": "vgg16_d", "l2": sparse.L2, "held_out": 0.1},
        **sparse.staged(0.1, every=30_000, of=352 * EPOCHS),
    },
    rows=tuple(
        Row(
            labels={"variant": variant},
            changes=sparse.sparse_momentum(0.05, **arguments),
            published={"accuracy": round(100 - _WHOLE - change, 2)},
        )
        for (variant, arguments), change in zip(VARIANTS.items(), _CHANGES, strict=True)
    ),
    columns=sparse.ACCURACY_COLUMNS,
    measure=sparse.measure,
    notes="The recipe of sparse_momentum_snip.",
)
