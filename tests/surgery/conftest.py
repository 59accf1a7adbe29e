"""Random models with dead channels, and the comparison that every test here ends with."""

import keras
import numpy as np
import pytest

from keras_sparse import surgery
from keras_sparse.surgery import verify


def use_precision(dtype):
    """Makes new layers and arrays of one type."""
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)


@pytest.fixture
def float64():
    """Computes in float64, so that what is left of a difference is a mistake."""
    before = keras.config.floatx(), keras.config.dtype_policy()
    use_precision("float64")
    yield
    keras.config.set_floatx(before[0])
    keras.config.set_dtype_policy(before[1])


class Harness:
    """Fills models with random weights, kills channels, cuts and compares."""

    use_precision = staticmethod(use_precision)

    def __init__(self):
        self.rng = np.random.default_rng(0)

    def randomise(self, model, damping=0.5):
        """Random weights and statistics everywhere."""
        for weight in model.weights:
            value = self.rng.standard_normal(weight.shape) * damping
            if "variance" in weight.path:
                value = self.rng.uniform(0.5, 1.5, weight.shape)
            weight.assign(value)

    def kill(self, model, share=0.3):
        """Sets a share of the filters to zero, the same ones in all layers of one width.

        Biases and batch normalisation stay, so that what dies is a constant, rarely zero.
        """
        sets = {}
        for weight in model.weights:
            if not weight.path.endswith("kernel") or len(weight.shape) < 2:
                continue
            axis = -2 if "transpose" in weight.path or "depthwise" in weight.path else -1
            width = weight.shape[axis]
            if width not in sets:
                sets[width] = self.rng.permutation(width)[: int(share * width)]
            value = np.moveaxis(weight.numpy(), axis, -1)
            value[..., sets[width]] = 0.0
            weight.assign(np.moveaxis(value, -1, axis))

    def cut(self, model, **arguments):
        """Cuts and compares against the model's own noise floor; `(compact, report)`."""
        before = [weight.numpy() for weight in model.weights]
        nodes = [len(layer._inbound_nodes) for layer in model._flatten_layers()]
        compact, report = surgery.remove_dead_channels(model, **arguments)
        for weight, value in zip(model.weights, before, strict=True):
            np.testing.assert_array_equal(weight.numpy(), value)
        assert nodes == [len(layer._inbound_nodes) for layer in model._flatten_layers()]
        assert report.parameters == (model.count_params(), compact.count_params())
        self.compare(model, compact)
        return compact, report

    def compare(self, model, compact, seed=7):
        """Outputs on an input that the verification has not seen."""
        inputs = verify.random_inputs(model, seed=seed)
        difference, noise = verify.largest_difference(model, compact, inputs)
        exact = keras.config.floatx() == "float64" and keras.backend.backend() == "tensorflow"
        # 256 units in the last place: what the order of long sums may cost.
        assert difference <= max(32 * noise, 256 * 2.0**-52 if exact else 1e-5)


@pytest.fixture
def harness():
    """A `Harness`, seeded."""
    return Harness()
