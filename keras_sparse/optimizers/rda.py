"""Regularized dual averaging."""

import math

import keras
from keras import ops

from keras_sparse.masks.backend import dense
from keras_sparse.optimizers.proximal import group_size
from keras_sparse.optimizers.proximal_optimizer import ProximalOptimizer, tolerance
from keras_sparse.optimizers.separable import SeparableUpdate, once_known
from keras_sparse.optimizers.targets import warn_of_missed_target, why_too_short
from keras_sparse.optimizers.threshold_search import find_thresholds
from keras_sparse.validation import check_integer, check_number

# Steps between two searches for the threshold. A search reads every weight 20 times; after 100
# steps so much has moved that one costs LeNet-300-100 5 points of accuracy for a while.
_SEARCH_EVERY = 20

# What surgery has cut out of the network: how many zeros, how many weights of variables of which
# nothing is left, and by variable the sum of the sizes that thresholds are compared with.
_NOTHING = {"zeros": 0, "vanished": 0, "sizes": {}}


@keras.saving.register_keras_serializable(package="keras_sparse")
class RDA(SeparableUpdate, ProximalOptimizer):
    """l1-regularized dual averaging (RDA): trains with weights that are exactly zero.

    Every step moves along the average ḡ of all gradients so far and then soft-thresholds, so a
    weight is zero after a step, not after training:

        w_{t+1} = S(c − s_t·ḡ_t, s_t·λ_t),   S(x, k) = sign(x)·max(|x| − k, 0),
        λ_t = l1 + rho/(learning_rate·√t),   t = 1, 2, …

    Two forms differ in the centre c and in how the step s_t grows:

    - `form="accumulated"`, the default: c = w_1, the weights' start, and s_t = learning_rate·t, so
      that gradients accumulate undiminished. It trains with and without batch normalisation.
      Under a schedule s_t·ḡ_t is Σ learning_rate_i·g_i, and the threshold adds up likewise.
    - `form="published"`: c = 0 and s_t = learning_rate·√t, the paper's own, where
      learning_rate = 1/γ. It forgets the start after one step and needs batch normalisation, a
      wide start (`keras_sparse.ScaledUniform`) and an `l1` of the right decade. With `l1=0` it
      is SGD whose rate learning_rate/√t falls and whose shrinking √((t−1)/t) vanishes (Lemma 1).

    Without an `l1`, λ is found while training as the quantile of the values that are thresholded,
    over all of them together, that leaves the share `target_sparsity` of the prunable weights at
    zero; the share rises over `ramp_steps` by the cubic of Zhu and Gupta. λ is found anew every
    20 steps. In the accumulated form the threshold then only chooses, until the next search, which
    weights are zero: the others are not shrunk (w = c − s_t·ḡ_t). A quantile of 0.9 would
    otherwise take so much from them that kernels behind batch normalisation, whose steps grow as
    their norms fall, never settle.
    No variable is cut above 0.9 of its largest value, so none is emptied by the search; should
    that bound bite, the others give more.
    By channel the values are those of whole channels, ‖x‖/√n, as multiples of the mean of their
    layer; a tenth of a layer's channels always stays, and those that are zero do not move.

    Biases and normalisation parameters are not thresholded, and their centre is where they
    started.

    A gradient that is NaN makes the weights NaN, as in Keras' optimizers (not zero, which would
    look sparse): `keras.callbacks.TerminateOnNaN` stops there. Memory: one slot per weight.

    Weights that are set from outside, by `set_weights` or a callback, are what the next step starts
    from. (Not where a layer has a constraint; and single weights that are set to zero may come back
    with the next search.) With a target, a weight that the loss does not reach has a gradient of
    zero, and what `surgery` cuts out of the network counts as it was, zeros as zeros. `fit` ends
    with a warning if the target was not met.

    Args:
        learning_rate: float or schedule; 1/γ in the paper. Defaults to 0.1.
        l1: float or schedule, λ in units of the loss per weight. Its scale depends on the network:
            for mean cross-entropy try 1e-4 to 1e-3 on MNIST. Defaults to None: find it.
        target_sparsity: float in [0, 1), the share of prunable weights to become zero. Defaults
            to 0.9 where no `l1` is given; by channel there is no default. The weights that read
            a dead channel are not among the zeros, but surgery cuts them out as well.
        ramp_steps: int, the steps over which the sparsity rises to its target. Defaults to 1000;
            `callbacks.ScheduleOverTraining` makes it a share of the training.
        rho: float, λ's part that falls with √t (the enhanced l1 of Xiao, section 4).
        form: `"accumulated"` or `"published"`.
        center: `"initial"` or `"zero"`, for biases and normalisation in the published form. With
            `"zero"` they are treated as all other weights are, threshold included, as in the
            paper's experiments; this is fragile.
        groups: `"weight"` or `"channel"`: with `"channel"` all weights into one output channel
            become zero together, S(x, k) = x·max(1 − k·√n/‖x‖, 0) for their n weights, and
            `keras_sparse.surgery` can cut the channel out. The last kernel, the classifier, is
            thresholded by weight all the same; better, exclude it.
        exclude: what is kept dense besides biases and normalisation: a regular expression for
            `variable.path`, a built layer, a variable, or a list of those. What is excluded stays
            so when the model is saved and loaded, or cut.
        **kwargs: the other arguments of `keras.optimizers.Optimizer`. `weight_decay` and
            `use_ema` are refused. Clipping changes what `l1` is compared with.

    Raises:
        ValueError: an argument out of its range; both `l1` and `target_sparsity`, or neither by
            channel; a target by channel in the published form; `weight_decay` or `use_ema`; on
            `build`, a target for no weight at all, or an `exclude` that matches nothing.

    Example:

    >>> model.compile(optimizer=RDA(), loss="sparse_categorical_crossentropy")
    >>> model.compile(optimizer=RDA(target_sparsity=0.5, groups="channel"), loss="mse")
    >>> model.compile(optimizer=RDA(1.0, l1=2e-4, form="published"), loss="mse")

    Reference:
        Make l1 regularization effective in training sparse CNN, arXiv 1807.04222, Algorithm 1;
        Xiao, Dual averaging methods for regularized stochastic learning and online optimization,
        JMLR 2010; Zhu and Gupta, To prune, or not to prune, arXiv 1710.01878, equation 1.
    """

    def __init__(
        self,
        learning_rate=0.1,
        l1=None,
        target_sparsity=None,
        ramp_steps=1000,
        rho=0.0,
        form="accumulated",
        center="initial",
        groups="weight",
        exclude=None,
        **kwargs,
    ):
        _check_choices(form, center)
        if l1 is not None and target_sparsity is not None:
            raise ValueError(
                "Give `l1` or `target_sparsity`, from which l1 is found, not both. "
                f"Received: l1={l1}, target_sparsity={target_sparsity}"
            )
        if l1 is None and target_sparsity is None:
            if groups == "channel":
                raise ValueError(
                    "`groups='channel'` needs an `l1` (try 1e-3) or a `target_sparsity` (try 0.5): "
                    "no share of channels suits all networks. Received: l1=None"
                )
            target_sparsity = 0.9
        if l1 is None and groups == "channel" and form == "published":
            raise ValueError(
                "`target_sparsity` by channel needs form='accumulated', in which a channel that "
                "stays is not shrunk. In the published form give an `l1` (try 1e-3). "
                "Received: groups='channel', form='published', l1=None"
            )
        if target_sparsity is not None:
            target_sparsity = check_number("target_sparsity", target_sparsity, "[0, 1)")
        if l1 is not None and not callable(l1):
            l1 = check_number("l1", l1, "[0, inf)")
        rho = check_number("rho", rho, "[0, inf)")
        if rho and l1 is None:
            raise ValueError(f"`rho` goes with `l1`, not with `target_sparsity`. Received: {rho=}")
        super().__init__(learning_rate, groups=groups, exclude=exclude, **kwargs)
        self.l1 = l1
        self.target_sparsity = target_sparsity
        self.ramp_steps = check_integer("ramp_steps", ramp_steps, "[1, inf)")
        self.rho = rho
        self.form = form
        self.center = center
        self._cut_out = _NOTHING

    def build(self, variables):
        """Add the averages and the thresholds."""
        if self.built:
            return
        super().build(variables)
        if self.center == "zero":
            self._thresholded = [True] * len(variables)
        elif self.l1 is None:
            self._check_any(self._thresholded)
        if self.form == "published":
            self._averages = self.add_optimizer_variables(variables, "gradient_average")
            # What the step before has multiplied the averages by, and thresholded them by.
            self._last_rate = self._add_scalar("last_rate")
            self._last_thresholds = self._add_scalars(variables, "last_threshold")
            self._centers = self._add_slots("center", [not x for x in self._thresholded])
        else:
            self._accumulators = self._add_slots("accumulator", self._thresholded)
        self._add_gone()
        if self.l1 is None:
            # Part of the state: a resumed training has the ramp that it began with.
            ramp_steps = keras.initializers.Constant(self.ramp_steps)
            self._ramp_end = self._add_scalar("ramp_end", initializer=ramp_steps)
            # Named after their variables, so that whoever cuts those can carry them over.
            self._thresholds = self._add_scalars(variables, "threshold")
        elif self.form == "accumulated":
            # What the steps before have added up.
            self._threshold = self._add_scalar("threshold")

    def _add_scalars(self, variables, name):
        return [
            self._add_scalar(f"{v.path.replace('/', '_')}_{name}") if thresholded else None
            for v, thresholded in zip(variables, self._thresholded, strict=True)
        ]

    def update_step(self, gradient, variable, learning_rate):
        """One step of one variable; see the class."""
        index = self._get_variable_index(variable)
        learning_rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        if self.form == "published":
            self._published_step(index, gradient, variable, learning_rate)
        else:
            self._accumulated_step(index, gradient, variable, learning_rate)

    def _accumulated_step(self, index, gradient, variable, learning_rate):
        if not self._thresholded[index]:
            self.assign_sub(variable, learning_rate * gradient)
            return
        if self.l1 is None:
            self._chosen_step(index, gradient, variable, learning_rate)
            return
        before = ops.convert_to_tensor(self._threshold)
        threshold = before + self._increment(learning_rate) + self.rho * ops.sqrt(self._step())
        before = before + self.rho * ops.sqrt(self._step() - 1.0)
        value = self._accumulate(index, gradient, variable, learning_rate, before)
        self._assign_thresholded(index, variable, value, threshold)

    def _chosen_step(self, index, gradient, variable, learning_rate):
        """Weights are chosen in a step with a search, so that sparsity holds until the next."""
        # What is not a number is not dead. TensorFlow would make `a > b` of "not a <= b", which
        # differs there, so nothing is negated.
        dead = ops.logical_and(ops.convert_to_tensor(variable) == 0.0, self.iterations > 0)
        axes = self._group_axes[index]
        if axes is not None:
            dead = ops.all(dead, axis=axes, keepdims=True)
            # Batch normalisation divides what a dead channel gives out by √epsilon: its gradient
            # is some 30 times that of a live one, and would bring it back at once.
            gradient = ops.where(dead, 0.0, gradient)
        if not self._leaves_out_update:
            dead = ops.where(self._search_due(), self._below_threshold(index, variable), dead)
        value = self._accumulate(index, gradient, variable, learning_rate)
        self._assign_or_stay_zero(variable, ops.where(dead, 0.0, value))

    def _below_threshold(self, index, variable):
        value = self._sum_of_chosen(index, variable)
        size = group_size(value, self._group_axes[index], self._gone_from(index, value))
        return size <= ops.cast(ops.convert_to_tensor(self._thresholds[index]), size.dtype)

    def _published_step(self, index, gradient, variable, learning_rate):
        t = self._step()
        before = self._average_before(index, variable)
        average = before + (gradient - before) / ops.cast(t, variable.dtype)
        self.assign(self._averages[index], average)
        step = self._published_rate(learning_rate)
        moved = ops.cast(step, variable.dtype) * average
        if self._thresholded[index]:
            threshold = step * self._current_l1(index) + self.rho
            self.assign(self._last_thresholds[index], threshold)
            # 0 − x, not −x, which is −0.0 where x is zero. What is gone are sums of gradients.
            self._assign_thresholded(index, variable, 0.0 - moved, threshold, step / t)
        else:
            center = self._center(index, variable, before)
            self.assign(self._centers[index], center)
            self.assign(variable, center - moved)

    def _published_rate(self, learning_rate):
        return ops.sqrt(self._step()) * ops.cast(learning_rate, "float32")

    def _average_before(self, index, variable):
        """The mean of the gradients so far, or one that gives weights set from outside."""
        average = dense(self._averages[index])  # as it is now: it is assigned before it is used
        if not (self._thresholded[index] and self._watched[index]):
            return average
        weight = ops.convert_to_tensor(variable)
        last = ops.convert_to_tensor(self._last_rate)
        rate = ops.cast(last, average.dtype)
        found, moved = self._before_threshold(
            index,
            weight,
            0.0 - rate * average,
            ops.convert_to_tensor(self._last_thresholds[index]),
            last / ops.maximum(self._step() - 1.0, 1.0),
        )
        # The first step forgets the start.
        is_set = ops.logical_and(moved, rate > 0.0)
        return ops.where(is_set, 0.0 - found / ops.where(rate > 0.0, rate, 1.0), average)

    def _center(self, index, variable, average):
        """Where a bias started, or where it had to start to be what it was set to from outside."""
        weight, center = map(ops.convert_to_tensor, (variable, self._centers[index]))
        if not self._watched[index]:
            return ops.where(ops.equal(self.iterations, 0), weight, center)
        moved = ops.cast(self._last_rate, weight.dtype) * average
        reach = tolerance(weight) * (ops.abs(center) + ops.abs(moved))
        return ops.where(ops.abs(weight - (center - moved)) > reach, weight + moved, center)

    def _current_l1(self, index):
        if self.l1 is None:
            return ops.convert_to_tensor(self._thresholds[index])
        l1 = self.l1(self.iterations) if callable(self.l1) else self.l1
        return ops.cast(l1, "float32")

    def _increment(self, learning_rate):
        return ops.cast(learning_rate, "float32") * self._current_l1(None)

    def apply(self, grads, trainable_variables=None):
        """Apply gradients, with thresholds for this step, or settle those of the next one."""
        grads = list(grads)
        if trainable_variables is not None:
            trainable_variables = list(trainable_variables)
            self.build(trainable_variables)
        if self.l1 is None and self.built:
            grads = self._with_zeros(grads, trainable_variables)
            if not self._leaves_out_update:
                self._search_if_due([dense(g) for g in grads if g is not None])
        if self.form == "published":
            rate = self._published_rate(self.learning_rate)
            super().apply(grads, trainable_variables)
            self._assign_after_update(self._last_rate, rate)
        elif self.l1 is not None:
            increment = self._increment(self.learning_rate)
            super().apply(grads, trainable_variables)
            self._add_after_update(self._threshold, increment)
        else:
            super().apply(grads, trainable_variables)

    def _with_zeros(self, grads, variables):
        """A weight that the loss does not reach has a gradient of zero: it counts, and is cut."""
        variables = variables or self._trainable_variables
        if len(grads) != len(variables) or all(grad is None for grad in grads):
            return grads  # which Keras refuses
        return [
            ops.zeros(v.shape, v.dtype) if grad is None and self._takes_part(v) else grad
            for grad, v in zip(grads, variables, strict=True)
        ]

    def _takes_part(self, variable):
        return self._thresholded[self._get_variable_index(variable)]

    def _search_due(self):
        step = ops.convert_to_tensor(self.iterations)
        due = ops.logical_and(ops.equal(step % _SEARCH_EVERY, 0), step > 0)
        return ops.logical_and(due, self._is_last_micro_step())

    def _search_if_due(self, gradients):
        thresholds = [t for t in self._thresholds if t is not None]
        old = [ops.convert_to_tensor(t) for t in thresholds]
        found = ops.cond(once_known(gradients, self._search_due()), self._search, lambda: old)
        for threshold, value in zip(thresholds, found, strict=True):
            threshold.assign(value)

    def _updating_steps(self):
        return None if self.l1 is not None else (_SEARCH_EVERY, _SEARCH_EVERY)

    def _search(self):
        indices, cut = self._thresholded_indices(), self._cut_out
        sizes = [self._sizes(i) for i in indices]
        weights = [self._weights_of_each(i) for i in indices]
        present = sum(math.prod(size.shape) * w for size, w in zip(sizes, weights, strict=True))
        # What was cut out is part of the network that the target is a share of.
        whole = sum(map(self._whole_size, indices)) + cut["vanished"]
        wanted = (self._sparsity_now() * whole - cut["zeros"]) / present
        if self.groups == "weight":
            return find_thresholds(sizes, wanted)
        # The channels of a layer differ by a few percent, layers by much more: compare each
        # channel with its layer's mean, to which those that were cut out belong.
        gone = [self._gone_channels(i, size) for i, size in zip(indices, sizes, strict=True)]
        means = [
            (ops.sum(size) + cut["sizes"].get(i, 0.0)) / (math.prod(size.shape) + n)
            for i, size, n in zip(map(str, indices), sizes, gone, strict=True)
        ]
        relative = [
            size / ops.where(m == 0.0, 1.0, m) for size, m in zip(sizes, means, strict=True)
        ]
        found = find_thresholds(relative, wanted, weights, gone)
        return [threshold * mean for threshold, mean in zip(found, means, strict=True)]

    def _sizes(self, index):
        """What is compared with the threshold of a variable, in float32."""
        if self.form == "published":
            value = self._averages[index]
        else:
            value = self._sum_of_chosen(index, self._trainable_variables[index])
        value = ops.cast(dense(value), "float32")
        return group_size(value, self._group_axes[index], self._gone_from(index, value))

    def _whole_size(self, index):
        return math.prod(self._whole_shapes[index])

    def _weights_of_each(self, index):
        """How many weights each of the sizes stood for before anything was cut out."""
        return math.prod(self._whole_shapes[index][a] for a in self._group_axes[index] or ())

    def _gone_channels(self, index, sizes):
        return self._whole_size(index) // self._weights_of_each(index) - math.prod(sizes.shape)

    def count_cut(self, optimizer, cuts):
        """Let what was cut out count towards the target, as it was: zeros as zeros.

        Args:
            optimizer: the RDA, built, of the model before the cut.
            cuts: dict from the path of a variable to the `surgery` cut that it is left from.
        """
        if self.l1 is not None:
            return
        olds = {v.path: i for i, v in enumerate(optimizer._trainable_variables)}
        before, zeros, sizes = optimizer._cut_out, optimizer._cut_out["zeros"], {}
        gone = set(optimizer._thresholded_indices())
        for index in self._thresholded_indices():
            cut = cuts[self._trainable_variables[index].path]
            old = olds[cut.source]
            kept = cut if optimizer._group_axes[old] is None else cut.spanning
            size, dead = optimizer._sizes_and_dead(old)
            zeros += int(dead.sum() - kept(dead).sum()) * optimizer._weights_of_each(old)
            taken = float(size.sum() - kept(size).sum())
            sizes[str(index)] = before["sizes"].get(str(old), 0.0) + taken
            gone.remove(old)
        for old in gone:
            dead = optimizer._sizes_and_dead(old)[1]
            zeros += int(dead.sum()) * optimizer._weights_of_each(old)
        vanished = before["vanished"] + sum(map(optimizer._whole_size, gone))
        self._cut_out = {"zeros": zeros, "vanished": vanished, "sizes": sizes}

    def _sizes_and_dead(self, index):
        size = ops.convert_to_numpy(self._sizes(index))
        alive = ops.convert_to_numpy(self._trainable_variables[index]) != 0
        axes = self._group_axes[index]
        return size, ~(alive if axes is None else alive.any(axes, keepdims=True))

    def _sparsity_now(self):
        ramp_end = ops.convert_to_tensor(self._ramp_end)
        done = ops.minimum(ops.cast(self.iterations, "float32") / ramp_end, 1.0)
        return self.target_sparsity * (1.0 - (1.0 - done) ** 3)

    # The share of a training over which the sparsity rises, by `ScheduleOverTraining`.
    schedule_share = 0.5

    def end_schedule(self, step):
        """Let the sparsity rise until this step; a training that has begun keeps its ramp.

        Args:
            step: int, instead of `ramp_steps`.

        Raises:
            ValueError: with an `l1` there is no ramp.
        """
        if self.l1 is not None:
            raise ValueError(
                f"RDA has a ramp with a `target_sparsity` only. Received: l1={self.l1}"
            )
        step = check_integer("step", step, "[1, inf)")
        if int(ops.convert_to_numpy(self.iterations)) > 0:
            return
        self.ramp_steps = step
        if self.built:
            self._ramp_end.assign(step)

    def finalize_variable_values(self, var_list):
        """Called by `fit` when training ends: warns of a target that is not met."""
        super().finalize_variable_values(var_list)
        if self.l1 is None:
            warn_of_missed_target(
                self, self.target_sparsity, self.thresholded_variables, self._why_not()
            )

    def _why_not(self):
        steps, end = (int(ops.convert_to_numpy(x)) for x in (self.iterations, self._ramp_end))
        if steps <= end or steps <= _SEARCH_EVERY:
            return why_too_short(max(end, _SEARCH_EVERY), steps)
        return (
            "No variable is cut above 0.9 of its largest value, and a tenth of the channels of a "
            "layer stays. Ask for less, or exclude less."
        )

    def get_config(self):
        """The arguments, for `keras.saving`, and what was cut out of the network."""
        l1 = self.l1
        config = {
            **super().get_config(),
            "l1": keras.saving.serialize_keras_object(l1) if callable(l1) else l1,
            "target_sparsity": self.target_sparsity,
            "ramp_steps": self.ramp_steps,
            "rho": self.rho,
            "form": self.form,
            "center": self.center,
        }
        if self._cut_out != _NOTHING:
            config["cut_out"] = self._cut_out
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """The optimizer that `get_config` describes."""
        config = dict(config)
        cut_out = config.pop("cut_out", _NOTHING)
        if isinstance(config.get("l1"), dict):
            config["l1"] = keras.saving.deserialize_keras_object(config["l1"], custom_objects)
        optimizer = super().from_config(config, custom_objects)
        optimizer._cut_out = cut_out
        return optimizer


def _check_choices(form, center):
    if form not in ("accumulated", "published"):
        raise ValueError(f"`form` must be 'accumulated' or 'published'. Received: form={form!r}")
    if center not in ("initial", "zero"):
        raise ValueError(f"`center` must be 'initial' or 'zero'. Received: center={center!r}")
    if center == "zero" and form != "published":
        raise ValueError(
            "`center='zero'` is a choice of the published form only: the accumulated form starts "
            "from the initial weights. Received: center='zero', form='accumulated'"
        )
