"""Static sparse training: a random mask that never changes."""

import keras

from keras_sparse.optimizers.with_density import WithDensity


@keras.saving.register_keras_serializable(package="keras_sparse")
class StaticSparse(WithDensity):
    """Trains a network inside a random mask that never changes.

    It is the baseline for methods that move weights.

    Args:
        learning_rate: float, schedule, callable or None. Defaults to None: Adam inside, at 3e-3;
            see `inner` of `MaskedOptimizer`.
        density: float in (0, 1], the share of the sparse weights that are kept. Defaults to 0.1.
        distribution: `"erk"`, `"uniform"`, a dict from patterns to densities, `"zeros"` or `"2:4"`;
            see `WithDensity`.
            Defaults to `"erk"`.
        **kwargs: the other arguments of `MaskedOptimizer`: `momentum`, `nesterov`, `inner`,
            `exclude`, `seed`, and those of `keras.optimizers.Optimizer`.

    Example:

    >>> model.compile(StaticSparse(0.1, density=0.05), "sparse_categorical_crossentropy")
    """
