"""Operations in an opened layer that replace values which Keras' graphs cannot represent.

Such values are weights that `call` reads directly, arrays that a sublayer is called on, and the
lengths of open axes. Each becomes an operation on a tensor of the graph. A compact model has none
of them: their rules replace them by layers and operations of Keras.
"""

import contextlib
import weakref

import keras
import numpy as np

from keras_sparse import _keras

# `{layer: {attribute: Parameter}}`: one for each weight, even if a layer is opened several times.
_PARAMETERS = weakref.WeakKeyDictionary()


class Zeros(keras.Operation):
    """Integer zeros, one for each position of a tensor with open sizes: `(batch, ..., 1)`.

    Args:
        whole: whether the last axis holds positions rather than channels.
    """

    def __init__(self, whole=False):
        super().__init__()
        self.whole = whole

    def part(self, x):
        """The part of `x` that gives the shape of the zeros."""
        return x if self.whole or len(x.shape) < 2 else x[..., :1]

    def call(self, x):
        """Zeros for all positions of `x`."""
        return keras.ops.zeros_like(self.part(x), dtype="int32")

    def compute_output_spec(self, x):
        """The shape of `x` with one channel."""
        whole = self.whole or len(x.shape) < 2
        return keras.KerasTensor(x.shape if whole else (*x.shape[:-1], 1), "int32")


class Parameter(keras.Layer):
    """A weight of a layer of layers, as a separate layer.

    Args:
        variable: a `keras.Variable` of the layer.
        owner: the layer; its dtype policy is used.
    """

    def __init__(self, variable, owner):
        super().__init__(name=variable.name, dtype=owner.dtype_policy)
        self.owned = variable
        self.built = True

    def call(self, zeros):
        """Returns the weight; the input is ignored."""
        cast = getattr(self.owned, "autocast", True)
        return keras.ops.cast(self.owned, self.compute_dtype if cast else self.owned.dtype)

    def compute_output_spec(self, zeros):
        """The weight's shape, without a batch axis."""
        cast = getattr(self.owned, "autocast", True)
        dtype = self.compute_dtype if cast else self.owned.dtype
        return keras.KerasTensor(tuple(self.owned.shape), dtype)


class Constant(keras.Operation):
    """An array that a layer is called on.

    Args:
        array: NumPy array.
        dtype: string.
    """

    def __init__(self, array, dtype, name=None):
        super().__init__(name=name)
        self.array = array
        self.dtype = dtype

    def call(self, zeros):
        """Returns the array; the input is ignored."""
        return keras.ops.convert_to_tensor(self.array, self.dtype)

    def compute_output_spec(self, zeros):
        """The array's shape."""
        return keras.KerasTensor(self.array.shape, self.dtype)


def own_weights(layer):
    """`{attribute: weight}` of a layer's own weights, without those of its sublayers.

    Returns:
        A dict. None if one of the weights is not an attribute, or is neither of a float type nor
        a non-trainable integer.
    """
    inner = {
        id(variable)
        for part in _keras.flatten_layers(layer, include_self=False)
        for variable in part.variables
    }
    own = {id(v) for v in layer.variables if id(v) not in inner}
    found = {
        key: value
        for key, value in vars(layer).items()
        if id(value) in own and (_is_float(value) or _is_fixed(value))
    }
    return found if {id(value) for value in found.values()} == own else None


def _is_fixed(variable):
    """Whether a variable holds non-trainable integers, such as the indices of positions."""
    return not variable.trainable and "int" in str(variable.dtype)


def _is_float(variable):
    return "float" in str(variable.dtype)


def parameters(layer):
    """The `Parameter`s of a layer, by attribute."""
    known = _PARAMETERS.setdefault(layer, {})
    own = {key: value for key, value in (own_weights(layer) or {}).items() if _is_float(value)}
    made = {id(parameter.owned): parameter for parameter in known.values()}
    if {id(value) for value in own.values()} != set(made):
        made = {id(value): Parameter(value, layer) for value in own.values()}
    _PARAMETERS[layer] = {key: made[id(value)] for key, value in own.items()}
    return _PARAMETERS[layer]


def known_parameters(layer):
    """The existing `Parameter`s of a layer."""
    return list(_PARAMETERS.get(layer, {}).values())


@contextlib.contextmanager
def stood_in(layer, source):
    """Within the block, `layer.call` reads symbolic tensors instead of its own weights.

    Non-trainable integers become constants. A `call` that assigns to them ends in an error.

    Arrays that sublayers are called on become symbolic tensors too, such as `ops.arange` for a
    position embedding. Otherwise the trace would hold the sublayer's results as constants.

    Args:
        layer: a layer of layers.
        source: `keras.KerasTensor`, one of the tensors that the layer is called on.

    Yields:
        A function that turns an array into a symbolic tensor, and returns anything else unchanged.
    """
    zeros = []

    def needed():
        if not zeros:
            zeros.append(Zeros()(source))
        return zeros[0]

    def symbolic(leaf):
        if not hasattr(leaf, "shape") or isinstance(leaf, keras.KerasTensor):
            return leaf
        array = np.array(keras.ops.convert_to_numpy(leaf))
        return Constant(array, keras.backend.standardize_dtype(leaf.dtype))(needed())

    @contextlib.contextmanager
    def weights_of(part):
        parameters_of = parameters(part)
        replaced = dict(own_weights(part) or {})
        try:
            for key, value in replaced.items():
                known = parameters_of[key](needed()) if key in parameters_of else symbolic(value)
                vars(part)[key] = known
            yield
        finally:
            vars(part).update(replaced)

    def inline(part, args, kwargs):
        with weights_of(part):
            return part.call(*args, **kwargs)

    inner = [p for p in _keras.flatten_layers(layer, include_self=False) if p.weights]
    with weights_of(layer), _keras.calls_seen(inner, symbolic, inline):
        yield symbolic
