"""Schedules: channels are removed at once, in several cuts, or after a push to zero."""

import dataclasses

from keras_sparse.compression.budget import Budget, warn_if_met
from keras_sparse.compression.device import Cut
from keras_sparse.compression.growing import push
from keras_sparse.compression.job import Recovered
from keras_sparse.compression.probe import unchanged
from keras_sparse.compression.recovery import sources_of
from keras_sparse.compression.reports import joined, names_in, renamed
from keras_sparse.configured import Configured
from keras_sparse.validation import check_integer


class OneShot(Configured):
    """One cut, then the whole training."""

    takes_plan = True

    def check(self, epochs):
        """Does nothing: any number of epochs is possible."""

    def before(self, epochs):
        """Epochs of training before the last cut, of all `epochs`."""
        return 0

    def run(self, job):
        """Cuts and trains; returns a `Recovered`."""
        cut = job.cut()
        job.prepare(cut, job.epochs)
        metrics = job.training.evaluate(cut.model)
        history = job.train(cut.model, cut.plan, job.epochs)
        return Recovered(cut.plan, cut, metrics, history)


class Iterative(Configured):
    """Several cuts, which all reduce the costs by the same factor, with training after each.

    Between the cuts, the learning rate stays at its peak. After the last cut, it rises and falls
    over the remaining epochs. Each cut scores the channels again.

    Args:
        cuts: int, at least 2: the number of cuts. Defaults to 4.
        epochs: int, at least 1: epochs of training after each cut except the last. Defaults to 1.

    Raises:
        ValueError: `cuts` is below 2, or `epochs` below 1.

    Example:

    >>> keras_sparse.compress(model, data, target={"macs": 0.3}, epochs=20, schedule=Iterative(6))

    Reference:
        Molchanov et al., Pruning convolutional neural networks for resource efficient inference,
        arXiv 1611.06440.
    """

    takes_plan = False

    def __init__(self, cuts=4, epochs=1):
        self.cuts = check_integer("cuts", cuts, "[2, inf)")
        self.epochs = check_integer("epochs", epochs, "[1, inf)")

    def check(self, epochs):
        """Raises a `ValueError` if no epoch is left after the last cut."""
        between = self.before(epochs)
        if epochs <= between:
            raise ValueError(
                f"`epochs` must be above the {between} that {self} takes between its cuts. "
                f"Received: epochs={epochs}"
            )

    def before(self, epochs):
        """Epochs of training before the last cut, of all `epochs`."""
        return (self.cuts - 1) * self.epochs

    def run(self, job):
        """Cuts and trains alternately; returns a `Recovered`."""
        model, first, report, history = job.model, None, None, {}
        names = sources = None
        for number in range(1, self.cuts + 1):
            stage, last = f"cut_{number}", number == self.cuts
            epochs = job.epochs - self.before(job.epochs) if last else self.epochs
            costs = first and {name: before for name, (before, _) in first.costs.items()}
            target = _Step(job.target, number / self.cuts, costs)
            cut = _with_names(job, names).cut(model, target, stage, measure=last)
            first = first or cut.plan
            report = joined(report, renamed(cut.report, names)) if report else cut.report
            names, sources = _names(model, cut, names), sources_of(cut.report, sources)
            job.prepare(cut, epochs, constant=not last, sources=sources)
            metrics = job.training.evaluate(cut.model) if last else {}
            trained = job.train(cut.model, cut.plan, epochs, stage)
            history = _joined(history, trained)
            model = cut.model
        return Recovered(first, dataclasses.replace(cut, report=report), metrics, history)

    def get_config(self):
        return {"cuts": self.cuts, "epochs": self.epochs}


