"""Recurrent layers without loops, because the calibrators of int8 do not support loops."""

import contextlib
import math
import unittest.mock
import uuid

import numpy as np

_BATCH = 32
_RESET_STEPS = 2
# LiteRT's integer LSTM computes tanh of the cells wrongly if all are below 0.5.
_CELL = 0.8
# A sum of -8 closes a gate: LiteRT's integer LSTM computes gates from -8 to 8.
_CLOSED = 8.0
_MOST_FEATURES = 128
_MOST_COARSER = 16.0


@contextlib.contextmanager
def without_loops(model, specs, samples, *, fuse):
    """While the block runs, recurrent layers are traced without loops.

    An LSTM becomes one operator if LiteRT has an equivalent one; its size does not grow with the
    number of steps. All other layers are unrolled.

    Args:
        model: a built `keras.Model`; it is restored when the block ends.
        specs: the result of `input_specs`.
        samples: representative samples, from `check_samples`.
        fuse: True if the converter supports LSTM as one operator; ai-edge-quantizer does not.
    """
    import keras
    import tensorflow as tf

    from keras_sparse.variables import layers_of_type

    layers = layers_of_type(model, keras.layers.RNN)
    lstms = [layer for layer in layers if fuse and _is_plain_lstm(layer)]
    largest = _largest_inputs(model, specs, samples, lstms)
    unrolled = [layer.unroll for layer in layers]
    cudnn = [getattr(layer, "use_cudnn", None) for layer in layers]
    try:
        for layer in layers:
            layer.unroll = True
            if hasattr(layer, "use_cudnn"):
                layer.use_cudnn = False
        for layer in lstms:
            fused = FusedLSTM.of(layer, largest[layer.path])
            if fused is not None:
                _replace_call(layer, fused)
        with unittest.mock.patch.object(tf, "reverse", _reverse):
            yield
    finally:
        for layer, unroll, use in zip(layers, unrolled, cudnn, strict=True):
            layer.unroll = unroll
            if use is not None:
                layer.use_cudnn = use
            layer.__dict__.pop("call", None)


def _is_plain_lstm(layer):
    import keras

    return (
        type(layer) is keras.layers.LSTM
        and layer.activation is keras.activations.tanh
        and layer.recurrent_activation is keras.activations.sigmoid
        and not layer.return_state
        and not layer.stateful
    )


def _replace_call(layer, call):
    # Not by assignment, because Keras would track it as a part of the layer.
    layer.__dict__["call"] = call


def _largest_inputs(model, specs, samples, layers):
    """The largest absolute input of each layer on the samples, by the layer's path."""
    import keras

    largest = {}
    for layer in layers:
        _replace_call(layer, _Recorder(layer, largest))
    try:
        for start in range(0, len(samples[0]) if layers else 0, _BATCH):
            batch = [value[start : start + _BATCH] for value in samples]
            model(keras.tree.pack_sequence_as(specs, batch), training=False)
    finally:
        for layer in layers:
            layer.__dict__.pop("call")
    return largest


class _Recorder:
    """A layer's call that records its largest absolute input."""

    def __init__(self, layer, largest):
        self.layer = layer
        self.largest = largest

    def __call__(self, sequences, **options):
        import keras

        value = float(np.max(np.abs(keras.ops.convert_to_numpy(sequences)), initial=0.0))
        self.largest[self.layer.path] = max(value, self.largest.get(self.layer.path, 0.0))
        return type(self.layer).call(self.layer, sequences, **options)


