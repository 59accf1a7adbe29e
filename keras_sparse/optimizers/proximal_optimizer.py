"""Base of the optimizers that threshold weights."""

import dataclasses

import keras
import numpy as np
from keras import ops

from keras_sparse import _keras, _renamed
from keras_sparse.masks.channels import channel_axes
from keras_sparse.optimizers.carried_sums import Sums, carry
from keras_sparse.optimizers.choice import ChoosesVariables
from keras_sparse.optimizers.proximal import group_size, soft_threshold
from keras_sparse.validation import check_learning_rate
from keras_sparse.variables import (
    by_path,
    dead_layers,
    is_prunable,
    warn_of_dead_layers,
)


@dataclasses.dataclass
class Record:
    """The state of an optimizer for one variable.

    Attributes:
        is_thresholded: whether its weights may become zero.
        axes: the axes of a group, or None where each weight is thresholded by itself.
        is_watched: whether a weight that differs from the optimizer's result counts as set from
            outside. False with a constraint, because it changes the weights after each step.
        slot: the sum or the mean of the gradients, or None.
        removed: None, or for the weights that surgery removed from each group: their number, and
            the squares of their sums of gradients.
        center: the initial value of a bias, or None.
        threshold: the threshold found for a target, or None.
        last_threshold: the threshold of the previous step, or None.
    """

    is_thresholded: bool
    axes: tuple | None
    is_watched: bool
    slot: keras.Variable | None = None
    removed: tuple | None = None
    center: keras.Variable | None = None
    threshold: keras.Variable | None = None
    last_threshold: keras.Variable | None = None

    def removed_from(self, value, scale=1.0):
        """The removed weights of the groups, multiplied by `scale` to match `value`."""
        if self.removed is None:
            return None
        count, squares = map(ops.convert_to_tensor, self.removed)
        squares = squares * ops.square(scale)
        return [ops.cast(part, value.dtype) for part in (count, squares)]


