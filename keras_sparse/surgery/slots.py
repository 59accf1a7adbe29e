"""Slices an optimizer's state for the compact model."""

from collections.abc import Sequence

import keras
import numpy as np

from keras_sparse import _keras
from keras_sparse.loss_scaling import bare_optimizer, optimizer_name
from keras_sparse.optimizer_copies import copied_optimizer
from keras_sparse.surgery.report import Report
from keras_sparse.variables import by_path
from keras_sparse.weight_decay import exclude_like

# Slots of Keras' optimizers that hold weights, besides moving averages.
_WEIGHTS = {keras.optimizers.ScheduleFreeAdamW: ("momentum",)}
# Optimizers that compute the weights from sums of gradients.
_FROM_GRADIENTS = (keras.optimizers.Ftrl,)


def slice_optimizer(
    optimizer: keras.optimizers.Optimizer,
    report: Report,
    model: keras.Model,
    *,
    weight_slots: Sequence[str] = ("average",),
) -> keras.optimizers.Optimizer:
    """Makes an optimizer for the compact model with the state of the large model's optimizer.

    A slot is recognized by its place in the optimizer's lists, or by its name in Keras,
    `{path of the variable}_{name of the slot}`, and is sliced in the same way as its variable.
    State that belongs to no variable, such as the step count, is copied. Slots of a new variable,
    such as a bias that was switched on, are initialized. If an optimizer needs more than this, it
    has a method `take_over(old, slices)`; `slices` is a dict from the path of a variable of `model`
    to its `VariableSlice`.

    Args:
        optimizer: the optimizer with which the large model was trained; it is not changed.
        report: the `Report` of `remove_dead_channels`.
        model: the compact model that came with the report.
        weight_slots: names of slots that hold weights rather than gradients, such as Keras' moving
            average. Constants that were folded into the weights are added to these slots too. An
            optimizer may name further slots in an attribute `weight_slots`.

    Returns:
        A new optimizer of the same class and configuration, built on `model`'s trainable
        variables; give it to `model.compile`.

    Raises:
        ValueError: an argument of a wrong type; the optimizer is not built, or trained another
            model; the name of a slot does not show its variable, or its shape does not show how to
            slice it (Adafactor); or the optimizer computes weights from gradients alone (Ftrl), and
            a constant was folded into weights.

    Example:

    >>> compact, report = surgery.remove_dead_channels(model)
    >>> optimizer = surgery.slice_optimizer(model.optimizer, report, compact)
    >>> compact.compile(optimizer=optimizer, loss=loss)
    """
    _check_types(optimizer, report, model)
    if not optimizer.built:
        raise ValueError("`optimizer` has no state yet: train, or call `optimizer.build`, first.")
    shifted = any(c.shift is not None and np.any(c.shift) for c in report.slices.values())
    if shifted and isinstance(bare_optimizer(optimizer), _FROM_GRADIENTS):
        raise ValueError(
            f"{optimizer_name(optimizer)} makes the weights again from sums of gradients, and "
            "would lose what surgery folded into them. Start with a new optimizer."
        )
    _check_sources(optimizer, report, model)
    sliced = copied_optimizer(optimizer)
    _choose_like(bare_optimizer(optimizer), bare_optimizer(sliced), report, model)
    exclude_like(sliced, optimizer, lambda: _sources(bare_optimizer(optimizer), report, model))
    # Copies: on PyTorch, arrays are views of the weights.
    weights = [np.array(weight) for weight in model.get_weights()]
    sliced.build(model.trainable_variables)
    # An optimizer with masks draws new masks when it is built, and applies them at once.
    model.set_weights(weights)
    named = (weight_slots,) if isinstance(weight_slots, str) else weight_slots
    weight_slots = {*named, *_weight_slots(bare_optimizer(optimizer))}
    olds, news = _by_owner(optimizer), _by_owner(sliced)
    for (path, name), slot in news.items():
        part = report.slices.get(path)
        old = olds.get((part.source if part else None, name))
        if old is None:
            value = None
        elif part is None:
            value = _array(old) if old.shape == slot.shape else None
        else:
            value = _slice_slot(_array(old), part, slot)
        if part is not None and name in weight_slots and part.shift is not None:
            value = (0.0 if value is None else value) + part.shift
        if value is not None:
            slot.assign(value)
    if hasattr(bare_optimizer(sliced), "take_over"):
        bare_optimizer(sliced).take_over(bare_optimizer(optimizer), report.slices)
    return sliced


