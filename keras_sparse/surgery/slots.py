"""Carrying an optimizer's state over to the smaller model."""

import keras
import numpy as np

from keras_sparse import _keras
from keras_sparse.loss_scaling import bare_optimizer

# Slots of Keras' optimizers that hold weights, besides moving averages.
_WEIGHTS = {keras.optimizers.ScheduleFreeAdamW: ("momentum",)}
# Those that make the weights anew from sums of gradients.
_FROM_GRADIENTS = (keras.optimizers.Ftrl,)


def slice_optimizer(optimizer, report, model, *, weight_slots=("average",)):
    """An optimizer for the smaller model that goes on where the large model's left off.

    A slot is known by its name, `{path of the variable}_{name of the slot}`, as Keras gives it,
    and is cut as its variable was. What belongs to no variable, the step count for one, is
    copied. Slots of a variable that is new, a bias that was switched on, start afresh. An optimizer
    with a method `take_over(old, cuts)` does there what its state needs besides; `cuts` is a dict
    from the path of a variable of `model` to its `Cut`.

    Args:
        optimizer: the optimizer with which the large model was trained; it is not changed.
        report: the `Report` of `remove_dead_channels`.
        model: the smaller model that came with the report.
        weight_slots: names of slots that hold weights rather than gradients, such as Keras' moving
            average. What was folded into the weights is added to these too. An optimizer may name
            its own in an attribute `weight_slots`.

    Returns:
        A new optimizer of the same class and configuration, built on `model`'s trainable
        variables; give it to `model.compile`.

    Raises:
        ValueError: the optimizer is not built, or has slots that do not tell by their name which
            variable they belong to, or not by their shape how to cut them: Adafactor's; or it
            makes weights anew from gradients, Ftrl, and a constant was folded into weights.

    Example:

    >>> smaller, report = surgery.remove_dead_channels(model)
    >>> optimizer = surgery.slice_optimizer(model.optimizer, report, smaller)
    >>> smaller.compile(optimizer=optimizer, loss=loss)
    """
    if not optimizer.built:
        raise ValueError("`optimizer` has no state yet: train, or call `optimizer.build`, first.")
    shifted = any(c.shift is not None and np.any(c.shift) for c in report.cuts.values())
    if shifted and isinstance(bare_optimizer(optimizer), _FROM_GRADIENTS):
        raise ValueError(
            f"{type(bare_optimizer(optimizer)).__name__} makes the weights anew from sums of "
            "gradients, and would lose what surgery folded into them. Start with a new optimizer."
        )
    sliced = type(optimizer).from_config(optimizer.get_config())
    _choose_like(bare_optimizer(optimizer), bare_optimizer(sliced), report, model)
    # Copies: on PyTorch, arrays are views of the weights.
    weights = [np.array(weight) for weight in model.get_weights()]
    sliced.build(model.trainable_variables)
    # An optimizer with masks draws new ones when it is built, and applies them at once.
    model.set_weights(weights)
    weight_slots = {*weight_slots, *_weight_slots(bare_optimizer(optimizer))}
    variables = _keras.variables_of(bare_optimizer(optimizer))
    olds = _by_owner(optimizer, {variable.path for variable in variables})
    news = _by_owner(sliced, {variable.path for variable in model.trainable_variables})
    for (path, name), slot in news.items():
        cut = report.cuts.get(path)
        old = olds.get((cut.source if cut else None, name))
        if old is None:
            value = None
        elif cut is None:
            value = _array(old) if old.shape == slot.shape else None
        else:
            value = _cut_slot(_array(old), cut, slot)
        if cut is not None and name in weight_slots and cut.shift is not None:
            value = (0.0 if value is None else value) + cut.shift
        if value is not None:
            slot.assign(value)
    if hasattr(bare_optimizer(sliced), "take_over"):
        bare_optimizer(sliced).take_over(bare_optimizer(optimizer), report.cuts)
    return sliced


def _choose_like(optimizer, sliced, report, model):
    """What was excluded stays so under its new path."""
    if hasattr(sliced, "choose_like"):
        variables = model.trainable_variables
        cuts = [report.cuts.get(v.path) for v in variables]
        sliced.choose_like(optimizer, variables, [cut and cut.source for cut in cuts])


def _weight_slots(optimizer):
    found = [names for kind, names in _WEIGHTS.items() if isinstance(optimizer, kind)]
    return [*getattr(optimizer, "weight_slots", ()), *(name for names in found for name in names)]


def _array(variable):
    return keras.ops.convert_to_numpy(variable)


def _by_owner(optimizer, paths):
    """`{(path of the model's variable, name of the slot): slot}`.

    Of what belongs to no variable the path is None and the name its place among those: their own
    names are counted through the process.
    """
    prefixes = [(path.replace("/", "_") + "_", path) for path in paths]
    prefixes.sort(key=lambda pair: len(pair[0]), reverse=True)
    bare = bare_optimizer(optimizer)
    inner = getattr(getattr(bare, "_inner", None), "optimizer", None)
    lists = [v for each in (bare, inner) if each is not None for v in _keras.slots(each).values()]
    owned = {id(slot) for slots in lists for slot in slots}
    found, others = {}, 0
    for slot in optimizer.variables:
        prefix, path = next((p for p in prefixes if slot.name.startswith(p[0])), (None, None))
        if path is not None:
            key = path, slot.name[len(prefix) :]
        else:
            key, others = (None, others), others + 1
        if key in found or (path is None and id(slot) in owned):
            raise ValueError(
                f"`optimizer` has slots, such as {slot.name!r}, that do not say by their names "
                "which variables they belong to. Start with a new optimizer."
            )
        found[key] = slot
    return found


def _spans(array, cut):
    return array.ndim == len(cut.shape) and all(
        size in (1, whole) for size, whole in zip(array.shape, cut.shape, strict=True)
    )


def _cut_slot(array, cut, slot):
    """The slot's part that belongs to the kept part of its variable."""
    if array.shape == cut.shape:
        return cut(array)
    if array.shape == tuple(slot.shape):
        return array
    if _spans(array, cut):
        return cut.spanning(array)
    raise ValueError(
        f"The slot {slot.name!r} has shape {array.shape} for a variable of shape {cut.shape}, and "
        "it is not clear how to cut it. Start with a new optimizer."
    )
