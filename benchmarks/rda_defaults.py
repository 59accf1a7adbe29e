"""Does `RDA()` train? A table for six networks on MNIST, compared with Adam.

    python benchmarks/rda_defaults.py --data_dir=FOLDER

trains LeNet-300-100 and LeNet-5, with and without batch normalisation, and two small convolutional
networks, `small_cnn` and that of Keras' example "Simple MNIST convnet", with `RDA()` and with
`Adam()`, both with their defaults, and prints accuracy on the test images and sparsity of the
prunable weights after the last epoch. Rows appear when they are done.

At a constant rate the moving averages of batch normalisation lag behind the changing weights.
`settled` is the accuracy after one more epoch at a rate of 0, which changes only these averages.
"""

import time

import keras
from absl import app, flags
from keras import layers

from keras_sparse import GRDA, RDA, data, models, sparsity

DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder with mnist.npz.")
EPOCHS = flags.DEFINE_integer("epochs", 15, "Passes over the 60,000 images.")
SEED = flags.DEFINE_integer("seed", 0, "Of the start and of the order of images.")
NETWORKS = flags.DEFINE_list("networks", None, "Rows to run; all of them by default.")
OPTIMIZERS = flags.DEFINE_list("optimizers", ["adam", "rda"], "Columns: adam, rda, grda.")


def keras_convnet():
    """The network of https://keras.io/examples/vision/mnist_convnet/, with logits."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10),
        ]
    )


BUILDERS = {
    "lenet_300_100": models.lenet_300_100,
    "lenet_300_100 bn": lambda: models.lenet_300_100(batch_norm=True),
    "lenet_5": models.lenet_5,
    "lenet_5 bn": lambda: models.lenet_5(batch_norm=True),
    "small_cnn": models.small_cnn,
    "keras_convnet": keras_convnet,
}
MAKERS = {"adam": keras.optimizers.Adam, "rda": RDA, "grda": GRDA}

for name, known in (("networks", BUILDERS), ("optimizers", MAKERS)):
    flags.register_validator(
        name,
        lambda values, known=known: set(values or []) <= set(known),
        message=f"must be some of: {', '.join(known)}",
    )


def train(build, make, mnist):
    keras.utils.set_random_seed(SEED.value)
    model = build()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # TensorFlow trains convolutions on a CPU faster without XLA.
    xla = keras.backend.backend() == "jax"
    model.compile(make(), loss, metrics=["accuracy"], jit_compile=xla)
    model.fit(mnist.x_train, mnist.y_train, batch_size=100, epochs=EPOCHS.value, verbose=0)
    accuracy, zeros = test_accuracy(model, mnist), sparsity(model)
    model.optimizer.learning_rate = 0.0
    model.fit(mnist.x_train, mnist.y_train, batch_size=100, verbose=0)
    return accuracy, test_accuracy(model, mnist), zeros


def test_accuracy(model, mnist):
    _, accuracy = model.evaluate(mnist.x_test, mnist.y_test, batch_size=500, verbose=0)
    return accuracy


def main(_):
    mnist = data.load("mnist", DATA_DIR.value)
    print("| network | optimizer | test accuracy | settled | sparsity | seconds |")
    print("| --- | --- | ---: | ---: | ---: | ---: |", flush=True)
    for network in NETWORKS.value or BUILDERS:
        for optimizer in OPTIMIZERS.value:
            start = time.perf_counter()
            figures = train(BUILDERS[network], MAKERS[optimizer], mnist)
            seconds = time.perf_counter() - start
            row = [network, optimizer, *(f"{figure:.4f}" for figure in figures), f"{seconds:.0f}"]
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    app.run(main)
