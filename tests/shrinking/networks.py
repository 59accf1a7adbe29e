"""Small networks some of whose channels are dead and stay so, and data for them."""

import keras
import numpy as np
from keras import layers, ops

from keras_sparse import RDA, SparseMomentum

DEAD = 6
OPTIMIZERS = {
    "adam": lambda: keras.optimizers.Adam(0.01),
    "rda": lambda: RDA(0.1, l1=1e-4, groups="channel"),
    "sparse_momentum": lambda: SparseMomentum(
        0.05, density=0.5, growth="momentum_by_channel", update_every=None, seed=0
    ),
}


def array(variable):
    return np.array(ops.convert_to_numpy(variable))


def images(count=48, seed=0):
    """Three classes that differ by their mean: `(x, y)`."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 3
    x = rng.normal(size=(count, 6, 6, 1)) + y[:, None, None, None]
    return x.astype("float32"), y.astype("int32")


def network(dtype=None):
    """A padded convolution with a bias, dropout, a dense layer; Sequential."""
    kernel = {"kernel_regularizer": keras.regularizers.L2(1e-3), "dtype": dtype}
    return keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            layers.Conv2D(12, 3, padding="same", activation="relu", name="conv", **kernel),
            layers.MaxPooling2D(name="pool"),
            layers.Flatten(name="flatten"),
            layers.Dropout(0.2, name="dropout"),
            layers.Dense(20, "relu", name="hidden", **kernel),
            layers.Dense(3, name="logits", dtype="float32"),
        ],
        name="network",
    )


def plain_network():
    """Without dropout and penalty, so that what cuts leave out takes no part in training."""
    return keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            layers.Conv2D(12, 3, padding="same", activation="relu", name="conv"),
            layers.Flatten(),
            layers.Dense(20, "relu", name="hidden"),
            layers.Dense(3, name="logits"),
        ]
    )


def kill(model, names=("conv", "hidden"), dead=slice(DEAD)):
    """Make channels of layers dead: no weights, and a bias that ReLU holds at zero."""
    for name in names:
        layer = model.get_layer(name)
        kernel, bias = array(layer.kernel), array(layer.bias)
        kernel[..., dead], bias[dead] = 0.0, -1.0
        layer.set_weights([kernel, bias])


def compiled(model, optimizer, run_eagerly=False):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"], run_eagerly=run_eagerly)
    return model


def make(name, dead=True, seed=0, run_eagerly=False):
    """A compiled network with one of `OPTIMIZERS`; dead or not, the same weights elsewhere."""
    keras.utils.set_random_seed(seed)
    model = network()
    if dead:
        kill(model)
    return compiled(model, OPTIMIZERS[name](), run_eagerly)


def weights(model):
    return [array(variable) for variable in model.weights]


def state(model):
    """Weights and the optimizer's variables."""
    return weights(model) + [array(variable) for variable in model.optimizer.variables]


def same(some, others):
    """Whether two lists of arrays have the same bits."""
    return len(some) == len(others) and all(map(np.array_equal, some, others))
