"""Base of the settings of optimizers."""

import dataclasses
from typing import ClassVar

from apps.training.settings import Settings, names, positive


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method(Settings):
    """The settings of an optimizer; its class in `keras_sparse` or Keras has the same name.

    The defaults are those of the class: a test compares them.

    Attributes:
        flag: its name for `--optimizer`; a class without a flag is a base class.
        group: the group in `--help`.
        apart: names of the settings that are not arguments of the class.
        fitted: `{setting: default}` of schedules that are None here, because a short training
            shortens them.
    """

    learning_rate: float | None = positive(
        "The rate, or what its schedule begins with; with masks 0.003 with --inner=adam, 0.03 with "
        "sgd."
    )
    group: ClassVar[str] = "optimizer"
    apart: ClassVar[tuple] = ("learning_rate",)
    fitted: ClassVar[dict] = {}

    def optimizer(self, rate, run):
        """A new `keras.optimizers.Optimizer`.

        Args:
            rate: function from the constant learning rate to the schedule.
            run: the `Run`, used to make other schedules.

        Raises:
            ValueError: a value that the class refuses.
        """
        import keras

        import keras_sparse

        name = type(self).__name__
        build = getattr(keras_sparse, name, None) or getattr(keras.optimizers, name)
        return build(rate(self.constant_rate()), **self.arguments(run))

    def constant_rate(self):
        """The learning rate without a schedule."""
        return self.learning_rate

    def arguments(self, run):
        """The arguments of the class besides the learning rate."""
        values = {name: getattr(self, name) for name in names(self) if name not in self.apart}
        # An empty pattern excludes nothing.
        return {name: value for name, value in values.items() if value not in (None, "")}

    def callbacks(self, run):
        """New callbacks that belong to the method."""
        return []
