"""Keeps variables excluded from weight decay: the config of an optimizer does not name them."""

from keras_sparse import _keras
from keras_sparse.loss_scaling import bare_optimizer
from keras_sparse.names import free_name
from keras_sparse.surgery.graph import Graph
from keras_sparse.surgery.units import weights_by_name


def exclude_like(optimizer, given, sources):
    """Excludes from weight decay what another optimizer excludes.

    Args:
        optimizer: a `keras.optimizers.Optimizer`; it is changed.
        given: the other optimizer, on which `exclude_from_weight_decay` may have been called.
        sources: function that returns a list of pairs: a variable of `optimizer`, and the variable
            of `given` that it comes from. It is called if variables were excluded one by one.
    """
    is_listed, patterns = _exclusions(given)
    listed = [new for new, old in sources() if is_listed(old)] if is_listed else []
    _exclude(optimizer, listed, patterns)


def saved_exclusions(model):
    """What a compiled model's optimizer excludes from weight decay, JSON-serializable.

    Variables are saved by their index: their paths may change when Keras loads a model.
    """
    is_listed, patterns = _exclusions(model.optimizer)
    variables = model.trainable_variables if is_listed else []
    return {
        "indices": [index for index, variable in enumerate(variables) if is_listed(variable)],
        "patterns": patterns,
    }


def exclude_saved(model, saved):
    """Excludes from weight decay what `saved_exclusions` gave for the model before it was saved.

    Raises:
        IndexError, KeyError, TypeError, re.error: `saved` is damaged, or of another model.
    """
    listed = [model.trainable_variables[index] for index in saved["indices"]]
    _exclude(model.optimizer, listed, saved["patterns"])


def _exclusions(optimizer):
    optimizer = bare_optimizer(optimizer)
    # An optimizer with masks leaves weight decay to the one inside.
    return _keras.decay_exclusions(
        getattr(getattr(optimizer, "_inner", None), "optimizer", optimizer)
    )


def _exclude(optimizer, listed, patterns):
    if listed or patterns:
        bare_optimizer(optimizer).exclude_from_weight_decay(listed, patterns)


def same_weights(model, original):
    """`[(weight, weight of the original)]` for the weights of layers with the same name.

    Args:
        model: a `keras.Model` without some of the channels, or layers, of `original`; nested models
            may be inlined.
        original: a `keras.Model`.
    """
    olds = _by_name(original)
    return [(weight, olds[name]) for name, weight in _by_name(model).items() if name in olds]


def _by_name(model):
    """`{(layer, weight name): weight}`; a layer has the name that it gets if models are inlined."""
    layers, graph = {}, Graph(model)
    outputs = set(graph.model.output_names)
    # As in `surgery.rebuild`, in the order of the first calls.
    for unit in dict.fromkeys(call.unit for call in graph.calls):
        weights = weights_by_name(unit.operation)
        if not weights:
            continue
        # The names of outputs stay with their layers.
        taken = {*layers, *(outputs - {unit.name})}
        flat = unit.name.replace("/", "_")
        name = free_name(unit.operation.name, flat, is_taken=taken.__contains__)
        layers[name] = weights
    return {(name, own): w for name, weights in layers.items() for own, w in weights.items()}
