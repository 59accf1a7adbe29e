"""Carrying an optimizer's state over to the smaller model."""

import keras

from keras_sparse.channels.adam import bare_optimizer


def slice_optimizer(optimizer, report, model, *, weight_slots=("average", "center", "accumulator")):
    """An optimizer for the smaller model that goes on where the large model's left off.

    A slot is known by its name, `{path of the variable}_{name of the slot}`, as Keras gives it,
    and is cut as its variable was. What belongs to no variable, the step count for one, is
    copied. Slots of a variable that is new, a bias that was switched on, start afresh.

    Args:
        optimizer: the optimizer with which the large model was trained; it is not changed.
        report: the `Report` of `remove_dead_channels`.
        model: the smaller model that came with the report.
        weight_slots: names of slots that hold weights rather than gradients: Keras' moving
            average, and what dual averaging makes the next weights from. What was folded into the
            weights is added to these too.

    Returns:
        A new optimizer of the same class and configuration, built on `model`'s trainable
        variables; give it to `model.compile`.

    Raises:
        ValueError: the optimizer is not built, or has slots that do not tell by their name which
            variable they belong to, or not by their shape how to cut them: Adafactor's.

    Example:

    >>> smaller, report = surgery.remove_dead_channels(model)
    >>> optimizer = surgery.slice_optimizer(model.optimizer, report, smaller)
    >>> smaller.compile(optimizer=optimizer, loss=loss)
    """
    if not optimizer.built:
        raise ValueError("`optimizer` has no state yet: train, or call `optimizer.build`, first.")
    sliced = type(optimizer).from_config(optimizer.get_config())
    _choose_like(bare_optimizer(optimizer), bare_optimizer(sliced), report, model)
    weights = model.get_weights()
    sliced.build(model.trainable_variables)
    # An optimizer with masks draws new ones when it is built, and applies them at once.
    model.set_weights(weights)
    olds = _by_owner(optimizer, {cut.source for cut in report.cuts.values() if cut.source})
    news = _by_owner(sliced, set(report.cuts))
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
    if hasattr(bare_optimizer(sliced), "count_cut"):
        bare_optimizer(sliced).count_cut(bare_optimizer(optimizer), report.cuts)
    return sliced


def _choose_like(optimizer, sliced, report, model):
    """What was excluded stays so under its new path."""
    if hasattr(sliced, "choose_like"):
        variables = model.trainable_variables
        cuts = [report.cuts.get(v.path) for v in variables]
        sliced.choose_like(optimizer, variables, [cut and cut.source for cut in cuts])


def _array(variable):
    return keras.ops.convert_to_numpy(variable)


def _by_owner(optimizer, paths):
    """`{(path of the model's variable or None, name of the slot): slot}`."""
    prefixes = [(path.replace("/", "_") + "_", path) for path in paths]
    prefixes.sort(key=lambda pair: len(pair[0]), reverse=True)
    found = {}
    for slot in optimizer.variables:
        prefix, path = next((p for p in prefixes if slot.name.startswith(p[0])), ("", None))
        key = path, slot.name[len(prefix) :]
        while key in found and len(slot.shape) == 0:
            key = path, key[1] + "'"  # step counts of an optimizer within an optimizer
        if key in found:
            raise ValueError(
                f"`optimizer` has several slots named {slot.name!r}, so it is not clear which "
                "variables they belong to. Start with a new optimizer."
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