class FusedLSTM:
    """An LSTM layer's call, as a function that TensorFlow's converter turns into one operator.

    LiteRT's operator keeps its state from one inference to the next, and has no mask. So each
    sequence begins with steps that reset the state: additional features close the input and the
    forget gate. Masked steps are moved to the beginning and also reset the state; the others keep
    their order. An additional unit, which no other unit reads, keeps a large cell.

    Args:
        layer: a `keras.layers.LSTM`.
        features: number of additional features.
        signal: their value in a step that resets the state.
    """

    @classmethod
    def of(cls, layer, largest):
        """The call for inputs up to `largest` in absolute value; None if int8 is too coarse."""
        kernel, _, bias = _weights(layer)
        weights = np.abs(kernel[:, :2]).max(axis=(0, 2))
        if not largest or not weights.all():
            return None
        # A gate's kernel has one scale, and the inputs have one scale. Additional values must not
        # be larger than the existing ones, so several features are needed to close a gate.
        needed = np.max(_to_close(bias) / (largest * weights))
        features = min(math.ceil(needed), _MOST_FEATURES)
        coarser = max(needed / features, 1.0)
        if coarser > _MOST_COARSER:
            return None
        return cls(layer, features, largest * math.sqrt(coarser))

    def __init__(self, layer, features, signal):
        kernel, recurrent, bias = _weights(layer)
        rows = np.zeros((features, *kernel.shape[1:]), "float32")
        rows[:, :2] = -_to_close(bias)[:, np.newaxis] / (signal * features)
        unit = [_CLOSED, -_CLOSED, math.atanh(_CELL), -_CLOSED]
        self.layer = layer
        self.features = features
        self.signal = signal
        self.kernel = _flat(_with_unit(np.concatenate([kernel, rows]), [0.0] * 4))
        self.recurrent_kernel = np.pad(_flat(_with_unit(recurrent, [0.0] * 4)), [(0, 1), (0, 0)])
        self.bias = _flat(_with_unit(bias, unit))

    def __call__(self, sequences, initial_state=None, mask=None, training=False):
        """The layer's outputs; the layer itself computes them if there is an initial state."""
        import tensorflow as tf

        layer = self.layer
        steps = sequences.shape[1]
        if initial_state is not None or steps is None:
            return type(layer).call(
                layer, sequences, initial_state=initial_state, mask=mask, training=training
            )
        if layer.go_backwards:
            sequences = _reverse(sequences, [1])
            mask = None if mask is None else _reverse(mask, [1])
        batch = tf.shape(sequences)[0] if sequences.shape[0] is None else sequences.shape[0]
        empties = tf.zeros((batch, steps))
        if mask is not None:
            valid = tf.cast(mask, tf.int32)
            kept = tf.reduce_sum(valid, axis=1, keepdims=True)
            place = tf.range(steps)
            order = tf.math.top_k((2 - valid) * steps - place, steps).indices
            sequences = tf.gather(sequences, order, batch_dims=1)
            empties = tf.cast(place < steps - kept, "float32")
        empties = tf.concat([tf.ones((batch, _RESET_STEPS)), empties], axis=1)
        sequences = tf.pad(sequences, [[0, 0], [_RESET_STEPS, 0], [0, 0]])
        features = tf.repeat(self.signal * empties[..., tf.newaxis], self.features, axis=2)
        outputs = self._operator(tf.concat([sequences, features], axis=2), batch)
        outputs = outputs[..., : layer.units]
        # Not 1, because the converter would remove the product. The operator's output and its state
        # must have the same scale, and a later concatenation would change the scale of the output.
        outputs *= np.nextafter(np.float32(1), np.float32(2))
        if not layer.return_sequences:
            return outputs[:, -1]
        if mask is None:
            return outputs[:, _RESET_STEPS:]
        latest = _RESET_STEPS + steps - kept + tf.cumsum(valid, axis=1) - 1
        outputs = tf.gather(outputs, latest, batch_dims=1)
        if layer.zero_output_for_mask:
            outputs *= tf.cast(mask, "float32")[..., tf.newaxis]
        return outputs

    def _operator(self, sequences, batch):
        import tensorflow as tf

        state = tf.zeros((batch, self.layer.units + 1))
        # The converter looks for these names and attributes.
        function = tf.function(
            _lstm,
            autograph=False,
            experimental_attributes={
                "api_implements": f"lstm_{uuid.uuid4()}",
                "api_preferred_device": "CPU",
                "time_major": False,
                "go_backwards": False,
            },
        )
        weights = map(tf.constant, (self.kernel, self.recurrent_kernel, self.bias))
        return function(sequences, state, state, *weights)[1]


def _weights(layer):
    """Kernel, recurrent kernel and bias of an LSTM, each `(..., gate, unit)`: i, f, c and o."""
    import keras

    cell, units = layer.cell, layer.units
    arrays = [keras.ops.convert_to_numpy(cell.kernel)]
    arrays.append(keras.ops.convert_to_numpy(cell.recurrent_kernel))
    arrays.append(
        keras.ops.convert_to_numpy(cell.bias) if cell.use_bias else np.zeros(4 * units, "float32")
    )
    return [array.reshape(*array.shape[:-1], 4, units) for array in arrays]


def _to_close(bias):
    """The amounts to subtract from the sums of the input and the forget gate to close them."""
    return _CLOSED + np.maximum(bias[:2].max(axis=1), 0.0)


def _with_unit(array, values):
    """Add one unit, with a value for each gate."""
    unit = np.broadcast_to(np.array(values, "float32")[:, np.newaxis], (*array.shape[:-1], 1))
    return np.concatenate([array, unit], axis=-1)


def _flat(array):
    return array.reshape(*array.shape[:-2], -1)


def _reverse(tensor, axis, name=None):
    """`tf.reverse` by gathering, because the converter changes the int8 scale in a reverse."""
    import tensorflow as tf

    for i in np.atleast_1d(axis):
        size = tensor.shape[int(i)]
        indices = range(size - 1, -1, -1) if size else tf.range(tf.shape(tensor)[i])[::-1]
        tensor = tf.gather(tensor, indices, axis=int(i), name=name)
    return tensor


def _lstm(inputs, init_h, init_c, kernel, recurrent_kernel, bias):
    """The five outputs of `standard_lstm` of Keras 2; the converter replaces the body."""
    import tensorflow as tf

    state, cell, outputs = init_h, init_c, []
    for step in tf.unstack(inputs, axis=1):
        gates = tf.matmul(step, kernel) + tf.matmul(state, recurrent_kernel) + bias
        i, f, c, o = tf.split(gates, 4, axis=1)
        cell = tf.sigmoid(f) * cell + tf.sigmoid(i) * tf.tanh(c)
        state = tf.sigmoid(o) * tf.tanh(cell)
        outputs.append(state)
    return state, tf.stack(outputs, axis=1), state, cell, tf.constant(0.0)
