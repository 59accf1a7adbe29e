"""Inverted residuals and attention at half of their multiply-accumulates, on CIFAR-10's images.

    python -m benchmarks.compress_networks --data_dir=FOLDER --train_images=8000 --epochs=8,4

Each network is trained, cut to half of its multiply-accumulates by `keras_sparse.compress`, and
trained again. With several `--rate_shares` the cut network is trained at each rate, and the rate is
chosen on the last tenth of the training images, which no training uses. For comparison, a narrow
network with at most as many multiply-accumulates is trained from scratch for as many epochs as both
trainings together. Accuracies are for all test images, after the last epoch.

Rows are appended to OUT/rows.jsonl; the same command skips existing rows.
"""

import json
import pathlib
import time

import keras
from absl import app, flags
from keras import layers
from keras.optimizers.schedules import CosineDecay

import keras_sparse
from benchmarks.machine import describe
from keras_sparse import data, surgery
from keras_sparse.models.blocks import Blocks

DATA_DIR = flags.DEFINE_string("data_dir", None, "folder with cifar10.npz")
IMAGES = flags.DEFINE_integer("train_images", None, "the first ones only; all by default")
EPOCHS = flags.DEFINE_list("epochs", ["8", "4"], "of the training and of the recovery")
RATE_SHARES = flags.DEFINE_list(
    "rate_shares", ["0.3"], "largest rates of the recovery, as shares of the training's"
)
DISTILL = flags.DEFINE_bool("distill", False, "whether the trained network teaches the cut one")
SEED = flags.DEFINE_integer("seed", 0, "of weights and of the order of images", lower_bound=0)
NETWORKS = flags.DEFINE_list("networks", ["inverted residuals", "attention"], "which to train")
OUT = flags.DEFINE_string("out", "runs/compress_networks", "folder of models and rows.jsonl")

SHARE, HELD_OUT = 0.5, 0.1
BATCH_SIZE = 64
# Filters and stride of each inverted residual, at full width.
INVERTED = ((16, 1), (24, 2), (24, 1), (40, 2), (40, 1))
EXPANSION = 4
PATCH, DEPTH, HEADS, KEY_SIZE, DIMENSION, HIDDEN = 4, 3, 4, 8, 32, 96


def inverted_residuals(task, width=1.0):
    """A small MobileNetV2, arXiv 1801.04381: linear bottlenecks with depthwise convolutions."""
    blocks = Blocks(width, "he_normal", None)
    inputs = keras.Input(task.input_shape)
    x = blocks.conv_bn_relu(inputs, 16, 3, "stem", strides=2)
    for i, (filters, strides) in enumerate(INVERTED, 1):
        name, wide = f"block{i}", EXPANSION * x.shape[-1]
        y = blocks.bn_relu(blocks.conv(x, wide, 1, f"{name}_expand"), f"{name}_expand")
        y = blocks.bn_relu(blocks.depthwise(y, 3, f"{name}_middle", strides), f"{name}_middle")
        y = blocks.conv(y, blocks.channels(filters), 1, f"{name}_project")
        y = blocks.bn(y, f"{name}_project_bn")
        x = layers.Add(name=f"{name}_add")([x, y]) if x.shape == y.shape else y
    x = layers.GlobalAveragePooling2D()(blocks.conv_bn_relu(x, 128, 1, "head"))
    return keras.Model(inputs, blocks.classifier(x, task.classes, None))


def attention(task, width=1.0):
    """A small vision transformer, arXiv 2010.11929, with the positions of arXiv 2102.10882.

    A depthwise convolution encodes the position of a patch, because it sees the border.
    """
    size, key_size, hidden = (max(1, round(width * n)) for n in (DIMENSION, KEY_SIZE, HIDDEN))
    inputs = keras.Input(task.input_shape)
    x = layers.Conv2D(size, PATCH, PATCH, name="patches")(inputs)
    x = layers.Add()([x, layers.DepthwiseConv2D(3, padding="same", name="positions")(x)])
    x = layers.Reshape((-1, size))(x)
    for i in range(1, DEPTH + 1):
        y = layers.LayerNormalization(name=f"block{i}_norm1")(x)
        y = layers.MultiHeadAttention(HEADS, key_size, name=f"block{i}_attention")(y, y)
        x = layers.Add()([x, y])
        y = layers.LayerNormalization(name=f"block{i}_norm2")(x)
        y = layers.Dense(hidden, "gelu", name=f"block{i}_dense1")(y)
        x = layers.Add()([x, layers.Dense(size, name=f"block{i}_dense2")(y)])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization(name="norm")(x))
    return keras.Model(inputs, layers.Dense(task.classes, name="logits")(x))


def sgd(rate):
    return keras.optimizers.SGD(rate, momentum=0.9, nesterov=True)


