"""The dense network to compare with: the same network, trained for as many epochs."""

from apps.training.config import PARTS, TrainConfig
from apps.training.methods import METHODS
from apps.training.settings import names

_WITHOUT = {"mask_history": False, "tensorboard": False, "stop_when_dead": False}
# Adam at its default rate trains all of the networks without tuning.
_ADAM = {"optimizer": "adam", "schedule": "cosine"}


def dense_config(config):
    """The configuration of the baseline.

    It has the network, the data, the epochs and the seed of the run. An optimizer with masks is
    replaced by the optimizer inside, with the same rate and schedule. Dual averaging and proximal
    methods are replaced by Adam, with a cosine schedule and the layers' default initializers. For
    Keras' optimizers, L2, which kills channels, is omitted.

    Args:
        config: the `TrainConfig` of the run.

    Returns:
        A `TrainConfig`; None if the run itself is dense, or has no baseline.
    """
    method = config.optimizer
    if not config.training.baseline:
        return None
    if METHODS["sgd"].group == method.group:
        if not config.network.l2 or isinstance(method, METHODS["sgd"]):
            return None
        return config.replace(l2=0.0, **_WITHOUT)
    dropped = {name for cls in METHODS.values() for name in names(cls)}
    if hasattr(method, "inner"):
        staged = config.rate.schedule == "staged"
        changes = _inside(method, None if staged else method.constant_rate())
    else:
        changes = _ADAM
        dropped |= {*names(PARTS["rate"]), "init_scale", "init_bound"}
    kept = {name: value for name, value in config.given.items() if name not in dropped}
    return TrainConfig.of({**kept, **changes, **_WITHOUT})


def _inside(method, rate):
    """The settings of the inner optimizer, without masks."""
    found = {"weight_decay": method.weight_decay, "learning_rate": rate}
    if method.inside == "adam":
        return {"optimizer": "adam", **found}
    return {
        "optimizer": "sgd",
        "momentum": method.momentum,
        "nesterov": method.nesterov,
        **found,
    }
