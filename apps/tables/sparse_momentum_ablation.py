"""What redistribution and growth by momentum are worth, at 5% of the weights."""

from apps.reproduction import sparse
from apps.reproduction.table import Row, Table

# The paper's error with all of the method, and what changes when a part is left away.
_WHOLE = {"LeNet-300-100": 1.53, "LeNet-5": 0.69}
_VARIANTS = {
    "sparse momentum": ({}, {"LeNet-300-100": 0.0, "LeNet-5": 0.0}),
    "no redistribution": (
        {"redistribution": "none"},
        {"LeNet-300-100": 0.01, "LeNet-5": 0.32},
    ),
    "random growth": ({"growth": "random"}, {"LeNet-300-100": 0.07, "LeNet-5": -0.05}),
}


def _row(network, variant):
    arguments, change = _VARIANTS[variant]
    return Row(
        labels={"network": network, "variant": variant},
        changes={"model": sparse.LENETS[network], **sparse.sparse_momentum(0.05, **arguments)},
        published={"error": round(_WHOLE[network] + change[network], 2)},
    )


TABLE = Table(
    title="Sparse momentum at 5% of the weights, without its parts",
    reference="Sparse networks from scratch, arXiv 1907.04840, ablation",
    settings=sparse.MNIST,
    rows=tuple(_row(network, variant) for network in sparse.LENETS for variant in _VARIANTS),
    columns=sparse.COLUMNS,
    measure=sparse.measure,
    notes="The recipe of sparse_momentum_mnist.",
)
