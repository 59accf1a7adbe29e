"""Trains a compact model on the outputs of the given model, with `keras.distillation`."""

import copy
import json

import keras

from keras_sparse import _keras
from keras_sparse.compression.data import has_sample_weights
from keras_sparse.compression.probe import compile_arguments, loss_arguments
from keras_sparse.surgery.functional import functional
from keras_sparse.surgery.graph import Graph
from keras_sparse.surgery.group_zeroing import zeroed_and_sources
from keras_sparse.validation import check_number


class _Distiller(keras.distillation.Distiller):
    """Keras' `Distiller`, with regularization losses added to its loss."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The weighted sum of both losses, plus the losses that layers add."""
        if sample_weight is not None:
            raise ValueError(_NO_SAMPLE_WEIGHTS)
        added = list(self.losses)
        loss = super().compute_loss(x, y, y_pred, training=training)
        return keras.ops.sum(keras.ops.stack([loss, *added])) if added else loss


_SIDES = ("teacher_layer_name", "student_layer_name")
_NO_SAMPLE_WEIGHTS = (
    "`distillation` cannot be used with sample weights, which `keras.distillation.Distiller` does "
    "not use. Leave one of them out, in `validation_data` too."
)


def check_distillation(model, losses, student_loss_weight, datasets):
    """Checks the distillation arguments of `compress`, before any training.

    Args:
        model: the teacher, a compiled `keras.Model`.
        losses: the argument `distillation` of `compress`.
        student_loss_weight: the weight of the model's own loss.
        datasets: list of the training data and the validation data.

    Raises:
        ValueError: Keras does not support the distillation.
    """
    check_number("student_loss_weight", student_loss_weight, "[0, 1]")
    for loss in as_list(losses):
        if not isinstance(loss, keras.distillation.DistillationLoss):
            raise ValueError(
                "`distillation` must be a `keras.distillation.DistillationLoss`, such as "
                f"`keras.distillation.LogitsDistillation()`, or a list. Received: {losses!r}"
            )
    if not as_list(losses):
        raise ValueError("`distillation` must have at least one loss. Received: an empty list")
    outputs = functional(model).outputs
    if len(outputs) != 1:
        raise ValueError(
            f"`distillation` needs a model with one output. {model.name!r} has {len(outputs)}."
        )
    if loss_arguments(model)["loss_weights"] is not None:
        raise ValueError(
            "`distillation` does not use `loss_weights`: compile the model without, and set "
            "`student_loss_weight`."
        )
    if any(has_sample_weights(data) for data in datasets):
        raise ValueError(_NO_SAMPLE_WEIGHTS)
    for loss in as_list(losses):
        if isinstance(loss, keras.distillation.LogitsDistillation):
            _check_logits(outputs[0])
            _check_no_crossentropy(loss)


def as_list(losses):
    """Distillation losses as a list."""
    return list(losses) if isinstance(losses, (list, tuple)) else [losses]


def described(loss):
    """The class name and config of a distillation loss, as JSON-serializable values."""
    config = loss.get_config() if hasattr(loss, "get_config") else {}
    return {"class_name": type(loss).__name__, **json.loads(json.dumps(config, default=str))}


def distiller(model, student, losses, student_loss_weight):
    """Makes a model that trains a student in `fit`.

    Args:
        model: the teacher; it is not changed.
        student: a compiled `keras.Model`. The distiller trains it with the student's optimizer.
        losses: `DistillationLoss`, or a list.
        student_loss_weight: float in [0, 1].

    Returns:
        A compiled `keras.distillation.Distiller`.

    Raises:
        ValueError: the layers or shapes of the two models do not fit the losses.
    """
    # A copy: Keras freezes the teacher.
    teacher, _, names = zeroed_and_sources(model, {})
    given = [_of_probabilities(loss) for loss in as_list(losses)]
    losses = [_translated(loss, teacher, student, names) for loss in given]
    for loss, own in zip(losses, given, strict=True):
        _check_features(teacher, student, loss, _layer_names(own))
    compiled = compile_arguments(model)
    found = _Distiller(
        teacher,
        student,
        losses,
        student_loss_weight=student_loss_weight,
        dtype=student.dtype_policy,
    )
    student.optimizer.build(student.trainable_variables)
    found.compile(
        optimizer=student.optimizer,
        loss=keras.tree.flatten(compiled["loss"])[0],
        metrics=[metric for metric in keras.tree.flatten(compiled["metrics"]) if metric],
        weighted_metrics=compiled["weighted_metrics"],
        run_eagerly=student.run_eagerly,
        jit_compile=student.jit_compile,
        # The student's optimizer already scales the loss.
        auto_scale_loss=False,
    )
    return found


