"""Sparse momentum and SNIP on CIFAR-10, in the networks of the paper's comparison of both."""

from apps.reproduction import sparse
from apps.reproduction.table import Row, Table
from apps.tables.sparse_momentum_cifar10 import EPOCHS, SETTINGS

_METHODS = ("dense", "SNIP", "sparse momentum")
# Function that builds the network, share of the weights, and the paper's errors, in percent.
_NETWORKS = {
    "AlexNet-s": ({"model": "alexnet_s", "dropout": None}, 0.1, (12.95, 14.99, 14.35)),
    "AlexNet-b": ({"model": "alexnet_b", "dropout": None}, 0.1, (12.85, 14.50, 13.93)),
    "VGG16-C": ({"model": "vgg16_c", "dropout": None}, 0.05, (6.49, 7.27, 6.77)),
    "VGG16-D": ({"model": "vgg16_d", "dropout": None}, 0.05, (6.59, 7.09, 6.49)),
    "VGG16-like": ({"model": "vgg16_like", "dropout": None}, 0.03, (6.50, 8.00, 6.71)),
    "WRN-16-8": ({"depth": 16, "width": 8}, 0.05, (4.57, 6.63, 5.66)),
    "WRN-16-10": ({"depth": 16, "width": 10}, 0.05, (4.45, 6.43, 4.59)),
    "WRN-22-8": ({"depth": 22, "width": 8}, 0.05, (4.26, 5.85, 4.96)),
}


def _row(network, method, error):
    model, density, _ = _NETWORKS[network]
    density = 1.0 if method == "dense" else density
    if method == "SNIP":
        optimizer = {"optimizer": "snip", "density": density}
    else:
        optimizer = sparse.sparse_momentum(density)
    return Row(
        labels={"network": network, "method": method, "weights": f"{100 * density:g}%"},
        changes={
            **model,
            **sparse.staged(0.1, every=30_000, of=352 * EPOCHS),
            **optimizer,
        },
        published={"accuracy": round(100 - error, 2)},
    )


TABLE = Table(
    title="Sparse momentum and SNIP on CIFAR-10",
    reference="Sparse networks from scratch, arXiv 1907.04840, CIFAR-10; SNIP, arXiv 1810.02340",
    settings={**SETTINGS, "held_out": 0.1},
    rows=tuple(
        _row(network, method, error)
        for network, (_, _, errors) in _NETWORKS.items()
        for method, error in zip(_METHODS, errors, strict=True)
    ),
    columns=sparse.ACCURACY_COLUMNS,
    measure=sparse.measure,
    notes="""\
The recipe of sparse_momentum_cifar10, with the last tenth of the training images held out and all
kernels sparse. The paper gives errors of 10 to 12 seeds: 100 minus those. The first five networks
were probably trained denser than they say, since a name match in the authors' code left layers
dense.""",
)
