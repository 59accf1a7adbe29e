"""Compares the time of surgery with `clone_model` plus `set_weights`, in the same run.

    python -m benchmarks.surgery

The table has for each model the best of several runs in seconds: flattening and analysis;
rebuilding with weights; both; the clone; and the ratio surgery / clone. A random 30% of the filters
is zero. Further rows show how the time grows with the number of layers, and an encoder of the size
of BERT base from KerasHub, with nested layers that surgery opens.
"""

import time

import keras
import numpy as np
from absl import app, flags

from keras_sparse.surgery.analysis import analyse
from keras_sparse.surgery.graph import Graph
from keras_sparse.surgery.rebuild import Rebuild

_MODELS = flags.DEFINE_list(
    "models",
    "ResNet50,MobileNetV2,EfficientNetB0,InceptionResNetV2",
    "names in keras.applications",
)
_SIZE = flags.DEFINE_integer("size", 224, "height and width of the input", lower_bound=32)
_REPEATS = flags.DEFINE_integer("repeats", 5, "runs of each, interleaved", lower_bound=1)


def kill(model, share=0.3):
    """Sets a share of the filters to zero, the same ones for each width."""
    rng = np.random.default_rng(0)
    dead = {}
    for layer in model._flatten_layers(include_self=False):
        if not isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            continue
        kernel = layer.kernel.numpy()
        width = kernel.shape[-1]
        if width not in dead:
            dead[width] = rng.permutation(width)[: int(share * width)]
        kernel[..., dead[width]] = 0
        layer.kernel.assign(kernel)


def surgery(model):
    """Seconds for analysis and for rebuilding."""
    start = time.perf_counter()
    findings = analyse(Graph(model))
    middle = time.perf_counter()
    Rebuild(findings)
    return middle - start, time.perf_counter() - middle


def clone(model):
    """Seconds for a clone with its weights."""
    start = time.perf_counter()
    keras.models.clone_model(model).set_weights(model.get_weights())
    return time.perf_counter() - start


def chain(layers):
    """A network of `layers` convolutions with batch norm and a sum for every second one."""
    x = inputs = keras.Input((16, 16, 8))
    for i in range(layers):
        y = keras.layers.Conv2D(8, 3, padding="same")(x)
        y = keras.layers.ReLU()(keras.layers.BatchNormalization()(y))
        x = keras.layers.Add()([x, y]) if i % 2 else y
    return keras.Model(inputs, x)


def bert_base():
    """An encoder of 12 layers and 768 channels, with a small vocabulary."""
    import keras_hub

    return keras_hub.models.BertBackbone(
        vocabulary_size=1000, num_layers=12, num_heads=12, hidden_dim=768, intermediate_dim=3072
    )


def measure(name, model):
    """Prints one row, the best of several interleaved runs."""
    kill(model)
    clone(model)
    surgery(model)
    runs = [(*surgery(model), clone(model)) for _ in range(_REPEATS.value)]
    analysis, rebuild, cloned = np.min(runs, axis=0)
    total = min(a + b for a, b, _ in runs)
    print(
        f"{name:20s}{len(model.layers):8d}{analysis:11.2f}{rebuild:11.2f}{total:11.2f}"
        f"{cloned:11.2f}{total / cloned:9.2f}",
        flush=True,
    )


def main(argv):
    """Prints both tables."""
    del argv
    titles = ("analysis", "rebuild", "surgery", "clone")
    print(f"{'model':20s}{'layers':>8s}" + "".join(f"{t:>11s}" for t in titles) + f"{'ratio':>9s}")
    for name in _MODELS.value:
        shape = (_SIZE.value, _SIZE.value, 3)
        measure(name, getattr(keras.applications, name)(weights=None, input_shape=shape))
        keras.backend.clear_session()
    for layers in (25, 50, 100, 200):
        measure(f"chain of {layers}", chain(layers))
        keras.backend.clear_session()
    measure("BERT base", bert_base())


if __name__ == "__main__":
    app.run(main)
