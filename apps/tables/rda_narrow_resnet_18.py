"""Dual averaging, pruning and dense training of a narrow ResNet-18: what a CPU can train."""

from apps.reproduction import sparse
from apps.reproduction.table import Row, Table
from apps.tables.rda_cifar10 import rda, three_steps

# λ, s and the rate of `RDA` were chosen on held-out training images; see the results.
_L1 = 3e-4
_SCALE = 10.0
# Share of the weights, in percent, that RDA leaves after 18 epochs.
_DENSITY = 5.6
_STAGED = "RDA + ASR, staged γ"
_DENSE = {
    **{"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "l2": sparse.L2},
    **{"learning_rate": 0.1, "schedule": "cosine"},
}
_TARGET = {
    **{"optimizer": "rda", "target_sparsity": 1 - _DENSITY / 100},
    **{"learning_rate": 1.0, "schedule": "cosine"},
}

TABLE = Table(
    title="RDA and pruning of a narrow ResNet-18 on CIFAR-10",
    reference="Make l1 regularization effective in training sparse CNN, arXiv 1807.04222, table 8",
    settings={
        **sparse.CIFAR10,
        **{"model": "resnet_18", "width": 0.125, "epochs": 150, "jit_compile": "false"},
    },
    rows=(
        Row({"method": "dense"}, _DENSE),
        Row({"method": _STAGED}, {**rda(_STAGED, _SCALE), "l1": _L1}),
        Row({"method": "three-step pruning"}, three_steps(_DENSITY)),
        Row({"method": "RDA(1.0) to that share"}, _TARGET),
    ),
    columns=sparse.ACCURACY_COLUMNS,
    measure=sparse.measure,
    notes=f"""\
ResNet-18 with an eighth of the channels: batch 128, reflect-pad 4, crop and flip. RDA is the
published form with λ = {_L1:g}, s = {_SCALE:g}, and γ = 1, 0.2 and 0.05 for a third of the epochs
each. In the last third, zeros stay zero (ASR). Three-step pruning prunes at half of the epochs, to
the share of weights that RDA leaves after 18 epochs. So does `RDA(1.0)` of this package, which is
dynamic pruning with feedback.""",
)
