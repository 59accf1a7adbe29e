"""Sparse momentum against dense training on MNIST, by the share of weights."""

from apps.reproduction import pictures, sparse
from apps.reproduction.table import Row, Table

PUBLISHED = {
    "LeNet-300-100": {1.0: 1.34, 0.01: 2.36, 0.02: 1.99, 0.05: 1.53, 0.2: 1.26},
    "LeNet-5": {1.0: 0.58, 0.01: 0.83, 0.02: 0.76, 0.05: 0.69, 0.2: 0.60},
}
# Figures of other methods from the paper: weights and error in percent, by network.
OTHERS = {
    "optimal brain damage": {"LeNet-300-100": [(8.0, 2.0)], "LeNet-5": [(8.0, 2.7)]},
    "layer-wise brain damage": {"LeNet-300-100": [(1.5, 2.0)], "LeNet-5": [(1.0, 2.1)]},
    "SNIP": {"LeNet-300-100": [(2.0, 2.4), (5.0, 1.6)], "LeNet-5": [(1.0, 1.1), (2.0, 0.8)]},
    "soft weight sharing": {"LeNet-300-100": [(4.4, 1.9)], "LeNet-5": [(0.5, 1.0)]},
    "dynamic network surgery": {"LeNet-300-100": [(1.8, 2.0)], "LeNet-5": [(0.9, 0.9)]},
    "Han et al.": {"LeNet-300-100": [(8.3, 1.6)], "LeNet-5": [(9.3, 0.8)]},
    "variational dropout": {"LeNet-300-100": [(1.5, 1.9)], "LeNet-5": [(0.4, 0.8)]},
}

TABLE = Table(
    title="Sparse momentum on MNIST: test error by the share of weights",
    reference="Sparse networks from scratch, arXiv 1907.04840, MNIST",
    settings=sparse.MNIST,
    rows=tuple(
        Row(
            labels={"network": network, "weights": f"{100 * density:g}%"},
            changes={"model": sparse.LENETS[network], **sparse.sparse_momentum(density)},
            published={"error": error},
        )
        for network, errors in PUBLISHED.items()
        for density, error in errors.items()
    ),
    columns=sparse.COLUMNS,
    measure=sparse.measure,
    picture=pictures.beside_others(y="error", x="density", panels="network", others=OTHERS),
    notes="""\
The paper's recipe: batch 100, 100 epochs, rate 0.1, times 0.1 every 25,000 steps, Nesterov momentum
0.9, weight decay 5e-4 in the gradient (here of kernels, not of biases), kernels that start as
PyTorch's do, the last 10% of the training images held out, the test error after the last epoch,
prune rate 0.5 by a cosine to 0. In the picture: ours, the paper's, and what it quotes of other
methods.""",
)