def _of_probabilities(loss):
    """A distillation loss whose KL divergence is that of probabilities.

    `LogitsDistillation` of Keras 3.15 applies the softmax only to an instance of `KLDivergence`.
    Its default, `"kl_divergence"`, is computed from the logits themselves.
    """
    if not isinstance(loss, keras.distillation.LogitsDistillation):
        return loss
    found = copy.copy(loss)
    found.loss = keras.tree.map_structure(
        lambda own: keras.losses.KLDivergence() if own is keras.losses.kl_divergence else own,
        loss.loss,
    )
    return found


def _check_no_crossentropy(loss):
    """Raises a `ValueError` for a cross-entropy of logits, whose targets must be probabilities."""
    for own in keras.tree.flatten(loss.loss):
        name = getattr(own, "__name__", type(own).__name__)
        if "crossentropy" in name.lower():
            raise ValueError(
                f"`distillation` has the loss {name}. Keras computes it from the logits of the "
                "teacher, and they are no probabilities. Give "
                "`keras.distillation.LogitsDistillation(temperature)`, whose KL divergence is the "
                "cross-entropy less a constant."
            )


def _check_logits(output):
    """Raises a `ValueError` if a model's output is not logits of several classes."""
    layer = _keras.origin(output).operation
    softmax = isinstance(layer, keras.layers.Softmax) or (
        getattr(layer, "activation", None) is keras.activations.softmax
    )
    if softmax:
        raise ValueError(
            f"`distillation` by logits needs a model that ends in logits. The output of "
            f"{layer.name!r} is a softmax: give "
            "`keras.distillation.FeatureDistillation(loss='kl_divergence')`, or a model without "
            "the softmax, compiled with a loss `from_logits=True`."
        )
    if output.shape[-1] == 1:
        raise ValueError(
            f"`distillation` by logits needs several classes. The output of {layer.name!r} has "
            "one: give `keras.distillation.FeatureDistillation(loss='mse')`."
        )


def _layer_names(loss):
    """The layers of teacher and student that a loss compares; None for the final output."""
    return [getattr(loss, side, None) for side in _SIDES]


def _translated(loss, teacher, student, names):
    """A loss with the names of layers in the teacher and the student.

    Nested models are inlined in both, so that their layers may have other names.

    Args:
        loss: a `DistillationLoss` with the names that layers have in reports on the given model.
        teacher, student: `keras.Model`s.
        names: `{name in teacher: name in the given model}`.

    Raises:
        ValueError: there is no such layer, or its name in the student is not known.
    """
    if not any(_layer_names(loss)):
        return loss
    own = {given: name for name, given in reversed(names.items())}
    # Inputs, and outputs with the name of a nested model.
    own |= {layer.name: layer.name for layer in teacher.layers if layer.name not in names}
    found = copy.copy(loss)
    for side, name in zip(_SIDES, _layer_names(loss), strict=True):
        if name is not None and name not in own:
            raise ValueError(
                f"`distillation` does not fit the model: No such layer: {name!r}. Give one of "
                f"{sorted(own)}."
            )
        setattr(found, side, own.get(name))
    moved = found.student_layer_name or ""
    if any(f"{moved}_".startswith(f"{taken}_") for taken in _taken(teacher, student)):
        raise ValueError(
            f"`distillation` names the layer {loss.student_layer_name!r}. A layer of layers, from "
            "which channels were removed, has an inner layer of that name, so the compact model "
            "has other names. Name the layers differently, or `exclude` those of the layer of "
            "layers."
        )
    return found


def _taken(teacher, student):
    """Names of the teacher's layers that layers within its layers have in the student."""
    left = {layer.name for layer in student.layers}
    names = {layer.name for layer in teacher.layers}
    return {
        call.operation.name
        for scope in Graph(teacher).scopes
        if scope.call.operation in teacher.layers and scope.call.operation.name not in left
        for call in scope.inner
    } & names


def _check_features(teacher, student, loss, given_names):
    try:
        loss.validate_model_compatibility(teacher, student)
    except ValueError as error:
        raise ValueError(f"`distillation` does not fit the model: {error}") from error
    names = _layer_names(loss)
    if None in names:
        return
    given, found = (
        keras.tree.map_structure(lambda tensor: tensor.shape, model.get_layer(name).output)
        for model, name in zip((teacher, student), names, strict=True)
    )
    if given != found:
        raise ValueError(
            f"`distillation` compares the layer {given_names[0]!r} of the given model, of shape "
            f"{given}, with {given_names[1]!r} of the compact one, of shape {found}: its channels "
            f"were removed. Give exclude=[{given_names[1]!r}], so that they stay, or another layer."
        )
