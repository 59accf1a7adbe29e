"""The parts of a `TrainConfig` besides the optimizer: their settings and checks."""

import dataclasses
import os
from collections.abc import Callable

from apps import paths
from apps.training.settings import (
    Settings,
    choice,
    integer,
    not_negative,
    numbers,
    part,
    positive,
    require,
    switch,
    text,
    words,
)
from export import kinds

GREY = ("digits", "mnist", "fashion_mnist")
DATASETS = (*GREY, "cifar10", "cifar100", "imagenet")
LENETS = ("lenet_300_100", "lenet_5")
MODELS = (
    "small_cnn",
    *LENETS,
    *("alexnet_s", "alexnet_b", "basicnet", "ds_cnn", "mobilenet_v1"),
    *("resnet_8", "resnet_18", "resnet_50"),
    *("vgg16_bn", "vgg16_c", "vgg16_d", "vgg16_like", "vgg19_bn", "wide_resnet"),
)
# Settings that only some choices have, besides those of the optimizers.
OF_MODELS = dict.fromkeys(MODELS, ()) | {
    **dict.fromkeys(LENETS, ("batch_norm",)),
    "wide_resnet": ("depth", "dropout"),
}
OF_SCHEDULES = {
    "constant": ("learning_rate",),
    "step": ("learning_rate", "step_every", "step_factor"),
    "cosine": ("learning_rate",),
    "staged": ("stages", "stage_starts"),
    "inverse_sqrt": ("learning_rate",),
}
CRITERIA = ("incoming_norm", "batch_norm_scale", "largest_activation", "selectivity", "apoz")
_NETWORKS = ("dense", "model", "compact")
# Files that a training may write into its folder.
FILES = (
    *(f"{name}{ending}" for name in _NETWORKS for ending in (".keras", ".tflite")),
    *(f"{name}-{kind}.tflite" for name in _NETWORKS for kind in kinds.NAMES),
    *("history.csv", "dense_history.csv", "report.json", "report.md", "report.html"),
    *("accuracy.png", "channels.png", "masks.npz"),
)
TENSORBOARD = "tensorboard"
_FOLDERS = ("checkpoint", "dense_checkpoint", TENSORBOARD)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data(Settings):
    """Settings of the images."""

    dataset: str = choice(DATASETS, "The task.", "digits")
    data_dir: str | None = text(
        "Folder with DATASET.npz, in the layout of Keras' mnist.npz. Without it Keras "
        "downloads; digits comes with scikit-learn. imagenet: folder with train/CLASS/* and "
        "val/CLASS/*, or that of TensorFlow Datasets."
    )
    image_size: int | None = integer(
        "Height and width. imagenet: 224 by default. digits: enlarged to it; 8 by default."
    )
    held_out: float | None = part(
        "Share of the training images, the last ones, that are not trained on but validated "
        "on; the test images are then seen at the end only."
    )
    train_images: int | None = integer("Train on so many images only, the first ones.")
    test_images: int | None = integer(
        "Test on so many images only: the first ones; of imagenet evenly spaced ones. Default: "
        "all; of imagenet 1,000, while each epoch is validated on all."
    )
    augment: bool = switch(
        "Pad by 4 pixels of reflection, crop at random, mirror half of the images; imagenet "
        "always has its own."
    )
    unit_pixels: bool = switch("Pixels from 0 to 1, instead of mean 0 and standard deviation 1.")

    def check(self):
        if self.dataset == "imagenet":
            for name in ("held_out", "train_images", "augment", "unit_pixels"):
                wanted = "omitted with --dataset=imagenet"
                require(not getattr(self, name), name, wanted, self)
            return
        fits = self.image_size is None or self.dataset == "digits"
        require(fits, "image_size", "omitted without --dataset=imagenet or digits", self)
        grey = self.dataset in GREY
        require(not (self.augment and grey), "augment", "omitted for images in grey", self)

    def check_files(self):
        """Raise a ValueError for missing data."""
        if self.dataset != "imagenet":
            paths.check_data(self.dataset, self.data_dir)
        elif self.data_dir:
            require(os.path.isdir(self.data_dir), "data_dir", "a folder that is there", self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network(Settings):
    """Settings of the network; in Python `model` may be a function like `models.lenet_5`."""

    model: str | Callable = choice(MODELS, "The network.", "small_cnn")  # noqa: RUF009 a field
    width: float | None = positive("Factor on all widths; of wide_resnet its k, 10 in WRN-28-10.")
    depth: int | None = integer("wide_resnet: layers, 6n + 4. Default: 28.")
    dropout: float | None = part("wide_resnet: share that is dropped in each block. Default: none.")
    batch_norm: bool = switch("Batch normalisation in the LeNets; all others have it.")
    l2: float = not_negative("L2 regularizer c·Σw² on all kernels; λ is 2c.", 0.0)
    init_scale: float | None = not_negative(
        "s of the uniform initialization ±s/√fan_in of all kernels; 0 is the network's own. Dual "
        "averaging around zero needs a large s. Default: 3 for the published variant of rda, else "
        "0."
    )
    init_bound: str = choice(
        ("torch", "lecun"),
        "Of --init_scale: torch is s/√fan_in, lecun s·√(3/fan_in); which one the paper took "
        "is not known.",
        "torch",
    )

    def check(self):
        if self.depth is not None:
            fits = self.depth >= 10 and self.depth % 6 == 4
            require(fits, "depth", "6n + 4 for a whole n: 10, 16, 22, 28, ...", self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rate(Settings):
    """Settings of the learning rate's schedule."""

    schedule: str = choice(
        OF_SCHEDULES,
        "Of the learning rate. cosine ends at 0; inverse_sqrt is 1/√t.",
        "constant",
    )
    step_every: int | None = integer("step: steps (batches) from one fall of the rate to the next.")
    step_factor: float = positive("step: what the rate is multiplied by.", 0.1)
    stages: tuple = numbers(
        "staged: the learning rates, separated by commas; of rda 1/γ, so 1,5,20 for γ = 1, "
        "0.2, 0.05."
    )
    stage_starts: tuple = numbers(
        "staged: the epochs at which the second, third, ... rate begins; numbers below 1 are "
        "shares of the training."
    )

    def check(self):
        if self.schedule == "step":
            given = self.step_every is not None
            require(given, "step_every", "given with --schedule=step", self)
        if self.schedule != "staged":
            return
        rates, starts = self.stages, self.stage_starts
        require(rates and min(rates) > 0, "stages", "learning rates above 0", self)
        ascending = all(a < b for a, b in zip([0, *starts], starts, strict=False))
        of_one_kind = len({start < 1 for start in starts}) < 2
        fit = len(starts) == len(rates) - 1 and ascending and of_one_kind
        wanted = "an ascending epoch or share for each of --stages but the first"
        require(fit, "stage_starts", wanted, self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training(Settings):
    """Length and hardware of the training."""

    epochs: int = integer("Passes over the data.", 60)
    batch_size: int = integer("Images a step.", 32)
    seed: int = integer(
        "Of the start, of the order of images and of what is drawn.", 0, lower_bound=0
    )
    resume: bool = switch(
        "Keep a checkpoint in --out, written after each epoch, and continue from it if there is "
        "one: killed at any point and started again, a run ends with the same numbers."
    )
    baseline: bool = switch(
        "Afterwards train the same network dense for as many epochs, to compare with: inside "
        "masks by the optimizer that is inside, instead of rda, grda and prox_sgd by adam, else "
        "without --l2.",
        default=True,
    )
    mixed_precision: str | None = choice(
        ("float16", "bfloat16"), "Compute in this type and keep weights in float32."
    )
    strategy: str | None = choice(
        ("mirrored", "multi_worker", "data_parallel"),
        "Several devices share each batch: mirrored, the GPUs of one machine, on TensorFlow; "
        "multi_worker, the machines in TF_CONFIG, on TensorFlow; data_parallel, on JAX.",
    )
    jit_compile: str = choice(
        ("auto", "true", "false"),
        "XLA on TensorFlow: auto as Keras has it. It is slower than plain TensorFlow for "
        "convolutions on a CPU.",
        "auto",
    )
    steps_per_execution: int = integer(
        "Steps at a time, at most; more make small networks faster.", 1
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Watching(Settings):
    """Callbacks."""

    channel_criterion: str = choice(
        CRITERIA, "When a channel counts as dead, in the log.", "incoming_norm"
    )
    channel_threshold: float | None = positive("Of the criterion. Default: its own.")
    channel_epochs: int = integer("Epochs in a row that a dead channel is dead.", 1)
    stop_when_dead: bool = switch(
        "Stop when the network's output no longer depends on the image.", default=True
    )
    mask_history: bool = switch("Write which weights were alive after each epoch: masks.npz.")
    tensorboard: bool = switch("Write logs for TensorBoard to the folder tensorboard.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Output(Settings):
    """The folder and its files."""

    out: str | None = text("Folder for the models and the report. Default: runs/DATASET.")
    quantize: tuple = words(
        f"Kinds of smaller TFLite files to write and compare, of {', '.join(kinds.NAMES)}, "
        "separated by commas."
    )
    export: bool | None = switch(
        "Cut, convert to TFLite, verify and time after training. Default: where Keras runs "
        "on TensorFlow.",
        default=None,
    )

    def check(self):
        known = set(self.quantize) <= set(kinds.NAMES)
        require(known, "quantize", f"any of {', '.join(kinds.NAMES)}", self)
        quantizes = self.quantize and self.export is False
        require(not quantizes, "quantize", "omitted without --export", self)

    def check_files(self, folder):
        """Raise a ValueError for a folder that cannot be written, or holds another run."""
        paths.check_out(folder, FILES, _FOLDERS)
        paths.check_run(folder, "train")
