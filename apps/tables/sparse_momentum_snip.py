"""Sparse momentum on CIFAR-10 in the networks of the paper's comparison with SNIP."""

from apps.reproduction import sparse
from apps.reproduction.table import Row, Table
from apps.tables.sparse_momentum_cifar10 import EPOCHS, SETTINGS, row

# The paper's errors in percent, dense and at 5%.
_WIDE_RESNETS = {(16, 8): (4.57, 5.66), (16, 10): (4.45, 4.59), (22, 8): (4.26, 4.96)}
# The share of weights is SNIP's; errors in percent, of the authors' repository at prune rate 0.5.
_OTHERS = {
    "AlexNet-s": ("alexnet_s", 0.1, 14.52),
    "AlexNet-b": ("alexnet_b", 0.1, None),
    "VGG16-C": ("vgg16_c", 0.05, None),
    "VGG16-D": ("vgg16_d", 0.05, 6.67),
    "VGG16-like": ("vgg16_like", 0.03, None),
}


def _other(network, model, density, error):
    return Row(
        labels={"network": network, "weights": f"{100 * density:g}%"},
        changes={
            **{"model": model, "dropout": None},
            **sparse.staged(0.1, every=30_000, of=352 * EPOCHS),
            **sparse.sparse_momentum(density),
        },
        published={} if error is None else {"accuracy": round(100 - error, 2)},
    )


TABLE = Table(
    title="Sparse momentum on CIFAR-10: the networks of the comparison with SNIP",
    reference="Sparse networks from scratch, arXiv 1907.04840, CIFAR-10",
    settings={**SETTINGS, "held_out": 0.1},
    rows=(
        *(
            row(depth, width, density, round(100 - error, 2), steps=352 * EPOCHS)
            for (depth, width), errors in _WIDE_RESNETS.items()
            for density, error in zip((1.0, 0.05), errors, strict=True)
        ),
        *(_other(network, *facts) for network, facts in _OTHERS.items()),
    ),
    columns=sparse.ACCURACY_COLUMNS,
    measure=sparse.measure,
    notes="""\
The recipe of sparse_momentum_cifar10, with the last tenth of the training images held out and all
kernels sparse. The paper gives errors: 100 minus those. Those of three networks we could not look
up; all five after the wide ResNets were probably trained denser than they say, since a name match
in the authors' code left layers dense.""",
)
