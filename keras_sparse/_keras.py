"""All uses of Keras beyond its public interface.

Each function names the public interface that it complements. `tests/test_keras.py` tests the
behaviour of Keras that is expected here. After a change of Keras, only this file and
`surgery.copying`, which copies layers attribute by attribute, need changes.
"""

import contextlib
import inspect

import keras
from keras.src.backend.common.symbolic_scope import in_symbolic_scope


def learning_rate(optimizer):
    """The schedule, callable or variable that an optimizer was given.

    `optimizer.learning_rate` is the value at the current step.
    """
    return optimizer._learning_rate


def config_without_rate(optimizer):
    """`optimizer.get_config()` without the learning rate, for a schedule that has no config.

    The optimizers inside an optimizer may share its schedule.
    """
    inner = [own for own in vars(optimizer).values() if isinstance(own, keras.optimizers.Optimizer)]
    changed = [(own, own._learning_rate) for own in (optimizer, *inner)]
    try:
        for own, _ in changed:
            vars(own)["_learning_rate"] = 0.0
        config = optimizer.get_config()
    finally:
        for own, rate in changed:
            vars(own)["_learning_rate"] = rate
    config.pop("learning_rate")
    return config


def compile_config(model):
    """The arguments of `model.compile` as they were given; `get_compile_config` has their configs.

    `jit_compile` is what Keras chose for "auto".
    """
    return model._compile_config.config


def share_steps(optimizer, outer):
    """Let an optimizer share the step count and the learning rate of another.

    There is no public way to set `optimizer.iterations`, or a schedule's own count.
    """
    optimizer._iterations = outer._iterations
    optimizer._learning_rate = outer._learning_rate
    if hasattr(outer, "_distribution_strategy"):
        optimizer._distribution_strategy = outer._distribution_strategy
    # Its state is a part of the outer optimizer's state, and is saved with it.
    optimizer.save_own_variables = lambda store: None
    optimizer.load_own_variables = lambda store: None


def slots(optimizer):
    """`{attribute: list with a slot, or None, for each variable}` of a built optimizer.

    `optimizer.variables` does not tell which variable a slot belongs to. Keras' optimizers keep
    what `add_optimizer_variables` returns, a list in the order of the variables.
    """
    count = len(optimizer._trainable_variables)
    others = ("_variables", "_trainable_variables", "_accumulated_gradients")
    return {
        name: list(value)
        for name, value in vars(optimizer).items()
        if name not in others and isinstance(value, list) and _are_slots(value, count)
    }


def _are_slots(values, count):
    kinds = {isinstance(v, keras.Variable) for v in values if v is not None}
    return len(values) == count and kinds == {True}


def adopt_variables(outer, variables):
    """Make variables that another optimizer created a part of the state of `outer`.

    `optimizer.add_variable` makes new variables only.
    """
    for variable in variables:
        outer._track_variable(variable)


def step_without_variables(optimizer, rate):
    """Run the part of a step that is independent of the variables; Nadam has one."""
    # On PyTorch this also updates all variables, and it needs at least one.
    own = (
        type(optimizer)._backend_update_step is not keras.optimizers.Optimizer._backend_update_step
    )
    if own and keras.backend.backend() != "torch":
        optimizer._backend_update_step([], [], rate)


def decay_weights(optimizer, variables):
    """The decoupled weight decay of `optimizer.apply`."""
    optimizer._apply_weight_decay(variables)


def decay_exclusions(optimizer):
    """What `optimizer.exclude_from_weight_decay` was given: `(is_listed, patterns)`.

    `is_listed` is a function that tells whether a variable was in `var_list`, or None if no
    variable was; `patterns` is a list of regular expressions, as `var_names`.
    """
    keys = getattr(optimizer, "_exclude_from_weight_decay", None)
    pattern = getattr(optimizer, "_exclude_from_weight_decay_pattern", None)
    is_listed = (lambda variable: optimizer._var_key(variable) in keys) if keys else None
    return is_listed, [pattern.pattern] if pattern else []


def batches(optimizer):
    """The variable that counts gradients; `optimizer.iterations` counts applied gradients.

    They differ if gradients are accumulated.
    """
    return optimizer._iterations


