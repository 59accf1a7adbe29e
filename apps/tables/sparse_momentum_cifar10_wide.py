"""Sparse momentum at 5% of the weights of wider ResNets on CIFAR-10."""

from apps.tables import recipes
from apps.tables.sparse_momentum_cifar10 import EPOCHS, row
from apps.tables.table import Table
from keras_sparse.data import crop_and_flip

# The paper's errors in percent, dense and at 5%.
_PUBLISHED = {(16, 8): (4.57, 5.66), (16, 10): (4.45, 4.59), (22, 8): (4.26, 4.96)}


TABLE = Table(
    title="Sparse momentum on CIFAR-10: wider ResNets at 5% of the weights",
    reference="Sparse networks from scratch, arXiv 1907.04840, CIFAR-10",
    rows=tuple(
        row(depth, width, density, round(100 - error, 2), steps=352 * EPOCHS)
        for (depth, width), errors in _PUBLISHED.items()
        for density, error in zip((1.0, 0.05), errors, strict=True)
    ),
    columns=recipes.ACCURACY_COLUMNS,
    measure=recipes.measure,
    epochs=EPOCHS,
    dataset="cifar10",
    held_out=0.1,
    augment=crop_and_flip,
    notes="""\
The recipe of sparse_momentum_cifar10, with the last tenth of the training images held out and all
kernels sparse. The paper gives errors: 100 minus those.""",
)
