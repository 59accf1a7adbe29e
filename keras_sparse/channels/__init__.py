"""Which output channels of a layer are dead, and how that is known."""

from keras_sparse.channels.norms import channel_norms, channel_weight, layers_with_channels

__all__ = ["channel_norms", "channel_weight", "layers_with_channels"]
