"""Sparse momentum against dense training on CIFAR-10: WRN-28-2 by the share of weights."""

from apps.reproduction import sparse
from apps.reproduction.table import Row, Table

EPOCHS = 250
_PUBLISHED = {1.0: 94.70, 0.2: 94.32, 0.1: 93.61, 0.5: 94.75}
# The paper's set-up of WRN-28-2 keeps these dense.
_DENSE = "^conv1/|shortcut/|logits/"
# Settings of all wide ResNets of the paper.
SETTINGS = {
    **sparse.CIFAR10,
    **{"epochs": EPOCHS, "model": "wide_resnet", "dropout": 0.3, "l2": sparse.L2},
}


def row(depth, width, density, published, steps, exclude=None):
    """A row of the paper's recipe.

    Args:
        depth, width: arguments of the wide ResNet.
        density: float, share of the weights; 1 is dense training.
        published: accuracy in percent.
        steps: steps of a whole run; the rate falls every 30,000.
        exclude: pattern of the weights that stay dense, or None.

    Returns:
        A `Row`.
    """
    return Row(
        labels={"network": f"WRN-{depth}-{width}", "weights": f"{100 * density:g}%"},
        changes={
            **{"depth": depth, "width": width},
            **sparse.staged(0.1, every=30_000, of=steps),
            **sparse.sparse_momentum(density, exclude=exclude),
        },
        published={"accuracy": published},
    )


TABLE = Table(
    title="Sparse momentum on CIFAR-10: test accuracy by the share of weights",
    reference="Sparse networks from scratch, arXiv 1907.04840, CIFAR-10",
    settings=SETTINGS,
    rows=tuple(
        row(28, 2, density, accuracy, steps=391 * EPOCHS, exclude=_DENSE)
        for density, accuracy in _PUBLISHED.items()
    ),
    columns=sparse.ACCURACY_COLUMNS,
    measure=sparse.measure,
    notes="""\
The paper's recipe: batch 128, 250 epochs, rate 0.1, times 0.1 every 30,000 steps, Nesterov momentum
0.9, weight decay 5e-4 in the gradient (here of kernels), dropout 0.3 as in the authors' code,
reflect-pad 4, crop and flip, all training images, the accuracy after the last epoch, prune rate 0.5
by a cosine to 0. The first convolution,
the convolutions that bridge a change of width and the classifier stay dense; the share of weights
is that of the others.""",
)
