"""What every optimizer with masks shares: state, the training step, when masks change."""

import functools
import random

import keras
import numpy as np
from keras import ops

from keras_sparse.masks.backend import (
    compiled,
    dense,
    has_value,
    outside_trace,
)
from keras_sparse.masks.distributions import layer_budgets
from keras_sparse.masks.packing import Packing
from keras_sparse.optimizers.snapshot import Snapshot
from keras_sparse.variables import is_prunable, path_patterns

BETA_2 = 0.999
EPSILON = 1e-7


class MaskedOptimizer(keras.optimizers.Optimizer):
    """Base of the optimizers that keep a mask per weight: momentum SGD (or Adam) inside masks.

    The masks are optimizer variables of type bool, so a checkpoint of model and optimizer is the
    whole state. After every step the weights outside the masks are exactly 0.0, and the ones of
    the masks add up to the budget. They are 0.0 before the first step too, unless the model is
    built by its first step.

    Where masks change, they do so at the start of step `t` whenever `t > 0` is a multiple of
    `update_every`, inside the compiled step; so none change after the last step of training, and
    what is validated at the end of an epoch is what was trained.

    Gradient entries that are NaN or infinite count as zero. A weight that the loss does not reach
    has a gradient of zero. A moving average (`use_ema`) is zero outside the masks too.

    A subclass writes `_rewire`, which maps a `Snapshot` to new masks, or `_initial_masks`.

    Args:
        learning_rate: float, schedule or callable. Defaults to 0.1.
        density: float in (0, 1], the share of the sparse weights that are kept. Defaults to 0.1.
        distribution: how the density is spread over layers: `"erk"`, `"uniform"` or a dict from
            patterns to densities, see `masks.distributions.layer_budgets`. Defaults to `"erk"`.
        momentum: float in [0, 1). Momentum of SGD, first decay rate of Adam. Defaults to 0.9.
        nesterov: bool, for SGD. Defaults to True.
        inner: `"sgd"` or `"adam"`, the rule by which weights inside the masks are trained.
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
    # Whether `_rewire` looks at gradients.
    needs_gradients = False
    # Whether the step at which masks change trains nothing.
    pauses = False

    def __init__(
        self,
        learning_rate=0.1,
        density=0.1,
        distribution="erk",
        momentum=0.9,
        nesterov=True,
        inner="sgd",
        exclude=None,
        seed=None,
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, **kwargs)
        if not 0 <= momentum < 1:
            raise ValueError(f"`momentum` is in [0, 1). Received: momentum={momentum}")
        if inner not in ("sgd", "adam"):
            raise ValueError(f"`inner` must be 'sgd' or 'adam'. Received: inner={inner!r}")
        self.density = density
        self.distribution = distribution
        self.momentum = momentum
        self.nesterov = nesterov
        self.inner = inner
        self.exclude = path_patterns(exclude)
        self.seed = seed
        self._every = None

    # State

    def build(self, variables):
        """Create momenta and masks, and set the weights outside the masks to zero."""
        if self.built:
            return
        super().build(variables)
        # On TensorFlow `update_step` gets variables without a path: decide here, look up by index.
        self._sparse = [i for i, v in enumerate(variables) if is_prunable(v, self.exclude)]
        if not self._sparse:
            raise ValueError(
                f"{type(self).__name__} finds no weight to make sparse: kernels and embeddings "
                f"that `exclude` does not match. Received: exclude={self.exclude}, variables="
                f"{[v.path for v in variables]}"
            )
        sparse = [variables[i] for i in self._sparse]
        self._packing = Packing([v.shape for v in sparse])
        self._slots = self._add_slots(variables)
        seed = random.randrange(2**31) if self.seed is None else self.seed
        self._seed = self._add_constant("seed", np.int32(seed))
        masks = self._initial_masks(sparse, np.random.default_rng(seed))
        self._masks = [None] * len(variables)
        for i, v, mask in zip(self._sparse, sparse, masks, strict=True):
            self._masks[i] = self._add_constant(
                f"{v.path.replace('/', '_')}_mask", mask, layout=getattr(v, "_layout", None)
            )
        changes = np.zeros(len(sparse), "int32")
        self._pruned = self._add_constant("pruned", changes)
        self._grown = self._add_constant("grown", changes)
        self._extras = self._add_state(sparse)
        with outside_trace():
            for v, mask in zip(sparse, masks, strict=True):
                # What has no value yet is masked at the end of the first step.
                if has_value(v):
                    v.assign(ops.where(mask, ops.convert_to_tensor(v), 0))

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
        """Create what else a method keeps; returns the list of what `_rewire` renews.

        Here the weights are still what they were before the masks.
        """
        return []

    def _initial_masks(self, sparse, rng):
        """NumPy masks for the sparse variables; random ones, with the exact budgets."""
        masks = []
        for variable, budget in zip(sparse, self._budgets(sparse), strict=True):
            mask = np.zeros(variable.shape, bool)
            mask.flat[rng.choice(mask.size, budget, replace=False)] = True
            masks.append(mask)
        return masks

    def _budgets(self, sparse):
        shapes, paths = [tuple(v.shape) for v in sparse], [v.path for v in sparse]
        return layer_budgets(shapes, paths, self.density, self.distribution)

    @property
    def masks(self):
        """The masks by the path of their weight: a dict of bool `keras.Variable`s."""
        return {self._trainable_variables[i].path: self._masks[i] for i in self._sparse}

    @property
    def mask_changes(self):
        """What the last update did: `{path: {"pruned": int, "grown": int}}`."""
        pruned, grown = (ops.convert_to_numpy(v) for v in (self._pruned, self._grown))
        return {
            path: {"pruned": int(pruned[k]), "grown": int(grown[k])}
            for k, path in enumerate(self.masks)
        }

    # When masks change

    def _set_updates(self, update_every, steps_per_epoch, schedule):
        """Called by the constructors of methods whose masks change."""
        if update_every == "epoch":
            if steps_per_epoch is None:
                raise ValueError(
                    "With update_every='epoch' give `steps_per_epoch`, the number of batches; or "
                    "update_every=None and the callback MaskUpdate('epoch')."
                )
            steps = steps_per_epoch
        else:
            steps = update_every
        if steps is not None and (not isinstance(steps, int) or steps < 1):
            raise ValueError(
                "`update_every` is a number of steps, 'epoch', or None. Received: "
                f"update_every={update_every!r}, steps_per_epoch={steps_per_epoch!r}"
            )
        self.update_every = update_every
        self.steps_per_epoch = steps_per_epoch
        self._schedule = schedule
        self._every = steps

    def _amounts(self, steps):
        """What the schedule says at each of these steps, as an array that `_rewire` gets a row of.

        Computed by NumPy, for compiled and eager code have different cosines.
        """
        return np.array([self._schedule(step) for step in steps], "float32")

    @functools.cached_property
    def _amounts_by_update(self):
        updates = -(-self._schedule.end // self._every) + 2
        return self._amounts(range(0, updates * self._every, self._every))

    def _is_active(self, amounts):
        """Which of the updates change anything."""
        return amounts > 0

    def _by_update(self, table):
        """The row of a table by update that this step would use."""
        number = ops.cast(self.iterations, "int32") // self._every
        return ops.take(table, ops.minimum(number, len(table) - 1), axis=0)

    def _amount(self):
        return self._by_update(self._amounts_by_update)

    def _due(self):
        """Whether this step changes the masks."""
        step = ops.cast(self.iterations, "int32")
        active = self._by_update(self._is_active(self._amounts_by_update))
        due = ops.logical_and(ops.equal(step % self._every, 0), ops.logical_and(step > 0, active))
        return ops.logical_and(due, self._is_last_micro_step())

    def _is_last_micro_step(self):
        # JAX runs the whole step for each accumulated gradient, and keeps what the last one did.
        micro_steps = self.gradient_accumulation_steps or 1
        return ops.equal((ops.convert_to_tensor(self._iterations) + 1) % micro_steps, 0)

    # How masks change

    def _rewire(self, snapshot):
        """New masks.

        Args:
            snapshot: the `Snapshot` of the network.

        Returns:
            A tuple: packed bool masks, how many were pruned by layer, how many grown by layer
            (int32), and a list of new values for what `_add_state` returned.
        """
        raise NotImplementedError

    def _tensors(self, gradients, amount):
        """What a snapshot is made of, as plain tensors."""

        def values(variables):
            return [ops.convert_to_tensor(variables[i]) for i in self._sparse]

        return {
            "weights": values(self._trainable_variables),
            "masks": values(self._masks),
            "slots": [values(slot) for slot in self._slots] if self.dense_momentum else [],
            "gradients": gradients,
            "extras": [ops.convert_to_tensor(v) for v in self._extras],
            "amount": amount,
            "seed": ops.convert_to_tensor(self._seed),
            "step": ops.cast(self.iterations, "int32"),
        }

    def _rewired(self, tensors):
        mask, pruned, grown, extras = self._rewire(Snapshot(self._packing, tensors))
        return [*self._packing.unpack(mask), pruned, grown, *extras]

    @functools.cached_property
    def _compiled_rewired(self):
        return compiled(self._rewired)

    def _mask_state(self):
        """The variables that an update writes, in the order of `_rewired`."""
        return [*(self._masks[i] for i in self._sparse), self._pruned, self._grown, *self._extras]

    def _update_in_step(self, gradients):
        gradients = self._sparse_gradients(gradients) if self.needs_gradients else []
        amount = self._amount()
        variables = self._mask_state()
        old = [ops.convert_to_tensor(v) for v in variables]
        new = ops.cond(
            self._due(), lambda: self._rewired(self._tensors(gradients, amount)), lambda: old
        )
        # JAX allows no assignment inside a branch.
        for variable, value in zip(variables, new, strict=True):
            self.assign(variable, value)

    def is_update_time(self, every):
        """Whether `every` steps (not batches of an accumulated one) have passed since an update."""
        step, micro_step = divmod(int(self._iterations), self.gradient_accumulation_steps or 1)
        return step > 0 and micro_step == 0 and step % every == 0

    def update_masks(self, gradients=None):
        """Change the masks now, between two training steps.

        With `update_every=None` this is the only thing that changes them. Called when the count of
        steps is a multiple of N, it gives the same bits as `update_every=N`.

        Args:
            gradients: for methods that grow by gradient, a list of gradients, one for each
                trainable variable.

        Raises:
            ValueError: the optimizer is not built, masks of this method do not change, or
                gradients are missing.
        """
        if not self.built:
            raise ValueError(
                "`update_masks()` needs a built optimizer: call "
                "`optimizer.build(model.trainable_variables)`, or train first."
            )
        if not hasattr(self, "_schedule"):
            raise ValueError(f"The masks of {type(self).__name__} never change.")
        if self.needs_gradients and gradients is None:
            raise ValueError(
                f"{type(self).__name__} grows by gradient: give `update_masks(gradients=...)`, or "
                "let the training step do it with update_every=<number of steps>."
            )
        gradients = self._sparse_gradients(gradients) if self.needs_gradients else []
        amount = ops.convert_to_tensor(self._amounts([int(self.iterations)])[0])
        new = self._compiled_rewired(self._tensors(gradients, amount))
        for variable, value in zip(self._mask_state(), new, strict=True):
            variable.assign(value)
        self._mask_variables(self._trainable_variables)
        if not self.dense_momentum:
            for slot in self._slots:
                self._mask_variables(slot)

    def _sparse_gradients(self, gradients):
        return [self._finite(gradients[i]) for i in self._sparse]

    def _mask_variables(self, variables):
        for i in self._sparse:
            mask = ops.convert_to_tensor(self._masks[i])
            variables[i].assign(ops.where(mask, ops.convert_to_tensor(variables[i]), 0))

    # The training step

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
        if self._every is not None:
            indices = map(self._get_variable_index, variables)
            self._update_in_step(dict(zip(indices, gradients, strict=True)))

    def update_step(self, gradient, variable, learning_rate):
        """Train one variable, and set what is outside its mask to zero."""
        index = self._get_variable_index(variable)
        weight = ops.convert_to_tensor(variable)
        gradient = ops.cast(self._finite(gradient), weight.dtype)
        learning_rate = ops.cast(learning_rate, weight.dtype)
        slots = [slot[index] for slot in self._slots]
        old = [ops.convert_to_tensor(slot) for slot in slots]
        change, new = self._step(gradient, learning_rate, *old)
        value = weight + change
        if self.pauses and self._every is not None:
            due = self._due()
            value = ops.where(due, weight, value)
            new = [ops.where(due, o, n) for o, n in zip(old, new, strict=True)]
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

    def _step(self, gradient, learning_rate, *slots):
        """The change of a variable, and the new values of its slots."""
        if self.inner == "adam":
            return self._adam(gradient, learning_rate, *slots)
        if not slots:
            return -learning_rate * gradient, []
        momentum = slots[0] * self.momentum - gradient * learning_rate
        if self.nesterov:
            return momentum * self.momentum - gradient * learning_rate, [momentum]
        return momentum, [momentum]

    def _adam(self, gradient, learning_rate, mean, variance):
        step = ops.cast(self.iterations, "float32") + 1.0
        correction = ops.sqrt(1.0 - BETA_2**step) / (1.0 - self.momentum**step)
        mean = mean + (gradient - mean) * (1.0 - self.momentum)
        variance = variance + (ops.square(gradient) - variance) * (1.0 - BETA_2)
        rate = learning_rate * ops.cast(correction, gradient.dtype)
        return -rate * mean / (ops.sqrt(variance) + EPSILON), [mean, variance]

    def _regularize(self, index, weight, value, learning_rate):
        """What a method does to a sparse weight after the step, before the mask."""
        return value

    def get_config(self):
        """The arguments, for `keras.saving`."""
        config = {
            **super().get_config(),
            "density": self.density,
            "distribution": self.distribution,
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "inner": self.inner,
            "exclude": list(self.exclude),
            "seed": self.seed,
        }
        if hasattr(self, "_schedule"):
            config["update_every"] = self.update_every
            config["steps_per_epoch"] = self.steps_per_epoch
        return config