def variables_of(optimizer):
    """The variables that were given to `optimizer.build`."""
    return optimizer._trainable_variables


def index_of(optimizer, variable):
    """The index of a variable, or of TensorFlow's variable inside it, in `variables_of`."""
    return optimizer._get_variable_index(variable)


def averages_of(optimizer):
    """The moving averages that `use_ema=True` keeps, one for each variable."""
    return optimizer._model_variables_moving_average


def layout_of(variable):
    """The distribution of a variable over devices: the `layout` of `optimizer.add_variable`."""
    return getattr(variable, "_layout", None)


class FinalGradients:
    """Mixin of an optimizer that reads the gradients of all variables at once.

    `apply` gets the gradients before they are accumulated, clipped and summed over replicas, and
    also in steps that are skipped. `update_step` gets the gradient of one variable.
    """

    def _before_step(self, gradients, variables):
        """Called in each step with the final gradients, before `update_step`."""

    def _before_variables(self, learning_rate):
        """Called in each step before all variables are updated, outside of a replica."""

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        if keras.backend.backend() != "tensorflow":
            self._before_step(grads, trainable_variables)
        self._before_variables(learning_rate)
        super()._backend_update_step(grads, trainable_variables, learning_rate)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        # Called on TensorFlow only.
        grads_and_vars = super()._all_reduce_sum_gradients(grads_and_vars)
        self._before_step(*zip(*grads_and_vars, strict=True))
        return grads_and_vars


def flatten_layers(model, include_self=True):
    """All layers, including those inside nested models and layers; `model.layers` omits them."""
    return model._flatten_layers(include_self=include_self)


def functional_of(model):
    """The functional model inside a `Sequential` one; None before it is built."""
    return model._functional


def nodes_by_depth(model):
    """The nodes of a functional model in lists, from the inputs to the outputs.

    `model.layers` has each layer once, however often it is called.
    """
    by_depth = model._nodes_by_depth
    return [by_depth[depth] for depth in sorted(by_depth, reverse=True)]


def origin(tensor):
    """The origin of a symbolic tensor: `operation`, `node_index`; None for other tensors."""
    return getattr(tensor, "_keras_history", None)


def node_of(tensor):
    """The call that a symbolic tensor comes from."""
    return inbound_nodes(origin(tensor).operation)[origin(tensor).node_index]


def inbound_nodes(operation):
    """The list of the calls of an operation (not a copy)."""
    return operation._inbound_nodes


def outbound_nodes(operation):
    """The list of the calls that read an operation's outputs (not a copy)."""
    return operation._outbound_nodes


def mask_of(tensor):
    """The mask that layers such as `Embedding(mask_zero=True)` attach, None without one."""
    return getattr(tensor, "_keras_mask", None)


def set_mask(tensor, mask):
    """Sets the mask that `mask_of` returns."""
    tensor._keras_mask = mask


def make_dense(tensor):
    """Marks a symbolic tensor as dense.

    Keras marks the product of a symbolic tensor and an array as sparse, and layers refuse it.
    """
    vars(tensor)["_sparse"] = False


def inputs_structure(model):
    """The nested structure of a functional model's inputs; `model.inputs` is flat."""
    return model._inputs_struct


def outputs_structure(model):
    """The nested structure of a functional model's outputs; `model.outputs` is flat."""
    return model._outputs_struct


def build_for(model, batch):
    """Build a model and its optimizer for a batch now, as the first step of `fit` would."""
    model._symbolic_build(data_batch=batch)
    model._maybe_symbolic_build = lambda **_: None


def infers_output():
    """Whether a layer's `call` runs only to infer its output, without symbolic tensors."""
    return in_symbolic_scope()


@contextlib.contextmanager
def symbolic_like_arrays():
    """Within the block, symbolic tensors support `x[None]` and `x[1:]`, with an int rank."""
    tensor, rank = keras.KerasTensor.__getitem__, keras.ops.ndim

    def item(self, key):
        return tensor(self, key if isinstance(key, (int, tuple, list)) else (key,))

    def rank_of(x):
        return len(x.shape) if isinstance(x, keras.KerasTensor) else rank(x)

    keras.KerasTensor.__getitem__, keras.ops.ndim = item, rank_of
    try:
        yield
    finally:
        keras.KerasTensor.__getitem__, keras.ops.ndim = tensor, rank


