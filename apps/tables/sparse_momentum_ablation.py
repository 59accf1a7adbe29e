"""The effect of redistribution and growth by momentum, at 5% of the weights."""

from apps.reproduction import sparse
from apps.reproduction.table import Row, Table

# Changed settings when a part is omitted.
VARIANTS = {
    "sparse momentum": {},
    "no redistribution": {"redistribution": "none"},
    "random growth": {"growth": "random"},
    "neither": {"redistribution": "none", "growth": "random"},
}
# The paper's error of the whole method, and the error that each variant adds.
_PUBLISHED = {
    "LeNet-300-100": (1.53, (0.0, 0.01, 0.07, 0.11)),
    "LeNet-5": (0.69, (0.0, 0.32, -0.05, 0.13)),
}


def _rows(network, whole, changes):
    for (variant, arguments), change in zip(VARIANTS.items(), changes, strict=True):
        yield Row(
            labels={"network": network, "variant": variant},
            changes={"model": sparse.LENETS[network], **sparse.sparse_momentum(0.05, **arguments)},
            published={"error": round(whole + change, 2)},
        )


TABLE = Table(
    title="Sparse momentum at 5% of the weights, without its parts",
    reference="Sparse networks from scratch, arXiv 1907.04840, ablation",
    settings=sparse.MNIST,
    rows=tuple(row for item in _PUBLISHED.items() for row in _rows(item[0], *item[1])),
    columns=sparse.COLUMNS,
    measure=sparse.measure,
    notes="The recipe of sparse_momentum_mnist.",
)