class Growing(Configured):
    """Chosen channels are pushed to zero by a growing penalty, and then cut.

    While the given model trains, the weights of the chosen channels decay faster and faster, as
    with an L2 penalty with a factor that rises linearly from 0. The other channels learn to replace
    them. The learning rate stays at its peak; after the cut, it rises and falls over the remaining
    epochs.

    Args:
        epochs: int, epochs of the push. Defaults to half of all epochs.

    Raises:
        ValueError: `epochs` is below 1.

    Reference:
        Wang et al., Neural pruning via growing regularization, arXiv 2012.09243: GReg-1. In the
        paper, the factor rises by a fixed amount every few steps. Here it rises so that weights
        without a gradient shrink to e^-8 of their size. The decay is separate from the gradient, as
        in AdamW, so that it is the same for every optimizer.
    """

    takes_plan = True

    def __init__(self, epochs=None):
        self.epochs = None if epochs is None else check_integer("epochs", epochs, "[1, inf)")

    def check(self, epochs):
        """Raises a `ValueError` if there are no epochs before or after the cut."""
        if epochs <= self.before(epochs) or epochs < 2:
            raise ValueError(
                f"`epochs` must leave epochs for the push and for the training after the cut: at "
                f"least {self.before(epochs) + 1}. Received: epochs={epochs}"
            )

    def run(self, job):
        """Pushes, cuts and trains; returns a `Recovered`."""
        chosen = job.cut()
        pushed = self.before(job.epochs)
        with unchanged(job.model):
            history = push(job, chosen.plan, pushed, "growing")
            cut = Cut(chosen.plan, *chosen.plan.apply(job.model), chosen.seconds)
        job.prepare(cut, job.epochs - pushed)
        metrics = job.training.evaluate(cut.model)
        trained = job.train(cut.model, cut.plan, job.epochs - pushed)
        return Recovered(chosen.plan, cut, metrics, _joined(history, trained))

    def before(self, epochs):
        """Epochs of the push, of all `epochs`."""
        return max(1, epochs // 2) if self.epochs is None else self.epochs

    def get_config(self):
        return {"epochs": self.epochs}


def _names(model, cut, names):
    """`{name of a layer of a cut's model: name in the given model}`.

    Args:
        model: the `keras.Model` that was cut.
        cut: its `Cut`.
        names: the same dict for `model`, None if it is the given model.
    """
    own = names_in(model, cut.model, cut.report.slices)
    return own if names is None else {new: names[old] for new, old in own.items() if old in names}


def _with_names(job, names):
    """A job whose `exclude` and `latency` have the names of the model that an earlier cut made.

    Args:
        job: a `Job`.
        names: see `_names`.
    """
    if names is None:
        return job
    exclude = tuple(new for new, given in names.items() if given in job.exclude)
    latency = {name: _NamedTable(table, names) for name, table in (job.latency or {}).items()}
    return dataclasses.replace(job, exclude=exclude, latency=latency or None)


class _NamedTable:
    """A latency table of a given model, for a model in which layers have other names."""

    def __init__(self, table, names):
        self._table, self._names = table, names

    def steps(self, layer):
        """Useful widths of a layer by its name in the cut model; none if the table has none."""
        steps = getattr(self._table, "steps", None)
        return steps(self._names.get(layer, layer)) if steps else []

    def layer_seconds(self, layer, shapes):
        """The time of a layer by its name in the cut model."""
        return self._table.layer_seconds(self._names.get(layer, layer), shapes)

    def __getattr__(self, name):
        return getattr(self._table, name)


def _joined(first, then):
    return {name: first.get(name, []) + values for name, values in then.items()}


class _Step:
    """The budget of one of several cuts, as a function of the model's costs.

    Args:
        target: the user's target.
        part: float, the fraction of the whole reduction to reach, in logarithms of the costs.
        costs: `{cost: cost of the given model}`, None before the first cut.
    """

    def __init__(self, target, part, costs):
        self.target, self._part, self._costs = target, part, costs

    def last(self, costs):
        """The budget of the last cut."""
        return Budget.of(self.target, self._costs or costs)

    def __call__(self, costs):
        given = self._costs or costs
        budget = self.last(costs)
        if self._costs is None:
            warn_if_met(budget, costs)
        limits = budget.limits
        if self._part == 1:
            return Budget(limits)
        return Budget(
            {
                name: given[name] * min(1.0, limit / given[name]) ** self._part
                for name, limit in limits.items()
            }
        )


_BY_NAME = {"one_shot": OneShot, "iterative": Iterative, "growing": Growing}


def as_schedule(schedule):
    """The schedule of the argument `schedule`.

    Raises:
        ValueError: the schedule is unknown.
    """
    if isinstance(schedule, str) and schedule in _BY_NAME:
        return _BY_NAME[schedule]()
    if isinstance(schedule, tuple(_BY_NAME.values())):
        return schedule
    raise ValueError(
        f"`schedule` must be one of {list(_BY_NAME)}, `Iterative(...)` or `Growing(...)`. "
        f"Received: {schedule!r}"
    )