@contextlib.contextmanager
def backend_unsaid():
    """Within the block, layers see the backend "none", so they use no backend-specific code."""
    places = keras.config, keras.backend
    own = [place.backend for place in places]
    for place in places:
        place.backend = lambda: "none"
    try:
        yield
    finally:
        for place, function in zip(places, own, strict=True):
            place.backend = function


_NO_TENSORS = "outputs must be tensors"


@contextlib.contextmanager
def outputs_as_called():
    """Within the block, outputs of layers have the sizes that `call` computes."""
    infer = keras.Layer.symbolic_call

    def told(self, *args, **kwargs):
        return _as_called(self, infer(self, *args, **kwargs), args, kwargs)

    keras.Layer.symbolic_call = told
    try:
        yield
    finally:
        keras.Layer.symbolic_call = infer


def _as_called(layer, outputs, args, kwargs):
    """The declared output of a layer, completed by the output of its `call` if that knows more.

    `compute_output_shape` of a subclass may declare one output where `call` returns several; then
    the layer is traced. `EinsumDense` does not declare sizes that its config leaves open.
    """
    if type(layer).compute_output_shape is keras.Layer.compute_output_shape:
        return outputs
    of_keras = type(layer).__module__.startswith("keras.")
    flat = keras.tree.flatten(outputs)
    if of_keras and not _open(flat):
        return outputs
    try:
        called = keras.Operation.compute_output_spec(layer, *args, **kwargs)
    except Exception:
        return outputs
    others = keras.tree.flatten(called)
    if len(flat) != len(others):
        raise ValueError(f"{_NO_TENSORS}, as many as `compute_output_shape` says")
    # For a subclass, an output that depends on open sizes may be inferred wrongly.
    sure = of_keras or not _open(keras.tree.flatten((args, kwargs)))
    return called if _open(flat) and sure else outputs


def _open(leaves):
    return any(None in leaf.shape for leaf in leaves if isinstance(leaf, keras.KerasTensor))


@contextlib.contextmanager
def calls_seen(layers, replace, inline):
    """Within the block, layers called on arrays only are called on placeholders instead.

    `layer(array)` runs at once, and is not in the graph. Calls that a layer makes while its output
    is inferred are not changed. Arguments that are None are not passed on, because a layer may
    accept them in `call`, but not in its inherited `compute_output_spec`.

    Args:
        layers: list of layers.
        replace: function that maps each leaf of the arguments to its replacement.
        inline: function `(layer, args, kwargs)` that returns the outputs of a layer if some are not
            tensors, which Keras refuses in a graph.
    """
    with outputs_as_called():
        yield from _calls_seen({id(layer) for layer in layers}, replace, inline)


def _calls_seen(known, replace, inline):
    depth = [0]
    call, infer = keras.Layer.__call__, keras.Layer.symbolic_call

    def replaced_call(self, *args, **kwargs):
        if not depth[0]:
            plain = inspect.signature(self.call).parameters
            optional = {key for key, value in plain.items() if value.default is None}
            kwargs = {k: v for k, v in kwargs.items() if v is not None or k not in optional}
        if id(self) in known and not depth[0]:
            leaves = keras.tree.flatten((args, kwargs))
            if not any(isinstance(leaf, keras.KerasTensor) for leaf in leaves):
                args, kwargs = keras.tree.map_structure(replace, (args, kwargs))
        try:
            return call(self, *args, **kwargs)
        except ValueError as error:
            if depth[0] or _NO_TENSORS not in str(error):
                raise
            return inline(self, args, kwargs)

    def counted(self, *args, **kwargs):
        depth[0] += 1
        try:
            return infer(self, *args, **kwargs)
        finally:
            depth[0] -= 1

    keras.Layer.__call__, keras.Layer.symbolic_call = replaced_call, counted
    try:
        yield
    finally:
        keras.Layer.__call__, keras.Layer.symbolic_call = call, infer
