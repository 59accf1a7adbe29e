"""Which optimizers and activations kill units: one hidden layer on MNIST."""

from apps.reproduction import implicit, pictures
from apps.reproduction.table import Table

_L2 = 5e-4
_NOTES = """\
One hidden layer of 1000 units, batch normalised before its activation, batch 64, pixels from 0 to
1, rates halved after each quarter, as in the paper; Keras' L2(5e-4) on both kernels, whose
gradient is 1e-3·w. For AdamW, L2 means a decoupled decay of 1e-3. Not as in the paper: 16 epochs
instead of 100, and therefore rates of 0.01 for Adam, RMSprop, AMSGrad, AdamW and Adagrad; momentum
SGD has 0.1, and one row shows Adam at 0.001. A unit is dead when the 2-norm of its incoming weights
is below 1e-6. The paper's statement is that Adam and its like with L2 and a rectifier make units
vanish, and that the others do not; the figures of its table are not known to us."""


TABLE = Table(
    title="Dead units by optimizer, regularizer and activation, MNIST",
    reference="Adam induces implicit weight sparsity in rectifier networks, arXiv 1812.08119.",
    settings={**implicit.MNIST, "epochs": 16},
    rows=(
        *(
            implicit.row(implicit.dense_network, activation, optimizer, l2)
            for activation in implicit.ACTIVATIONS
            for optimizer in implicit.OPTIMIZERS
            for l2 in (_L2, 0.0)
        ),
        implicit.row(implicit.dense_network, "ReLU", implicit.SLOW_ADAM, _L2),
    ),
    columns=implicit.COLUMNS,
    measure=implicit.measure,
    picture=pictures.grouped_bars("dead", x="optimizer", series="activation", panels="regularizer"),
    notes=_NOTES,
)
