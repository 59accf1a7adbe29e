"""Small models in the style of keras.io's examples, with the custom layers of such examples."""

import keras
from keras import layers, ops


class Patches(layers.Layer):
    """Non-overlapping patches, one after the other."""

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def call(self, images):
        height, width, channels = images.shape[1:]
        rows, columns, size = height // self.size, width // self.size, self.size
        x = ops.reshape(images, (-1, rows, size, columns, size, channels))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        return ops.reshape(x, (-1, rows * columns, size * size * channels))

    def get_config(self):
        return {**super().get_config(), "size": self.size}


class PatchEncoder(layers.Layer):
    """A projection and a table of positions."""

    def __init__(self, count, width, **kwargs):
        super().__init__(**kwargs)
        self.count, self.width = count, width
        self.projection = layers.Dense(width)
        self.positions = layers.Embedding(count, width)

    def call(self, x):
        return self.projection(x) + self.positions(ops.arange(self.count))

    def get_config(self):
        return {**super().get_config(), "count": self.count, "width": self.width}


class MLP(layers.Layer):
    """Dense layers with dropout."""

    def __init__(self, widths, **kwargs):
        super().__init__(**kwargs)
        self.widths = widths
        self.parts = [layers.Dense(width, activation="gelu") for width in widths]
        self.dropout = layers.Dropout(0.1)

    def call(self, x, training=None):
        for part in self.parts:
            x = self.dropout(part(x), training=training)
        return x

    def get_config(self):
        return {**super().get_config(), "widths": self.widths}


class TransformerBlock(layers.Layer):
    """Attention and a feed-forward part, each with a sum and a norm."""

    def __init__(self, width, heads=2, hidden=32, **kwargs):
        super().__init__(**kwargs)
        self.width, self.heads, self.hidden = width, heads, hidden
        self.attention = layers.MultiHeadAttention(heads, width // heads)
        self.feed = keras.Sequential([layers.Dense(hidden, activation="relu"), layers.Dense(width)])
        self.first = layers.LayerNormalization()
        self.second = layers.LayerNormalization()
        self.dropout = layers.Dropout(0.1)

    def call(self, x, training=None):
        x = self.first(x + self.dropout(self.attention(x, x), training=training))
        return self.second(x + self.dropout(self.feed(x), training=training))

    def get_config(self):
        own = {"width": self.width, "heads": self.heads, "hidden": self.hidden}
        return {**super().get_config(), **own}


class TokenAndPosition(layers.Layer):
    """The sum of two embeddings."""

    def __init__(self, steps, tokens, width, **kwargs):
        super().__init__(**kwargs)
        self.steps, self.tokens, self.width = steps, tokens, width
        self.token = layers.Embedding(tokens, width)
        self.position = layers.Embedding(steps, width)

    def call(self, x):
        return self.token(x) + self.position(ops.arange(self.steps))

    def get_config(self):
        own = {"steps": self.steps, "tokens": self.tokens, "width": self.width}
        return {**super().get_config(), **own}


class MixerBlock(layers.Layer):
    """One MLP over the patches, one over the channels."""

    def __init__(self, count, width, **kwargs):
        super().__init__(**kwargs)
        self.count, self.width = count, width
        self.tokens = MLP([32, count])
        self.channels = MLP([32, width])
        self.norms = [layers.LayerNormalization(), layers.LayerNormalization()]

    def call(self, x):
        y = ops.transpose(self.norms[0](x), (0, 2, 1))
        x = x + ops.transpose(self.tokens(y), (0, 2, 1))
        return x + self.channels(self.norms[1](x))

    def get_config(self):
        return {**super().get_config(), "count": self.count, "width": self.width}


class ReflectionPadding(layers.Layer):
    """Pads with the picture's mirror image."""

    def call(self, x):
        return ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="reflect")


class Cross(layers.Layer):
    """`x0 * dense(x) + x`, of Deep & Cross."""

    def build(self, shape):
        self.dense = layers.Dense(shape[0][-1])
        self.dense.build(shape[1])

    def call(self, inputs):
        first, x = inputs
        return first * self.dense(x) + x


def _vit():
    x = inputs = keras.Input((32, 32, 3))
    x = PatchEncoder(16, 16)(Patches(8)(x))
    for _ in range(2):
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        x = x + layers.MultiHeadAttention(2, 8)(y, y)
        x = x + MLP([32, 16])(layers.LayerNormalization(epsilon=1e-6)(x))
    x = layers.Flatten()(layers.LayerNormalization()(x))
    return keras.Model(inputs, layers.Dense(4)(MLP([32, 16])(x)))


def _mixer():
    x = inputs = keras.Input((32, 32, 3))
    x = layers.Dense(16)(Patches(8)(x))
    for _ in range(2):
        x = MixerBlock(16, 16)(x)
    return keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling1D()(x)))


