"""Which optimizers and activations kill filters: a small convolutional network on MNIST."""

from apps.reproduction import implicit, pictures
from apps.reproduction.table import Table

_L2 = 2e-3


TABLE = Table(
    title="Dead filters by optimizer, regularizer and activation, MNIST",
    reference="On implicit filter level sparsity in convolutional networks, arXiv 1811.12495",
    settings={**implicit.MNIST, "epochs": 12},
    rows=tuple(
        implicit.row(implicit.convolutional_network, activation, optimizer, l2)
        for activation in implicit.ACTIVATIONS
        for optimizer in implicit.OPTIMIZERS
        for l2 in (_L2, 0.0)
    ),
    columns=implicit.COLUMNS,
    measure=implicit.measure,
    picture=pictures.grouped_bars("dead", x="optimizer", series="activation", panels="regularizer"),
    notes=f"""\
Three 3x3 convolutions of 16, 32 and 32 filters with batch normalisation, batch 64, Keras'
L2({_L2}) on all kernels, decoupled decay of twice as much for AdamW; rates as in implicit_mnist.
The papers' networks are wider and deeper (VGG-16, CIFAR), so directions compare, not figures.""",
)
