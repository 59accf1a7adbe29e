"""Sparse momentum by its prune rate: LeNet-300-100 on MNIST at 5% of the weights."""

from apps.reproduction import sparse
from apps.reproduction.table import Row, Table

_RATES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)

TABLE = Table(
    title="Sparse momentum by its prune rate: LeNet-300-100 at 5% of the weights",
    reference="Sparse networks from scratch, arXiv 1907.04840, sensitivity to the prune rate",
    settings={**sparse.MNIST, "model": "lenet_300_100"},
    rows=tuple(
        Row(
            labels={"prune rate": f"{rate:g}"},
            changes=sparse.sparse_momentum(0.05, prune_rate=rate),
        )
        for rate in _RATES
    ),
    columns=sparse.COLUMNS,
    measure=sparse.measure,
    notes="""\
The recipe of sparse_momentum_mnist. The rate falls to 0 by a cosine. The paper searched these rates
and found 0.5 the best; its figures are lost.""",
)