def _check_types(optimizer, report, model):
    kinds = {"optimizer": keras.optimizers.Optimizer, "report": Report, "model": keras.Model}
    given = {"optimizer": optimizer, "report": report, "model": model}
    for name, kind in kinds.items():
        if not isinstance(given[name], kind):
            raise ValueError(
                f"`{name}` must be a {kind.__name__}. Received: {given[name]!r} (of type "
                f"{type(given[name]).__name__})"
            )


def _check_sources(optimizer, report, model):
    known = by_path(_keras.variables_of(bare_optimizer(optimizer)))
    parts = (report.slices.get(variable.path) for variable in model.trainable_variables)
    sources = [part.source for part in parts if part and part.source]
    # Removed variables too: without them, another model may have all of the paths that are left.
    missing = [path for path in (*sources, *report.trained) if path not in known]
    if missing:
        raise ValueError(
            f"`optimizer` has no state for {missing[0]!r}, a variable of the large model. "
            "`report` and `model` must come from the model that it trained. `zero_channels` and "
            "`zero_groups` return another model, with other paths of variables: compile and train "
            "that one before its channels are removed, or start with a new optimizer."
        )


def _choose_like(optimizer, sliced, report, model):
    """Keeps excluded variables excluded under their new paths."""
    if hasattr(sliced, "choose_like"):
        variables = model.trainable_variables
        parts = [report.slices.get(v.path) for v in variables]
        sliced.choose_like(optimizer, variables, [part and part.source for part in parts])


def _sources(optimizer, report, model):
    """`[(variable of the model, variable of the optimizer that it was taken from)]`."""
    olds = by_path(_keras.variables_of(optimizer))
    sources = [(v, report.slices.get(v.path)) for v in model.trainable_variables]
    return [(v, olds[part.source]) for v, part in sources if part and part.source in olds]


def _weight_slots(optimizer):
    found = [names for kind, names in _WEIGHTS.items() if isinstance(optimizer, kind)]
    return [*getattr(optimizer, "weight_slots", ()), *(name for names in found for name in names)]


def _array(variable):
    return keras.ops.convert_to_numpy(variable)


def _by_owner(optimizer):
    """`{(path of the model's variable, name of the slot): slot}`.

    For state that belongs to no variable, the path is None and the index is the name: Keras' own
    names have numbers that differ between processes.
    """
    bare = bare_optimizer(optimizer)
    variables = by_path(_keras.variables_of(bare))
    prefixes = [(v.path.replace("/", "_") + "_", path) for path, v in variables.items()]
    places = _places(bare)
    found, others = {}, 0
    for slot in optimizer.variables:
        place = places.get(id(slot))
        own = prefixes if place is None else [prefixes[place]]
        fitting = [pair for pair in own if slot.name.startswith(pair[0])]
        longest = max((len(prefix) for prefix, _ in fitting), default=0)
        owners = [path for prefix, path in fitting if len(prefix) == longest]
        if owners:
            key = owners[0], slot.name[longest:]
        else:
            key, others = (None, others), others + 1
        if key in found or len(owners) > 1 or (not owners and place is not None):
            raise ValueError(
                f"`optimizer` has slots, such as {slot.name!r}, that do not say by their names "
                "which variables they belong to. Start with a new optimizer."
            )
        found[key] = slot
    return found


def _places(optimizer):
    """`{id of a slot: index of its variable}` for the slots in lists, one for each variable.

    Names of slots do not tell `inner/c` from `inner_c`, nor variables with equal paths.
    """
    inner = getattr(getattr(optimizer, "_inner", None), "optimizer", None)
    lists = [
        slots
        for each in (optimizer, inner)
        if each is not None
        for slots in _keras.slots(each).values()
    ]
    lists.append([vars(record) for record in getattr(optimizer, "_records", ())])
    return {
        id(slot): place
        for slots in lists
        for place, own in enumerate(slots)
        for slot in keras.tree.flatten(own)
    }


def _spans(array, part):
    return array.ndim == len(part.shape) and all(
        size in (1, whole) for size, whole in zip(array.shape, part.shape, strict=True)
    )


def _slice_slot(array, part, slot):
    """The part of a slot that belongs to the kept part of its variable."""
    if array.shape == part.shape:
        return part(array)
    if array.shape == tuple(slot.shape):
        return array
    if _spans(array, part):
        return part.spanning(array)
    raise ValueError(
        f"The slot {slot.name!r} has shape {array.shape} for a variable of shape {part.shape}, and "
        "it is not clear how to slice it. Start with a new optimizer."
    )
