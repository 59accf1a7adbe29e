"""The optimizers that `--optimizer` names, each with its settings."""

from apps.training.methods import dense, masked, proximal

METHODS = {
    "rda": proximal.RDA,
    "grda": proximal.GRDA,
    "prox_sgd": proximal.ProxSGD,
    "sparse_momentum": masked.SparseMomentum,
    "rigl": masked.RigL,
    "set": masked.SET,
    "snip": masked.SNIP,
    "dsr": masked.DSR,
    "deep_r": masked.DeepR,
    "static": masked.StaticSparse,
    "magnitude_pruning": masked.MagnitudePruning,
    "sgd": dense.SGD,
    "adam": dense.Adam,
    "adamw": dense.AdamW,
    "rmsprop": dense.RMSprop,
    "adagrad": dense.Adagrad,
}


def named(method):
    """The name of a method's class or object."""
    cls = method if isinstance(method, type) else type(method)
    return next(name for name, known in METHODS.items() if known is cls)