class ProximalOptimizer(ChoosesVariables, keras.optimizers.Optimizer):
    """Base of the optimizers that set weights to exactly zero by a proximal step.

    It decides in `build` which variables are thresholded and in which groups, keeps zeros at zero
    while fine-tuning, and refuses arguments that do not work with a threshold. A subclass has an
    `update_step` that ends with `_assign_thresholded`.

    Args:
        learning_rate: float, schedule or callable.
        groups: `"weight"`, each weight alone, or `"channel"`: all weights of one output channel
            become zero together. By channel, the last kernel (the classifier, with a column for
            each class) is still thresholded by weight. If it is frozen, so is the last kernel that
            is trained. In a network with several outputs, exclude the layers that compute
            them: `exclude=keras_sparse.output_layers(model)`. See `masks.channels.channel_axes` for
            how the channels of a kernel are found.
        exclude: variables to keep dense besides biases and normalisation: a regular expression for
            `variable.path`, a built layer, a variable, or a list of those.
        **kwargs: the other arguments of `keras.optimizers.Optimizer` (`clipnorm`, `name`, …),
            except `weight_decay` and `use_ema`.
    """

    _added_to_state = (
        ("_removed_squares", "_removed_count"),
        ("ramp_end",),
        ("last_rate", "_last_threshold"),
    )
    # Whether biases and normalisation are thresholded like all other weights, unless excluded.
    _includes_biases = False

    def __init__(self, learning_rate, groups="weight", exclude=None, **kwargs):
        if groups not in ("weight", "channel"):
            raise ValueError(f"`groups` must be 'weight' or 'channel'. Received: groups={groups!r}")
        learning_rate = check_learning_rate(learning_rate)
        if kwargs.get("weight_decay"):
            raise ValueError(
                f"{type(self).__name__} takes no `weight_decay`: it computes the weights from its "
                "own state, so a decay would be lost. Use `l1`, or a `kernel_regularizer`. "
                f"Received: weight_decay={kwargs['weight_decay']}"
            )
        if kwargs.get("use_ema"):
            raise ValueError(
                f"{type(self).__name__} takes no `use_ema`: an average over steps is zero only "
                "where every step was, so the network would not be sparse. Received: use_ema=True"
            )
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.groups = groups
        self._set_exclude(exclude)

    def build(self, variables):
        """Sort the variables into thresholded and dense; see the class."""
        if self.built:
            return
        super().build(variables)
        # On TensorFlow `update_step` gets variables without a path, so the choice is made here.
        chosen = self._choose(variables)
        kernels = [i for i, v in enumerate(variables) if is_prunable(v)]
        self._records = [
            Record(
                is_thresholded=is_chosen or (self._includes_biases and not self._is_excluded(i)),
                axes=self._axes_of(i) if is_chosen and i != max(kernels) else None,
                is_watched=v.constraint is None,
            )
            for i, (v, is_chosen) in enumerate(zip(variables, chosen, strict=True))
        ]
        self._fine_tuning = self._add_scalar("fine_tuning", "bool")

    def _axes_of(self, index):
        if self.groups == "weight":
            return None
        return channel_axes(self._first_paths[index], self._whole_shapes[index])

    def _record(self, variable):
        return self._records[_keras.index_of(self, variable)]

    def _variables_and_records(self):
        return list(zip(_keras.variables_of(self), self._records, strict=True))

    def _add_scalar(self, name, dtype="float32", initializer="zeros"):
        return self.add_variable(
            (), initializer, dtype=dtype, aggregation="only_first_replica", name=name
        )

    def _add_scalar_of(self, variable, name):
        """A scalar that is named after its variable."""
        return self._add_scalar(f"{variable.path.replace('/', '_')}_{name}")

    def _add_removed(self):
        """Slots for removed weights: their sums of gradients still count in their group.

        The threshold is compared with the norm of all weights of a channel. The removed weights
        read dead channels, so their gradients are zero. Without them, the remaining weights would
        move several times as fast.
        """
        for variable, record in self._variables_and_records():
            if record.is_thresholded and record.axes is not None:
                name = variable.path.replace("/", "_")
                shape = [1 if a in record.axes else n for a, n in enumerate(variable.shape)]
                squares = self.add_variable(shape, dtype="float32", name=f"{name}_removed_squares")
                record.removed = self._add_scalar_of(variable, "removed_count"), squares

    def load_own_variables(self, store):
        """Load the state, also where an earlier version had other groups, without removed ones."""
        found = {str(i): store[str(i)] for i in range(len(store.keys()))}
        if len(found) == len(self.variables):
            for i, variable in enumerate(self.variables):
                if variable.name.endswith("_removed_squares") and (
                    tuple(found[str(i)].shape) != tuple(variable.shape)
                ):
                    found[str(i)] = np.zeros(variable.shape)
                    # Their number is the next variable.
                    found[str(i + 1)] = np.zeros(())
        super().load_own_variables(found)

    def start_fine_tuning(self):
        """Start the phase in which a weight that is or becomes zero stays zero.

        This is the second phase of adaptive sparse retraining (ASR). The zeros of the weights are
        the mask, and the phase is a variable of the optimizer, so a checkpoint has both.

        Raises:
            ValueError: the optimizer is not built yet.

        Reference:
            Make l1 regularization effective in training sparse CNN, arXiv 1807.04222, section 4.
        """
        if not self.built:
            raise ValueError(
                "`start_fine_tuning()` needs a built optimizer: call "
                "`optimizer.build(model.trainable_variables)`, or train first."
            )
        self._fine_tuning.assign(True)

    # A method, not a property: Keras reads every attribute when it saves, which must not warn.
    start_retraining = _renamed.method(start_fine_tuning, "start_retraining", "start_fine_tuning")

    def _step(self):
        """Number of this step, from 1, in float32; half precision is too coarse for counting."""
        return ops.cast(self.iterations, "float32") + 1.0

    def _is_update(self):
        """Whether the last step was a complete update."""
        micro_steps = self.gradient_accumulation_steps or 1
        return ops.equal(ops.convert_to_tensor(_keras.batches(self)) % micro_steps, 0)

    def _add_after_update(self, variable, increment):
        self._assign_after_update(variable, ops.convert_to_tensor(variable) + increment)

    def _assign_after_update(self, variable, value):
        variable.assign(ops.where(self._is_update(), value, ops.convert_to_tensor(variable)))

    def _before_threshold(self, record, weight, value, threshold, removed_scale=1.0):
        """The value from which thresholding computes the weights.

        Args:
            record: the `Record` of the variable.
            weight: tensor, the current weights.
            value: tensor, the optimizer's own value.
            threshold: scalar tensor, the threshold of the previous step.
            removed_scale: see `Record.removed_from`.

        Returns:
            `value` where thresholding it gives the weights, elsewhere another value that does; and
            a bool tensor, True where another value was needed.
        """
        axes, threshold = record.axes, ops.cast(threshold, value.dtype)
        removed = record.removed_from(value, removed_scale)
        expected = soft_threshold(value, threshold, axes, removed)
        reach = tolerance(value) * (ops.abs(value) + threshold)
        moved = differs(weight, expected, reach)
        if axes is None:
            return ops.where(moved, weight + ops.sign(weight) * threshold, value), moved
        moved = ops.any(moved, axis=axes, keepdims=True)
        if removed is not None:
            count, squares = removed
            removed = count, ops.zeros_like(squares)
            variable = record.removed[1]
            kept = ops.where(moved, 0.0, ops.convert_to_tensor(variable))
            self.assign(variable, ops.cast(kept, variable.dtype))
        size = group_size(weight, axes, removed)
        grown = weight * (1.0 + threshold / ops.where(size == 0.0, 1.0, size))
        return ops.where(moved, grown, value), moved

    def _assign_thresholded(self, record, variable, value, threshold, removed_scale=1.0):
        """Threshold a value; for `removed_scale` see `Record.removed_from`."""
        threshold = ops.cast(threshold, value.dtype)
        removed = record.removed_from(value, removed_scale)
        value = soft_threshold(value, threshold, record.axes, removed)
        self._assign_or_stay_zero(variable, value)

    def _assign_or_stay_zero(self, variable, value):
        """Assign; in the fine-tuning phase weights that are zero stay zero."""
        self.assign(variable, ops.where(self._stays_zero(variable), ops.zeros_like(value), value))

    def _stays_zero(self, variable):
        """True for the weights that are zero in the fine-tuning phase."""
        fine_tuning = ops.convert_to_tensor(self._fine_tuning)
        return ops.logical_and(fine_tuning, ops.convert_to_tensor(variable) == 0.0)

    def finalize_variable_values(self, var_list):
        """Called by `fit` when training ends: warns if the network died."""
        super().finalize_variable_values(var_list)
        warn_of_dead_layers(dead_layers(self.thresholded_variables))

    @property
    def thresholded_variables(self):
        """List of the variables that are made sparse."""
        return [v for v, record in self._variables_and_records() if record.is_thresholded]

    def take_over(self, old, slices):
        """Make the next step continue from the weights after surgery.

        Args:
            old: the optimizer, built, of the model before channels were removed.
            slices: dict from the path of a variable to its `VariableSlice`, see `Report.slices`.
        """
        olds = by_path(_keras.variables_of(old)).items()
        sources = {path: (v, r) for (path, v), r in zip(olds, old._records, strict=True)}
        scale, steps = old._slot_scale()
        for variable, record in self._variables_and_records():
            part = slices.get(variable.path)
            weight, before = sources.get(part and part.source, (None, None))
            if record.is_thresholded and record.slot is not None and before is not None:
                carry(record, Sums.of(before, scale, steps), weight, part)

    def _slot_scale(self):
        """The factor on a slot before the threshold, and the number of steps that it averages."""
        return 1.0, 1

    def get_config(self):
        return {**super().get_config(), "groups": self.groups}


def differs(weight, expected, reach):
    """Where a weight differs from the optimizer's result, also where only one of them is NaN."""
    # Comparisons with NaN are false. So a NaN that was set, or one that was replaced, would be
    # missed.
    difference = ops.abs(weight - expected)
    return ops.logical_or(difference > reach, ops.isnan(difference))


def tolerance(x):
    """The relative difference allowed between a weight and its computed value."""
    return 1e-3 if keras.backend.standardize_dtype(x.dtype) in ("float32", "float64") else 0.04
