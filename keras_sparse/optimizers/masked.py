"""What every optimizer with masks shares: the masks, and the training step inside them."""

import random

import keras
import numpy as np
from keras import ops

from keras_sparse.masks.backend import (
    dense,
    has_value,
    outside_trace,
)
from keras_sparse.masks.distributions import check_distribution, layer_budgets
from keras_sparse.masks.packing import Packing
from keras_sparse.optimizers.choice import ChoosesVariables
from keras_sparse.validation import check_integer, check_number, check_optimizer_numbers

BETA_2 = 0.999
EPSILON = 1e-7
# By inner rule: what trains small networks without normalisation as well as those with it.
LEARNING_RATES = {"adam": 3e-3, "sgd": 0.03}


class MaskedOptimizer(ChoosesVariables, keras.optimizers.Optimizer):
    """Base of the optimizers that keep a mask per weight: momentum SGD (or Adam) inside masks.

    The masks are optimizer variables of type bool, so a checkpoint of model and optimizer is the
    whole state. After every step the weights outside the masks are exactly 0.0, and the ones of
    the masks add up to the budget. They are 0.0 before the first step too, unless the model is
    built by its first step.

    Gradient entries that are NaN or infinite count as zero. A weight that the loss does not reach
    has a gradient of zero. A moving average (`use_ema`) is zero outside the masks too.

    Args:
        learning_rate: float, schedule, callable or None. Defaults to None: 3e-3 with Adam inside,
            0.03 with SGD.
        density: float in (0, 1], the share of the sparse weights that are kept. Defaults to 0.1.
        distribution: how the density is spread over layers: `"erk"`, `"uniform"` or a dict from
            patterns to densities, see `masks.distributions.layer_budgets`. Defaults to `"erk"`.
        momentum: float in [0, 1). Momentum of SGD, first decay rate of Adam. Defaults to 0.9.
        nesterov: bool, for SGD. Defaults to True.
        inner: `"sgd"` or `"adam"`, the rule by which weights inside the masks are trained, or
            None. Defaults to None: Adam, which trains sparse networks in fewer steps, where no
            `learning_rate` is given, and SGD where one is.
        exclude: what is kept dense besides biases and normalisation: a regular expression for
            `variable.path`, a built layer, a variable, or a list of those.
        seed: int, for whatever is random. Defaults to a random one, which a checkpoint keeps.
        **kwargs: the other arguments of `keras.optimizers.Optimizer`: `weight_decay`, `clipnorm`,
            `clipvalue`, `global_clipnorm`, `use_ema`, `ema_momentum`, `ema_overwrite_frequency`,
            `loss_scale_factor`, `gradient_accumulation_steps`, `name`.

    Raises:
        ValueError: an argument out of its range; on `build`, a model without sparse weights or a
            budget that would leave a layer empty.
    """

    # Whether weights outside the masks keep their momentum; else it is zero, like the weight.
    dense_momentum = False

    def __init__(
        self,
        learning_rate=None,
        density=0.1,
        distribution="erk",
        momentum=0.9,
        nesterov=True,
        inner=None,
        exclude=None,
        seed=None,
        **kwargs,
    ):
        check_optimizer_numbers(kwargs)
        if inner is None:
            inner = "adam" if learning_rate is None else "sgd"
        if inner not in LEARNING_RATES:
            raise ValueError(f"`inner` must be 'sgd' or 'adam'. Received: inner={inner!r}")
        if learning_rate is None:
            learning_rate = LEARNING_RATES[inner]
        elif not callable(learning_rate):
            # A rate of 0 trains nothing, and keeps the masks.
            learning_rate = float(check_number("learning_rate", learning_rate, "[0, inf)"))
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.density = check_number("density", density, "(0, 1]")
        self.distribution = check_distribution(distribution)
        self.momentum = check_number("momentum", momentum, "[0, 1)")
        self.nesterov = nesterov
        self.inner = inner
        self._set_exclude(exclude)
        self.seed = None if seed is None else check_integer("seed", seed, "[0, 4294967295]")

    def build(self, variables):
        """Create momenta and masks, and set the weights outside the masks to zero."""
        if self.built:
            return
        # In the trace of a step, TensorFlow would make masks of millions constants of its graph.
        with outside_trace():
            self._build(variables)

    def _build(self, variables):
        super().build(variables)
        # On TensorFlow `update_step` gets variables without a path: decide here, look up by index.
        chosen = self._choose(variables)
        self._check_any(chosen)
        self._sparse = [i for i, is_chosen in enumerate(chosen) if is_chosen]
        sparse = [variables[i] for i in self._sparse]
        self._packing = Packing([v.shape for v in sparse])
        self._slots = self._add_slots(variables)
        seed = random.randrange(2**31) if self.seed is None else self.seed
        self._seed = self._add_constant("seed", np.uint32(seed).view("int32"))
        masks = self._initial_masks(sparse, np.random.default_rng(seed))
        self._masks = [None] * len(variables)
        for i, v, mask in zip(self._sparse, sparse, masks, strict=True):
            self._masks[i] = self._add_constant(
                f"{v.path.replace('/', '_')}_mask", mask, layout=getattr(v, "_layout", None)
            )
        self._add_state(sparse)
        for v, mask in zip(sparse, masks, strict=True):
            # What has no value yet is masked at the end of the first step.
            if has_value(v):
                v.assign(self._first_weights(ops.convert_to_tensor(v), mask))

    def _add_slots(self, variables):
        """Momentum, and for Adam the second moment: a list of lists, by slot and variable."""
        names = ["momentum", "velocity"] if self.inner == "adam" else ["momentum"]
        if self.inner == "sgd" and self.momentum == 0:
            return []
        return [self.add_optimizer_variables(variables, name) for name in names]

    def _add_constant(self, name, value, layout=None):
        """A variable that starts as a NumPy value, also when it is made inside a trace."""
        return self.add_variable(
            shape=value.shape,
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(value, dtype=dtype),
            dtype=value.dtype.name,
            layout=layout,
            name=name,
        )

    def _add_state(self, sparse):
        """Create what else a method keeps; the weights are still what they were before masks."""

    def _initial_masks(self, sparse, rng):
        """NumPy masks for the sparse variables; random ones, with the exact budgets."""
        masks = []
        for variable, budget in zip(sparse, self._budgets(sparse), strict=True):
            mask = np.zeros(variable.shape, bool)
            mask.flat[rng.choice(mask.size, budget, replace=False)] = True
            masks.append(mask)
        return masks

    def _first_weights(self, weight, mask):
        """What a sparse variable starts from, zero outside its mask."""
        return ops.where(mask, weight, 0)

    def _budgets(self, sparse):
        paths = [self._first_paths[i] for i in self._sparse]
        shapes = [tuple(v.shape) for v in sparse]
        return layer_budgets(shapes, paths, self.density, self.distribution)

    @property
    def masks(self):
        """The masks by the path of their weight: a dict of bool `keras.Variable`s."""
        return {self._trainable_variables[i].path: self._masks[i] for i in self._sparse}

    def _mask_variables(self, variables):
        for i in self._sparse:
            mask = ops.convert_to_tensor(self._masks[i])
            variables[i].assign(ops.where(mask, ops.convert_to_tensor(variables[i]), 0))

    def apply(self, grads, trainable_variables=None):
        """Apply one step of gradients; see `keras.optimizers.Optimizer.apply`."""
        grads = list(grads)
        if trainable_variables is not None:
            trainable_variables = list(trainable_variables)
            if not self.built:
                self.build(trainable_variables)
        variables = trainable_variables or self._trainable_variables
        if len(variables) != len(self._trainable_variables):
            raise ValueError(
                f"{type(self).__name__} spreads one budget over all its variables, so it takes "
                "the gradients of all of them in each step. Use one optimizer for each set of "
                f"variables. Received: {len(variables)} variables, built with "
                f"{len(self._trainable_variables)}."
            )
        if any(grad is not None for grad in grads):
            grads = [
                ops.zeros(v.shape, v.dtype) if grad is None and self._is_trained(v) else grad
                for grad, v in zip(grads, variables, strict=True)
            ]
        super().apply(grads, trainable_variables)
        self._undo_what_refills()

    def _is_trained(self, variable):
        return not getattr(variable, "overwrite_with_gradient", False)

    def _undo_what_refills(self):
        """Zeros again, after what Keras does behind the step: averages and constraints."""
        if self.use_ema:
            self._mask_variables(self._model_variables_moving_average)
        constrained = any(self._trainable_variables[i].constraint for i in self._sparse)
        if constrained or (self.use_ema and self.ema_overwrite_frequency):
            self._mask_variables(self._trainable_variables)

    # The one place that sees all layers, and the gradients as they are applied: accumulated,
    # clipped, summed over replicas, and not at all in a step that is skipped.
    if keras.backend.backend() == "tensorflow":

        def _all_reduce_sum_gradients(self, grads_and_vars):
            grads_and_vars = super()._all_reduce_sum_gradients(grads_and_vars)
            self._before_step(*zip(*grads_and_vars, strict=True))
            return grads_and_vars

    else:

        def _backend_update_step(self, grads, trainable_variables, learning_rate):
            self._before_step(grads, trainable_variables)
            super()._backend_update_step(grads, trainable_variables, learning_rate)

    def _before_step(self, gradients, variables):
        """Called in each step with the final gradients of all variables, before `update_step`."""

    def update_step(self, gradient, variable, learning_rate):
        """Train one variable, and set what is outside its mask to zero."""
        index = self._get_variable_index(variable)
        weight = ops.convert_to_tensor(variable)
        gradient = ops.cast(self._finite(gradient), weight.dtype)
        learning_rate = ops.cast(learning_rate, weight.dtype)
        slots = [slot[index] for slot in self._slots]
        old = [ops.convert_to_tensor(slot) for slot in slots]
        change, new = self._inner_step(gradient, learning_rate, *old)
        value = weight + change
        paused = self._is_paused()
        if paused is not None:
            value = ops.where(paused, weight, value)
            new = [ops.where(paused, o, n) for o, n in zip(old, new, strict=True)]
        if self._masks[index] is not None:
            value = self._regularize(index, weight, value, learning_rate)
            mask = ops.convert_to_tensor(self._masks[index])
            value = ops.where(mask, value, 0)
            if not self.dense_momentum:
                new = [ops.where(mask, n, 0) for n in new]
        for slot, n in zip(slots, new, strict=True):
            self.assign(slot, n)
        self.assign(variable, value)

    def _finite(self, gradient):
        gradient = dense(gradient)
        return ops.where(ops.isfinite(gradient), gradient, 0)

    def _inner_step(self, gradient, learning_rate, *slots):
        """The change of a variable, and the new values of its slots."""
        if self.inner == "adam":
            return adam_step(gradient, learning_rate, *slots, self.momentum, self.iterations)
        if not slots:
            return -learning_rate * gradient, []
        return sgd_step(gradient, learning_rate, *slots, self.momentum, self.nesterov)

    def _is_paused(self):
        """Whether this step trains nothing: a bool tensor, or None for never."""
        return None

    def _regularize(self, index, weight, value, learning_rate):
        """What a method does to a sparse weight after the step, before the mask."""
        return value

    def get_config(self):
        """The arguments, for `keras.saving`."""
        return {
            **super().get_config(),
            "density": self.density,
            "distribution": self.distribution,
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "inner": self.inner,
            "seed": self.seed,
        }


def sgd_step(gradient, learning_rate, momentum, decay, nesterov):
    """One step of SGD with momentum, as `keras.optimizers.SGD` does it: change, new slots."""
    momentum = momentum * decay - gradient * learning_rate
    if nesterov:
        return momentum * decay - gradient * learning_rate, [momentum]
    return momentum, [momentum]


def adam_step(gradient, learning_rate, mean, variance, beta_1, iterations):
    """One step of Adam, as `keras.optimizers.Adam` does it: change, new slots."""
    # Counted in float32: half precision cannot count.
    step = ops.cast(iterations, "float32") + 1.0
    correction = ops.sqrt(1.0 - BETA_2**step) / (1.0 - beta_1**step)
    mean = mean + (gradient - mean) * (1.0 - beta_1)
    variance = variance + (ops.square(gradient) - variance) * (1.0 - BETA_2)
    rate = learning_rate * ops.cast(correction, gradient.dtype)
    return -rate * mean / (ops.sqrt(variance) + EPSILON), [mean, variance]
