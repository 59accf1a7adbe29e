"""The networks of the papers, as functions that return functional Keras models."""

from keras_sparse.models.alexnet import alexnet_b, alexnet_s
from keras_sparse.models.autoencoder import autoencoder
from keras_sparse.models.basicnet import basicnet
from keras_sparse.models.ds_cnn import ds_cnn
from keras_sparse.models.lenet import lenet_5, lenet_300_100
from keras_sparse.models.mobilenet import mobilenet_v1
from keras_sparse.models.resnet import resnet_8, resnet_18, resnet_50
from keras_sparse.models.small_cnn import small_cnn
from keras_sparse.models.vgg import vgg16_bn, vgg16_c, vgg16_d, vgg16_like, vgg19_bn
from keras_sparse.models.wide_resnet import wide_resnet

__all__ = [
    "alexnet_b",
    "alexnet_s",
    "autoencoder",
    "basicnet",
    "ds_cnn",
    "lenet_5",
    "lenet_300_100",
    "mobilenet_v1",
    "resnet_8",
    "resnet_18",
    "resnet_50",
    "small_cnn",
    "vgg16_bn",
    "vgg16_c",
    "vgg16_d",
    "vgg16_like",
    "vgg19_bn",
    "wide_resnet",
]
