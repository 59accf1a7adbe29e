"""ResNet-8 in PyTorch with weights from Keras, cut by Torch-Pruning, and converted back.

It is a part of `benchmarks.torch_pruning`, and needs PyTorch and Torch-Pruning.
"""

import copy

import keras
import numpy as np
import torch
import torch_pruning
from torch import nn
from torch.nn import functional

STAGES = ("stage1", "stage2", "stage3")
IMPORTANCE = {
    "taylor": torch_pruning.importance.GroupTaylorImportance,
    "norm": torch_pruning.importance.GroupMagnitudeImportance,
}


class ResNet8(nn.Module):
    """The network of `keras_sparse.models.resnet_8`; its modules have the names of Keras' layers.

    Args:
        model: the `keras.Model` with the weights.
    """

    def __init__(self, model):
        super().__init__()
        self.layers = nn.ModuleDict(
            {layer.name: _module(layer) for layer in model.layers if layer.weights}
        )
        with torch.no_grad():
            for variable, tensor, order in _pairs(model, self):
                value = keras.ops.convert_to_numpy(variable).transpose(order)
                tensor.copy_(torch.tensor(np.ascontiguousarray(value)))

    def forward(self, x):
        """Logits of images, channels first."""
        x = functional.relu(self._conv_bn("conv1", x))
        for stage in STAGES:
            name = f"{stage}_shortcut"
            shortcut = self.layers[name](x) if name in self.layers else x
            x = functional.relu(self._conv_bn(f"{stage}_conv1", x))
            x = functional.relu(self._conv_bn(f"{stage}_conv2", x) + shortcut)
        return self.layers["logits"](x.mean((2, 3)))

    def shapes(self):
        """`{layer: (inputs, outputs)}` of the layers with a kernel."""
        kernels = {name: m.weight for name, m in self.layers.items() if m.weight.ndim > 1}
        return {name: (weight.shape[1], weight.shape[0]) for name, weight in kernels.items()}

    def kernel_sizes(self):
        """`{layer: size of its kernel}`."""
        return {name: self.layers[name].weight.numel() for name in self.shapes()}

    def _conv_bn(self, name, x):
        conv = self.layers[name]
        # Keras pads an even image at the end only when the stride is 2.
        x = functional.pad(x, (1, 1, 1, 1) if conv.stride == (1, 1) else (0, 1, 0, 1))
        return self.layers[f"{name}_bn"](conv(x))


def to_keras(network, model):
    """A Keras model with the PyTorch network's widths and weights.

    Args:
        network: a `ResNet8`.
        model: the `keras.Model` that it was made from; its names and settings are kept.
    """

    def narrower(layer):
        config = layer.get_config()
        if isinstance(layer, keras.layers.Conv2D):
            config["filters"] = network.layers[layer.name].out_channels
        return type(layer).from_config(config)

    small = keras.models.clone_model(model, clone_function=narrower)
    for variable, tensor, order in _pairs(small, network):
        variable.assign(tensor.detach().numpy().transpose(np.argsort(order)))
    return small


def largest_difference(network, model, images):
    """The largest difference between the logits of both, on images in Keras' format."""
    with torch.no_grad():
        ours = network.eval()(channels_first(images)).numpy()
    return float(np.abs(ours - model.predict(images, verbose=0)).max())


def channels_first(images):
    """The images in PyTorch's format."""
    return torch.tensor(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def gradients(network, batches):
    """`{parameter: gradient}` of the cross-entropy, summed over batches.

    Args:
        network: a `ResNet8`.
        batches: iterable of images and labels as Keras takes them.
    """
    network.eval().zero_grad()
    for x, y in batches:
        labels = torch.tensor(y.reshape(-1).astype("int64"))
        functional.cross_entropy(network(channels_first(x)), labels).backward()
    return {name: parameter.grad for name, parameter in network.named_parameters()}


def pruned(network, grads, importance, removed, round_to=None):
    """A network with `removed` channels fewer, by Torch-Pruning in one step over all layers.

    Args:
        network: a `ResNet8`; it is not changed.
        grads: the result of `gradients`.
        importance: a key of `IMPORTANCE`.
        removed: int, number of channels to remove before rounding; coupled channels count once.
        round_to: int; widths become multiples of it.
    """
    small = copy.deepcopy(network)
    for name, parameter in small.named_parameters():
        parameter.grad = grads[name].clone()
    pruner = torch_pruning.pruner.BasePruner(
        small,
        torch.zeros(1, 3, 32, 32),
        importance=IMPORTANCE[importance](),
        global_pruning=True,
        # The pruner keeps int(channels * (1 - ratio)).
        pruning_ratio=(removed - 0.5) / channels(network),
        round_to=round_to,
        ignored_layers=[small.layers["logits"]],
    )
    pruner.step()
    return small


def channels(network):
    """The number of removable channels; channels that a residual adds count once."""
    alone = sum(network.layers[f"{stage}_conv1"].out_channels for stage in STAGES)
    # The first stage has no shortcut: its sum is coupled with the first convolution.
    return alone + sum(network.layers[f"{stage}_conv2"].out_channels for stage in STAGES)


def _module(layer):
    if isinstance(layer, keras.layers.Conv2D):
        inputs, outputs = layer.kernel.shape[2:]
        return nn.Conv2d(inputs, outputs, layer.kernel_size, layer.strides)
    if isinstance(layer, keras.layers.BatchNormalization):
        return nn.BatchNorm2d(layer.gamma.shape[0], eps=layer.epsilon)
    return nn.Linear(*layer.kernel.shape)


def _pairs(model, network):
    """`(Keras' variable, PyTorch's tensor, order of Keras' axes in PyTorch)`."""
    for name, module in network.layers.items():
        layer = model.get_layer(name)
        if isinstance(module, nn.BatchNorm2d):
            yield layer.gamma, module.weight, (0,)
            yield layer.beta, module.bias, (0,)
            yield layer.moving_mean, module.running_mean, (0,)
            yield layer.moving_variance, module.running_var, (0,)
        else:
            order = (3, 2, 0, 1) if isinstance(module, nn.Conv2d) else (1, 0)
            yield layer.kernel, module.weight, order
            yield layer.bias, module.bias, (0,)
