"""Wide residual networks for CIFAR."""

import keras
from keras import layers

from keras_sparse.models.blocks import Blocks, check_image


def wide_resnet(
    depth=28,
    width=2,
    input_shape=(32, 32, 3),
    classes=10,
    activation=None,
    dropout=0.0,
    kernel_initializer="he_normal",
    kernel_regularizer=None,
    name=None,
):
    """WRN-depth-width: three groups of pre-activated residual blocks, 16, 32 and 64 times `width`.

    Trainable parameters on CIFAR-10: WRN-16-8 10,961,370; 16-10 17,116,634; 22-8 17,158,106;
    28-2 1,467,610; 28-10 36,479,194. The convolutions in the shortcuts are named `group*_shortcut`.

    Args:
        depth: int, 6n + 4: the number of convolutions, including the shortcuts and the first one.
        width: float, the factor on the channels of the three groups; the first convolution has
            16 channels at any width.
        input_shape: `(height, width, channels)`.
        classes: int, number of outputs.
        activation: of the outputs. Defaults to None, logits.
        dropout: float in [0, 1), the share dropped before the second convolution of each block.
            The authors of sparse momentum train with 0.3. Defaults to 0.
        kernel_initializer: of all kernels.
        kernel_regularizer: of all kernels.
        name: the model's name. Defaults to `wrn_DEPTH_WIDTH`.

    Returns:
        A functional `keras.Model`.

    Raises:
        ValueError: a depth that is not 6n + 4 with n at least 1, or a width not above 0.

    Example:

    >>> sum(w.value.numpy().size for w in wide_resnet(28, 2).trainable_variables)
    1467610

    Reference:
        Zagoruyko and Komodakis, Wide residual networks, arXiv 1605.07146.
    """
    if depth < 10 or depth % 6 != 4:
        raise ValueError(
            f"`depth` must be 6n + 4 for a whole n: 10, 16, 22, 28, ... Received: depth={depth}"
        )
    check_image(input_shape, 4, "A wide ResNet")
    blocks = Blocks(width, kernel_initializer, kernel_regularizer)
    inputs = keras.Input(input_shape)
    x = blocks.conv(inputs, 16, 3, "conv1")
    for group, filters in enumerate((16, 32, 64), 1):
        for block in range(1, (depth - 4) // 6 + 1):
            strides = 2 if group > 1 and block == 1 else 1
            channels = blocks.channels(filters)
            x = _block(blocks, x, channels, strides, dropout, f"group{group}", block)
    x = layers.GlobalAveragePooling2D(name="pool")(blocks.bn_relu(x, "last"))
    outputs = blocks.classifier(x, classes, activation)
    return keras.Model(inputs, outputs, name=name or f"wrn_{depth}_{width:g}".replace(".", "_"))


def _block(blocks, x, filters, strides, dropout, group, number):
    name = f"{group}_block{number}"
    shortcut = x
    x = blocks.bn_relu(x, f"{name}_in")
    if shortcut.shape[-1] != filters or strides != 1:
        shortcut = blocks.conv(x, filters, 1, f"{group}_shortcut", strides)
    x = blocks.bn_relu(blocks.conv(x, filters, 3, f"{name}_conv1", strides), f"{name}_conv1")
    if dropout:
        x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
    x = blocks.conv(x, filters, 3, f"{name}_conv2")
    return layers.Add(name=f"{name}_add")([x, shortcut])