def _conv_mixer():
    def activated(x):
        return layers.BatchNormalization()(layers.Activation("gelu")(x))

    inputs = keras.Input((32, 32, 3))
    x = activated(layers.Conv2D(16, 4, 4)(layers.Rescaling(1 / 255)(inputs)))
    for _ in range(2):
        x = activated(layers.Add()([activated(layers.DepthwiseConv2D(5, padding="same")(x)), x]))
        x = activated(layers.Conv2D(16, 1)(x))
    return keras.Model(inputs, layers.Dense(4)(layers.GlobalAvgPool2D()(x)))


def _eanet():
    def external(x, heads=2):
        width = x.shape[-1]
        y = layers.Dense(width * 4)(x)
        y = ops.transpose(ops.reshape(y, (-1, x.shape[1], heads, width * 4 // heads)), (0, 2, 1, 3))
        y = layers.Softmax(axis=2)(layers.Dense(8)(y))
        y = layers.Dense(width * 4 // heads)(y)
        y = ops.reshape(ops.transpose(y, (0, 2, 1, 3)), (-1, x.shape[1], width * 4))
        return layers.Dense(width)(y)

    x = inputs = keras.Input((32, 32, 3))
    x = PatchEncoder(16, 16)(Patches(8)(x))
    for _ in range(2):
        x = layers.add([x, external(layers.LayerNormalization()(x))])
        x = layers.add([x, MLP([32, 16])(layers.LayerNormalization()(x))])
    return keras.Model(inputs, layers.Dense(4)(layers.GlobalAvgPool1D()(x)))


def _u_net():
    def twice(x, width):
        for _ in range(2):
            x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        return x

    x = inputs = keras.Input((32, 32, 3))
    kept = []
    for width in (8, 16):
        x = twice(x, width)
        kept.append(x)
        x = layers.Dropout(0.1)(layers.MaxPool2D(2)(x))
    x = twice(x, 32)
    for width in (16, 8):
        x = layers.Conv2DTranspose(width, 3, 2, padding="same")(x)
        x = twice(layers.concatenate([x, kept.pop()]), width)
    return keras.Model(inputs, layers.Conv2D(2, 1, activation="softmax")(x))


def _deeplab():
    def block(x, width=16, size=3, rate=1):
        x = layers.Conv2D(width, size, dilation_rate=rate, padding="same", use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization()(x))

    inputs = keras.Input((32, 32, 3))
    low = block(layers.MaxPool2D()(block(inputs, 8)))
    x = layers.MaxPool2D()(block(low, 24))
    pooled = layers.UpSampling2D(8, interpolation="bilinear")(
        block(layers.AveragePooling2D(8)(x), size=1)
    )
    x = layers.Concatenate()([pooled, block(x, size=1), *(block(x, rate=r) for r in (2, 3))])
    x = layers.UpSampling2D(2, interpolation="bilinear")(block(x, size=1))
    x = block(block(layers.Concatenate()([x, block(low, 8, 1)])))
    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    return keras.Model(inputs, layers.Conv2D(3, 1)(x))


def _cycle_gan():
    def normed(x, width, size=3, stride=1, kind=layers.Conv2D, padding="same"):
        x = kind(width, size, stride, padding=padding, use_bias=False)(x)
        return layers.GroupNormalization(groups=width)(x)

    inputs = keras.Input((32, 32, 3))
    x = layers.ReLU()(normed(ReflectionPadding()(inputs), 8, padding="valid"))
    x = layers.ReLU()(normed(x, 16, stride=2))
    for _ in range(2):
        y = layers.ReLU()(normed(ReflectionPadding()(x), 16, padding="valid"))
        x = layers.add([normed(ReflectionPadding()(y), 16, padding="valid"), x])
    x = layers.ReLU()(normed(x, 8, stride=2, kind=layers.Conv2DTranspose))
    return keras.Model(inputs, layers.Conv2D(3, 3, padding="same", activation="tanh")(x))


def _ocr():
    x = inputs = keras.Input((64, 16, 1))
    for width in (8, 16):
        x = layers.Conv2D(width, 3, activation="relu", padding="same")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Reshape((16, 64))(x)
    x = layers.Dropout(0.2)(layers.Dense(16, activation="relu")(x))
    x = layers.Bidirectional(layers.LSTM(16, return_sequences=True))(x)
    x = layers.Bidirectional(layers.LSTM(8, return_sequences=True))(x)
    return keras.Model(inputs, layers.Dense(12, activation="softmax")(x))


def _time_series():
    x = inputs = keras.Input((24, 4))
    for _ in range(2):
        y = layers.Dropout(0.1)(layers.MultiHeadAttention(2, 8)(x, x))
        x = layers.LayerNormalization()(y) + x
        y = layers.Conv1D(8, 1, activation="relu")(x)
        x = layers.LayerNormalization()(layers.Conv1D(4, 1)(layers.Dropout(0.1)(y))) + x
    x = layers.GlobalAveragePooling1D(data_format="channels_last")(x)
    return keras.Model(inputs, layers.Dense(2)(layers.Dense(16, activation="relu")(x)))


def _conv_3d():
    x = inputs = keras.Input((16, 16, 16, 1))
    for width in (8, 16):
        x = layers.Conv3D(width, 3, activation="relu")(x)
        x = layers.BatchNormalization()(layers.MaxPool3D(2)(x))
    x = layers.Dense(16, activation="relu")(layers.GlobalAveragePooling3D()(x))
    return keras.Model(inputs, layers.Dense(1, activation="sigmoid")(layers.Dropout(0.3)(x)))


def _point_net():
    def conv(x, width):
        return layers.ReLU()(layers.BatchNormalization()(layers.Conv1D(width, 1)(x)))

    def dense(x, width):
        return layers.ReLU()(layers.BatchNormalization()(layers.Dense(width)(x)))

    def transformed(x, size):
        y = layers.GlobalMaxPooling1D()(conv(conv(x, 16), 32))
        y = layers.Dense(size * size)(dense(y, 16))
        return layers.Dot(axes=(2, 1))([x, layers.Reshape((size, size))(y)])

    inputs = keras.Input((32, 3))
    x = conv(transformed(inputs, 3), 8)
    x = layers.GlobalMaxPooling1D()(conv(transformed(x, 8), 32))
    return keras.Model(inputs, layers.Dense(4)(layers.Dropout(0.3)(dense(x, 16))))


def _siamese():
    inner = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.BatchNormalization(),
            layers.Conv2D(8, 5, activation="tanh"),
            layers.AveragePooling2D(2),
            layers.Conv2D(16, 5, activation="tanh"),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.BatchNormalization(),
            layers.Dense(10, activation="tanh"),
        ]
    )
    left, right = keras.Input((28, 28, 1)), keras.Input((28, 28, 1))
    difference = ops.sum(ops.square(inner(left) - inner(right)), axis=1, keepdims=True)
    distance = ops.sqrt(ops.maximum(difference, 1e-7))
    x = layers.BatchNormalization()(distance)
    return keras.Model([left, right], layers.Dense(1, activation="sigmoid")(x))


def _deep_and_cross():
    numbers, words = keras.Input((6,)), keras.Input((2,), dtype="int32")
    embedded = layers.Flatten()(layers.Embedding(12, 5)(words))
    first = layers.concatenate([numbers, embedded])
    cross = first
    for _ in range(2):
        cross = Cross()([first, cross])
    deep = first
    for width in (32, 16):
        deep = layers.Dropout(0.1)(
            layers.ReLU()(layers.BatchNormalization()(layers.Dense(width)(deep)))
        )
    return keras.Model([numbers, words], layers.Dense(1)(layers.concatenate([cross, deep])))


def _tab_transformer():
    numbers, words = keras.Input((6,)), keras.Input((4,), dtype="int32")
    x = layers.Embedding(12, 16)(words)
    for _ in range(2):
        y = layers.LayerNormalization()(layers.Add()([layers.MultiHeadAttention(2, 8)(x, x), x]))
        x = layers.LayerNormalization()(layers.Add()([MLP([32, 16])(y), y]))
    x = layers.concatenate([layers.Flatten()(x), layers.LayerNormalization()(numbers)])
    return keras.Model([numbers, words], layers.Dense(1)(MLP([32, 16])(x)))


def _text_transformer():
    inputs = keras.Input((20,), dtype="int32")
    x = TransformerBlock(16)(TokenAndPosition(20, 30, 16)(inputs))
    x = layers.Dense(16, activation="relu")(layers.GlobalAveragePooling1D()(x))
    return keras.Model(inputs, layers.Dense(2)(layers.Dropout(0.1)(x)))


def _speech_transformer():
    x = inputs = keras.Input((64, 12))
    for _ in range(3):
        x = layers.Conv1D(16, 11, strides=2, padding="same", activation="relu")(x)
    for _ in range(2):
        x = TransformerBlock(16)(x)
    return keras.Model(inputs, layers.Dense(8)(x))


class Distiller(keras.Model):
    """A student model that also holds its teacher."""

    def __init__(self, student, teacher):
        super().__init__()
        self.student, self.teacher = student, teacher

    def call(self, x, training=None):
        return self.student(x, training=training)


def _distiller():
    def network(width):
        return keras.Sequential(
            [
                keras.Input((28, 28, 1)),
                layers.Conv2D(width, 3, strides=2, padding="same"),
                layers.LeakyReLU(negative_slope=0.2),
                layers.MaxPooling2D(2, 1, padding="same"),
                layers.Conv2D(2 * width, 3, strides=2, padding="same"),
                layers.Flatten(),
                layers.Dense(10),
            ]
        )

    model = Distiller(network(8), network(16))
    model.build((None, 28, 28, 1))
    return model


MODELS = {
    "ViT (keras.io)": _vit,
    "MLP-Mixer": _mixer,
    "ConvMixer": _conv_mixer,
    "EANet": _eanet,
    "U-Net": _u_net,
    "DeepLabV3+": _deeplab,
    "CycleGAN generator": _cycle_gan,
    "OCR with CTC": _ocr,
    "time-series transformer": _time_series,
    "3D CNN": _conv_3d,
    "PointNet": _point_net,
    "siamese network": _siamese,
    "Deep & Cross": _deep_and_cross,
    "TabTransformer": _tab_transformer,
    "text transformer": _text_transformer,
    "speech transformer": _speech_transformer,
    "distiller": _distiller,
}
