"""Which optimizers kill filters on CIFAR-10: seven convolutions, and VGG16."""

from apps.reproduction import implicit, pictures
from apps.reproduction.table import Row, Table

_L2 = 5e-4
_NETWORKS = {"BasicNet": "basicnet", "VGG16": "vgg16_bn"}


def _row(network, optimizer, l2):
    return Row(
        labels={
            "network": network,
            "optimizer": optimizer,
            "regularizer": "L2" if l2 else "none",
        },
        changes={
            "model": _NETWORKS[network],
            **implicit.settings(optimizer, l2, implicit.RATES),
        },
    )


TABLE = Table(
    title="Dead filters by optimizer and regularizer, CIFAR-10",
    reference="On implicit filter level sparsity in convolutional networks, arXiv 1811.12495",
    settings={"dataset": "cifar10", "unit_pixels": True, "batch_size": 64, "epochs": 100},
    rows=tuple(
        _row(network, optimizer, l2)
        for network in _NETWORKS
        for optimizer in implicit.OPTIMIZERS
        for l2 in (_L2, 0.0)
    ),
    columns=implicit.COLUMNS,
    measure=implicit.measure,
    picture=pictures.grouped_bars("dead", x="optimizer", series="network", panels="regularizer"),
    notes=f"""\
ReLU networks, batch 64, pixels from 0 to 1, no augmentation, 100 epochs, the rate halved after
each quarter; Keras' L2({_L2:g}) on all kernels, whose gradient is {2 * _L2:g}·w, for AdamW a
decoupled decay of the same size. Rates 0.001, momentum SGD 0.1, Adagrad 0.01. The widths of the
paper's BasicNet are not published, and the figures of its tables are not known to us: in its text
70 to 80% of VGG16's filters go with Adam and L2.""",
)
