"""Initializers for sparse training."""

from typing import Literal

import keras


@keras.saving.register_keras_serializable(package="keras_sparse")
class ScaledUniform(keras.initializers.VarianceScaling):
    """Uniform values in ±`scale`·a, the wide initialization that dual averaging needs.

    Dual averaging around zero forgets the initial weights after one step, but the gradients of that
    step depend on them. If the initial weights are too small, the network dies. If they are zero,
    it never changes (Proposition 1 of the paper). The bound a depends on the fan-in n, which is
    `channels * kernel_size` for a convolution and the number of inputs for a dense layer.

    The paper does not state which of the two usual bounds it uses. `"torch"` is a = 1/√n, the
    default of PyTorch's layers, and more likely. `"lecun"` is a = √(3/n), which has unit gain.

    Args:
        scale: float, above 0. The paper's s: 10 for ResNet-18 and 20 for VGG-16 on CIFAR-10.
        bound: `"torch"` or `"lecun"`.
        seed: int, `keras.random.SeedGenerator` or None.

    Raises:
        ValueError: a scale that is not positive, an unknown bound.

    Example:

    >>> keras.layers.Dense(10, kernel_initializer=ScaledUniform(10.0))

    Reference:
        Make l1 regularization effective in training sparse CNN, arXiv 1807.04222, section 4.
    """

    def __init__(
        self,
        scale: float = 10.0,
        bound: Literal["torch", "lecun"] = "torch",
        seed: int | keras.random.SeedGenerator | None = None,
    ) -> None:
        if not 0 < scale < float("inf"):
            raise ValueError(f"`scale` must be above 0. Received: scale={scale}")
        if bound not in ("torch", "lecun"):
            raise ValueError(f"`bound` must be 'torch' or 'lecun'. Received: bound={bound!r}")
        # Keras draws from ±√(3·variance_scale / n).
        variance_scale = scale**2 / (3.0 if bound == "torch" else 1.0)
        super().__init__(variance_scale, mode="fan_in", distribution="uniform", seed=seed)
        self._scale_of_bound = scale
        self.bound = bound

    def get_config(self):
        seed = super().get_config()["seed"]
        return {"scale": self._scale_of_bound, "bound": self.bound, "seed": seed}
