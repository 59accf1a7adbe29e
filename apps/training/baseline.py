"""The dense network that a sparse one is compared with: the same one, trained for as long."""

import copy

from apps.training.methods import METHODS

_PLAIN = ("sgd", "adam", "adamw", "rmsprop", "adagrad")
# Adam at its own rate trains any of the networks without a search.
_ADAM = {
    "optimizer": "adam",
    "schedule": "cosine",
    **dict.fromkeys(("learning_rate", "weight_decay", "init_scale", "step_every", "step_factor")),
    **dict.fromkeys(("stages", "stage_starts"), ()),
}
_WITHOUT = {
    "retrain_epochs": None,
    "update_masks": "in_step",
    "mask_history": False,
    "tensorboard": False,
    "stop_when_dead": False,
}


def dense_values(values):
    """The flags of the baseline.

    It has the network, the data, the epochs and the seed of the run. What trains weights inside
    masks becomes the optimizer that is inside, with the same rate and schedule. Instead of dual
    averaging and proximal methods it is Adam, whose rate falls to 0 by a cosine, from the layers'
    own initializers. Keras' optimizers lose their L2, which kills channels.

    Args:
        values: the `FlagValues` of the run.

    Returns:
        `FlagValues`; None if the run itself is dense, or asks for no baseline.
    """
    if not values.baseline:
        return None
    changes = _changes(values)
    if changes is None:
        return None
    dense = copy.deepcopy(values)
    for name, value in {**changes, **_WITHOUT}.items():
        dense[name].value = value
    return dense


def _changes(values):
    name = values.optimizer
    if name in _PLAIN:
        return {"l2": 0.0} if values.l2 and name != "sgd" else None
    if "density" in METHODS[name].takes or "inner" in METHODS[name].takes:
        return {"optimizer": "adam" if values.inner == "adam" else "sgd"}
    return _ADAM
