"""The state of a model's random layers, which configs and `.keras` files do not contain."""

import keras
import numpy as np

from keras_sparse.variables import copied, layers_of_type


def random_state(model):
    """`{layer name: list of NumPy arrays}` of the random layers, such as dropout."""
    return {name: list(map(copied, variables)) for name, variables in _variables(model).items()}


def set_random_state(model, state):
    """Set the state of the layers; layers without an entry are unchanged."""
    for name, variables in _variables(model).items():
        values = state.get(name, [])
        if len(values) == len(variables):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)


def check_random_state(model, state):
    """Raise a ValueError unless all arrays of a state (from JSON) match the model's layers."""
    layers = _variables(model)
    shapes = {name: [tuple(v.shape) for v in variables] for name, variables in layers.items()}
    arrays = {name: [np.asarray(value) for value in values] for name, values in state.items()}
    numbers = all(a.dtype.kind in "iuf" for values in arrays.values() for a in values)
    if not numbers or {n: [a.shape for a in values] for n, values in arrays.items()} != shapes:
        raise ValueError(f"`random_state` does not fit the random layers, {list(layers)}")


class SeededEpochs(keras.callbacks.Callback):
    """Seeds PyTorch's own generators before the first step of each epoch.

    On PyTorch layers without a seed draw from these generators. Seeded, they draw the same numbers
    in an epoch whether or not the training was resumed. The seed depends on the epoch and on the
    model's random layers, and so on `keras.utils.set_random_seed` before they were made. Without
    random layers and on other backends the callback does nothing.

    Args:
        model: the model whose random layers count. Defaults to the model that is trained.
    """

    def __init__(self, model=None):
        super().__init__()
        self._random_model = model

    def on_epoch_begin(self, epoch, logs=None):
        self._seeded_epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        """Seeds before the first batch, because `fit` draws numbers when it opens the data."""
        if batch == 0 and keras.backend.backend() == "torch":
            state = random_state(self._random_model or self.model)
            if state:
                _seed_torch(state, self._seeded_epoch)


def _seed_torch(state, epoch):
    import torch

    numbers = [int(n) for arrays in state.values() for array in arrays for n in array.flat]
    (seed,) = np.random.SeedSequence([*numbers, epoch]).generate_state(1, np.uint64)
    torch.manual_seed(int(seed))


def _variables(model):
    found = {}
    for layer in layers_of_type(model, keras.Layer):
        if isinstance(layer, keras.Model):
            continue
        weights = {id(weight) for weight in layer.weights}
        own = [variable for variable in layer.variables if id(variable) not in weights]
        if own:
            found.setdefault(layer.name, []).extend(own)
    return found