# Name to (network, optimizer, its largest rate).
RECIPES = {
    "inverted residuals": (inverted_residuals, sgd, 0.1),
    "attention": (attention, keras.optimizers.Adam, 2e-3),
}


class Trainings:
    """The trainings of one network and one seed, on the same images."""

    def __init__(self, name, task):
        self.build, self.optimizer, self.rate = RECIPES[name]
        self.name, self.task = name, task
        self.train = task.held_out(HELD_OUT)
        self.epochs, self.recovery = map(int, EPOCHS.value)
        self.out = pathlib.Path(OUT.value)
        self.out.mkdir(parents=True, exist_ok=True)
        self.path = self.out / f"{name.replace(' ', '_')}-seed{SEED.value}.keras"

    def batches(self):
        x, y = (array[: IMAGES.value] for array in (self.train.x_train, self.train.y_train))
        return data.Batches(x, y, BATCH_SIZE, SEED.value, data.crop_and_flip)

    def trained(self, width, epochs):
        """A network of this width from scratch; the rate falls to 0 along a cosine."""
        keras.utils.set_random_seed(SEED.value)
        batches = self.batches()
        model = self.build(self.task, width)
        model.compile(
            self.optimizer(CosineDecay(self.rate, epochs * len(batches))),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        steps = len(batches)
        model.fit(batches, steps_per_epoch=steps, epochs=epochs, shuffle=False, verbose=2)
        return model

    def given(self):
        """The network that is compressed."""
        if not self.path.exists():
            self.trained(1.0, self.epochs).save(self.path)
        return keras.models.load_model(self.path)

    def compressed(self):
        """Accuracies of the given, the cut and the recovered network."""
        plan = keras_sparse.plan(self.given(), self.batches(), target={"macs": SHARE})
        results = {share: self.recovered(plan, float(share)) for share in RATE_SHARES.value}
        held_out = {share: self.held_out_accuracy(each.model) for share, each in results.items()}
        chosen = max(held_out, key=held_out.get)
        result = results[chosen]
        print(result, flush=True)
        accuracies = {stage: 100 * found["accuracy"] for stage, found in result.metrics.items()}
        facts = {"rate_share": chosen, "held_out": held_out, "plan": plan.to_dict()["groups"]}
        return {**accuracies, **sizes(result.model), **facts}

    def recovered(self, plan, share):
        """The result of `compress` for a plan, at this share of the training's rate."""
        keras.utils.set_random_seed(SEED.value)
        return keras_sparse.compress(
            self.given(),
            self.batches(),
            plan=plan,
            epochs=self.recovery,
            learning_rate=share * self.rate,
            batch_size=BATCH_SIZE,
            distillation=keras.distillation.LogitsDistillation(2.0) if DISTILL.value else None,
            validation_data=(self.task.x_test, self.task.y_test),
            folder=self.path.with_name(f"{self.path.stem}-rate-{share:g}"),
            verbose=2,
        )

    def held_out_accuracy(self, model):
        """Accuracy on training images that no training uses, in percent."""
        return 100 * model.evaluate(self.train.x_test, self.train.y_test, 500, verbose=0)[1]

    def narrow(self):
        """Accuracy of the widest uniformly narrow network within the limit, from scratch."""
        limit = SHARE * surgery.count_macs(self.given()).total
        widths = [percent / 100 for percent in range(99, 0, -1)]
        width = next(w for w in widths if sizes(self.build(self.task, w))["macs"] <= limit)
        model = self.trained(width, self.epochs + self.recovery)
        accuracy = model.evaluate(self.task.x_test, self.task.y_test, 500, verbose=0)[1]
        return {"narrow": 100 * accuracy, **sizes(model), "width": width}

    def row(self, kind):
        """Compute a row."""
        start = time.time()
        figures = getattr(self, kind)()
        return {
            **{"network": self.name, "row": kind, "seed": SEED.value},
            **{"epochs": [self.epochs, self.recovery], "train_images": IMAGES.value},
            "distill": DISTILL.value,
            **figures,
            **{"seconds": time.time() - start, "machine": describe()},
        }


def sizes(model):
    return {"macs": surgery.count_macs(model).total, "parameters": model.count_params()}


def main(_):
    print(describe())
    task = data.load("cifar10", data_dir=DATA_DIR.value)
    path = pathlib.Path(OUT.value) / "rows.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    known = {(row["network"], row["row"], row["seed"]): row for row in map(json.loads, lines)}
    for name in NETWORKS.value:
        trainings = Trainings(name, task)
        for kind in ("compressed", "narrow"):
            key = name, kind, SEED.value
            if key not in known:
                known[key] = trainings.row(kind)
                with open(path, "a") as file:
                    file.write(json.dumps(known[key]) + "\n")
            print(json.dumps(known[key]), flush=True)


if __name__ == "__main__":
    flags.mark_flag_as_required("data_dir")
    app.run(main)
