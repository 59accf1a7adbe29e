"""Dead filters by regularizer, batch size and width, under Adam."""

from apps.reproduction import implicit
from apps.reproduction.table import Row, Table

_L2, _BATCH, _WIDTH = 2e-3, 64, 1.0


def _row(l2=_L2, batch_size=_BATCH, width=_WIDTH):
    return Row(
        labels={"L2": f"{l2:g}", "batch": str(batch_size), "width": f"{width:g}"},
        changes={**implicit.settings("Adam", l2), "batch_size": batch_size, "width": width},
    )


TABLE = Table(
    title="Dead filters under Adam by L2, batch size and width, MNIST",
    reference="On implicit filter level sparsity in convolutional networks, arXiv 1811.12495",
    settings={
        **implicit.MNIST,
        "epochs": 12,
        "model": implicit.convolutional_network("relu"),
    },
    rows=(
        *(_row(l2=l2) for l2 in (0.0, 5e-4, 2e-3, 1e-2, 3e-2)),
        *(_row(batch_size=size) for size in (32, 128, 256)),
        *(_row(width=width) for width in (0.5, 2.0)),
    ),
    columns=implicit.COLUMNS,
    measure=implicit.measure,
    notes=f"""\
The network of implicit_mnist_cnn under Adam, one setting varied at a time around L2({_L2}), batch
{_BATCH}, width {_WIDTH:g}. The number of epochs is the same for all, so that a smaller batch means
more steps, as in the paper.""",
)
