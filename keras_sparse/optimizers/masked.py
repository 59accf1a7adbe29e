"""Base of the optimizers with masks."""

import random
import warnings

import keras
import numpy as np
from keras import ops

from keras_sparse import _keras
from keras_sparse.masks.backend import (
    dense,
    has_value,
    outside_trace,
    value_outside_trace,
)
from keras_sparse.masks.packing import Packing
from keras_sparse.optimizers import inner as inner_steps
from keras_sparse.optimizers.choice import ChoosesVariables
from keras_sparse.validation import (
    check_integer,
    check_learning_rate,
    check_number,
    check_optimizer_numbers,
)
from keras_sparse.variables import numbered


class MaskedOptimizer(ChoosesVariables, _keras.FinalGradients, keras.optimizers.Optimizer):
    """Base of the optimizers that mask weights, and train the others with any optimizer.

    The masks are optimizer variables of type bool, so a checkpoint of model and optimizer has the
    whole state. After every step the weights outside the masks are exactly 0.0, and the number of
    weights inside is the budget. The weights outside are 0.0 before the first step too, unless the
    first step builds the model.

    NaN and infinite entries of a gradient count as zero. Gradients are clipped by their norm over
    all weights, also those outside of masks that change. If the loss does not depend on a weight,
    its gradient is zero. A moving average (`use_ema`) is zero outside the masks too.

    Args:
        learning_rate: float, schedule, callable or None. Defaults to None: 3e-3 for Adam and 0.03
            for SGD, if `inner` is their name or None, else the rate of `inner`.
        momentum: float in [0, 1), for an `inner` of `"sgd"`, `"adam"` or None: momentum of SGD,
            first decay rate of Adam. Any other `inner` has its own. Defaults to None: 0.9.
        nesterov: bool, for SGD by name or by default. Defaults to None: True.
        inner: the optimizer that trains the weights inside the masks: a
            `keras.optimizers.Optimizer`, such as `keras.optimizers.AdamW(1e-4)`, the name of one,
            or None. Its clipping, averaging, weight decay and accumulation apply.
            Defaults to None: Adam, which trains sparse networks in fewer steps, if no
            `learning_rate` is given, else SGD.
        exclude: variables to keep dense besides biases and normalisation: a regular expression for
            `variable.path`, a built layer, a variable, or a list of those.
        seed: int, for random choices. Defaults to a random seed, which a checkpoint keeps.
        **kwargs: the other arguments of `keras.optimizers.Optimizer`: `weight_decay`, `clipnorm`,
            `clipvalue`, `global_clipnorm`, `use_ema`, `ema_momentum`, `ema_overwrite_frequency`,
            `loss_scale_factor`, `gradient_accumulation_steps`, `name`.

    Raises:
        ValueError: an argument out of its range; a `momentum` for an `inner` that has its own; on
            `build`, a model without sparse weights, or `clipvalue` for masks that grow by gradient.
    """

    # The momentum of an inner optimizer by name.
    _default_momentum = 0.9

    # Whether weights outside the masks keep their momentum. If not, it is zero, like the weight.
    dense_momentum = False
    # Whether masks change during training.
    _masks_move = False

    def __init__(
        self,
        learning_rate=None,
        momentum=None,
        nesterov=None,
        inner=None,
        exclude=None,
        seed=None,
        **kwargs,
    ):
        check_optimizer_numbers(kwargs)
        if inner is None:
            inner = "adam" if learning_rate is None else "sgd"
        name = inner_steps.known_name(inner)
        if name is not None:
            inner = name
            momentum = self._default_momentum if momentum is None else momentum
            momentum = check_number("momentum", momentum, "[0, 1)")
            nesterov = True if nesterov is None else nesterov
        optimizer = inner_steps.make(inner, momentum, nesterov)
        if learning_rate is None:
            learning_rate = inner_steps.learning_rate_of(inner, optimizer)
        else:
            learning_rate = check_learning_rate(learning_rate)
        kwargs = inner_steps.shared_arguments(optimizer, kwargs)
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.momentum = momentum
        self.nesterov = nesterov
        self.inner = name or optimizer
        self._inner = inner_steps.InnerStep(optimizer, self)
        # Norms are then computed from the sparse gradient. SGD and Adam compute none. Masks that do
        # not move are applied to the gradients earlier.
        has_norms = not isinstance(self.inner, str)
        self._masks_gradients = self._masks_move and has_norms and not self.dense_momentum
        self._set_exclude(exclude)
        self.seed = None if seed is None else check_integer("seed", seed, "[0, 4294967295]")

    def build(self, variables):
        """Create momenta and masks, and set the weights outside the masks to zero."""
        if self.built:
            return
        # In the trace of a step, TensorFlow would add masks of millions of entries to its graph as
        # constants.
        with outside_trace():
            self._build(variables)

    def _build(self, variables):
        super().build(variables)
        # On TensorFlow `update_step` gets variables without a path, so the choice is made here.
        chosen = self._choose(variables)
        self._check_any(chosen)
        self._sparse = [i for i, is_chosen in enumerate(chosen) if is_chosen]
        sparse = [variables[i] for i in self._sparse]
        self._packing = Packing([v.shape for v in sparse])
        self._inner.build(variables)
        seed = random.randrange(2**31) if self.seed is None else self.seed
        self._seed = self._add_constant("seed", np.uint32(seed).view("int32"))
        masks = self._initial_masks(sparse, np.random.default_rng(seed))
        self._check_loaded(sparse, masks)
        self._masks = [None] * len(variables)
        for i, v, mask in zip(self._sparse, sparse, masks, strict=True):
            self._masks[i] = self._add_constant(
                f"{v.path.replace('/', '_')}_mask", mask, layout=_keras.layout_of(v)
            )
        self._add_state(sparse)
        for v, mask in zip(sparse, masks, strict=True):
            # Variables without a value yet are masked at the end of the first step.
            if has_value(v):
                v.assign(self._first_weights(ops.convert_to_tensor(v), mask))
        if not self.dense_momentum:
            self._mask_slots()

    def _start_from_weights(self):
        seed = int(ops.convert_to_numpy(self._seed)) % 2**32
        sparse = [_keras.variables_of(self)[i] for i in self._sparse]
        masks = self._initial_masks(sparse, np.random.default_rng(seed))
        self._check_loaded(sparse, masks)
        for i, v, mask in zip(self._sparse, sparse, masks, strict=True):
            self._masks[i].assign(mask)
            v.assign(self._first_weights(ops.convert_to_tensor(v), mask))

    def _add_constant(self, name, value, layout=None):
        """A variable with a NumPy value; it works inside a trace too."""
        return self.add_variable(
            shape=value.shape,
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(value, dtype=dtype),
            dtype=value.dtype.name,
            layout=layout,
            name=name,
        )

    def _add_state(self, sparse):
        """Create further state of a method, before masks change the weights."""

    def _initial_masks(self, sparse, rng):
        """NumPy masks for the sparse variables."""
        raise NotImplementedError

    def _check_loaded(self, sparse, masks):
        """Warn if a network that is already sparse gets new masks."""
        if self._was_saved or not all(map(has_value, sparse)):
            return
        weights = [value_outside_trace(v) for v in sparse]
        size = sum(w.size for w in weights)
        lost = sum(np.sum((w != 0) & ~mask) for w, mask in zip(weights, masks, strict=True))
        zeros = sum(np.sum(w == 0) for w in weights if np.any(w))
        if zeros > 0.05 * size and lost > 0.05 * size:
            warnings.warn(
                f"{type(self).__name__} puts new masks on a network that is sparse already: "
                f"{zeros / size:.0%} of its weights are zero, and {lost / size:.0%} that are not "
                "become zero. Give `distribution='zeros'` to start from the zeros that it has.",
                stacklevel=2,
            )

    def _first_weights(self, weight, mask):
        """The initial values of a sparse variable, zero outside its mask."""
        return ops.where(mask, weight, 0)

    @property
    def masks(self):
        """The masks by the path of their weight: a dict of bool `keras.Variable`s.

        Equal paths, which nested models may have, are numbered: `c/kernel`, `c/kernel_1`.
        """
        if not self.built:
            raise AttributeError(
                "`masks` exist once the optimizer is built: call "
                "`optimizer.build(model.trainable_variables)`, or train first."
            )
        paths = numbered(_keras.variables_of(self)[i].path for i in self._sparse)
        return {path: self._masks[i] for path, i in zip(paths, self._sparse, strict=True)}

    def _mask_slots(self):
        for slots, start in zip(self._inner.slots, self._inner.starts, strict=True):
            self._mask_variables(slots, start)

    def _mask_variables(self, variables, outside=0):
        """Give the entries outside the masks one value."""
        for i in self._sparse:
            variable, mask = variables[i], ops.convert_to_tensor(self._masks[i])
            if variable is not None and tuple(variable.shape) == tuple(mask.shape):
                variable.assign(ops.where(mask, ops.convert_to_tensor(variable), outside))

    def apply(self, grads, trainable_variables=None):
        grads = list(grads)
        if trainable_variables is not None:
            trainable_variables = list(trainable_variables)
            if not self.built:
                self.build(trainable_variables)
        variables = trainable_variables or _keras.variables_of(self)
        if len(variables) != len(_keras.variables_of(self)):
            raise ValueError(
                f"{type(self).__name__} spreads one budget over all its variables, so it takes "
                "the gradients of all of them in each step. Use one optimizer for each set of "
                f"variables. Received: {len(variables)} variables, built with "
                f"{len(_keras.variables_of(self))}."
            )
        if any(grad is not None for grad in grads):
            # Before Keras clips, because one NaN would be in the norm of all.
            grads = [self._prepared(*pair) for pair in zip(grads, variables, strict=True)]
        super().apply(grads, trainable_variables)
        self._undo_what_refills()

    def _prepared(self, gradient, variable):
        """A finite gradient; zero for a missing one, and outside of a mask that never changes."""
        if getattr(variable, "overwrite_with_gradient", False):
            return gradient
        if gradient is None:
            return ops.zeros(variable.shape, variable.dtype)
        mask = None if self._masks_move else self._masks[_keras.index_of(self, variable)]
        gradient = self._finite(gradient)
        return gradient if mask is None else ops.where(ops.convert_to_tensor(mask), gradient, 0)

    def _undo_what_refills(self):
        """Set masked weights to zero again after Keras' averages and constraints."""
        if self.use_ema:
            self._mask_variables(_keras.averages_of(self))
        constrained = any(_keras.variables_of(self)[i].constraint for i in self._sparse)
        if constrained or (self.use_ema and self.ema_overwrite_frequency):
            self._mask_variables(_keras.variables_of(self))

    def _apply_weight_decay(self, variables):
        if self.weight_decay is None:
            return
        paused = self._is_paused()
        before = [] if paused is None else [dense(v) for v in variables]
        self._inner.decay(variables)
        for v, value in zip(variables, before, strict=False):
            v.assign(ops.where(paused, value, dense(v)))

    def exclude_from_weight_decay(self, var_list=None, var_names=None):
        self._inner.optimizer.exclude_from_weight_decay(var_list, var_names)

    def _before_variables(self, learning_rate):
        self._inner.begin(learning_rate)

    def update_step(self, gradient, variable, learning_rate):
        """Train one variable, and set the weights outside its mask to zero."""
        index = _keras.index_of(self, variable)
        gradient = ops.cast(dense(gradient), variable.dtype)
        learning_rate = ops.cast(learning_rate, variable.dtype)
        mask = self._masks[index]
        if mask is not None:
            mask = ops.convert_to_tensor(mask)
            if self._masks_gradients:
                gradient = ops.where(mask, gradient, 0)
        own, paused = [variable, *self._inner.of(index)], self._is_paused()
        before = [] if paused is None else [dense(v) for v in own]
        self._inner.update(gradient, variable, learning_rate)
        read = [dense(v) for v in own]
        new = (
            read
            if paused is None
            else [ops.where(paused, *two) for two in zip(before, read, strict=True)]
        )
        if mask is not None:
            weight = self._regularize(index, new[0], learning_rate)
            new = [ops.where(mask, weight, 0), *self._masked_slots(index, mask, new[1:])]
        for v, value, as_it_is in zip(own, new, read, strict=True):
            if value is not as_it_is:
                self.assign(v, value)

    def _masked_slots(self, index, mask, slots):
        """Slots as at first outside the mask, for weights that grow there later."""
        if not self._masks_move or self.dense_momentum:
            return slots
        starts = self._inner.starts_of(index)
        return [
            ops.where(mask, slot, start) if tuple(slot.shape) == tuple(mask.shape) else slot
            for slot, start in zip(slots, starts, strict=True)
        ]

    def _finite(self, gradient):
        gradient = dense(gradient)
        return ops.where(ops.isfinite(gradient), gradient, 0)

    def _is_paused(self):
        """Whether this step trains nothing: a bool tensor, or None for never."""
        return None

    def _regularize(self, index, value, learning_rate):
        """Change a sparse weight further, after the step and before the mask is applied."""
        return value

    def take_over(self, old, slices):
        """Keep the weights after surgery, also a constant that was folded into a masked weight.

        Args:
            old: the optimizer, built, of the model before channels were removed.
            slices: dict from the path of a variable to its `VariableSlice`, see `Report.slices`.
        """
        for i in self._sparse:
            mask, weight = map(ops.convert_to_numpy, (self._masks[i], _keras.variables_of(self)[i]))
            self._masks[i].assign(np.logical_or(mask, weight != 0))

    def get_config(self):
        inner = self.inner
        if not isinstance(inner, str):
            inner = keras.optimizers.serialize(inner)
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "inner": inner,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        # Earlier files have a momentum for an inner optimizer that did not use it.
        if isinstance(config.get("inner"), dict):
            config = {**config, "momentum": None, "nesterov": None}
        return super().from_config(config, custom_objects)
