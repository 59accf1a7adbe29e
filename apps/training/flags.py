"""The flags of `apps.train`, by group."""

import functools

from apps import program

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
# What belongs to some choices only, besides what `methods.METHODS` has of the optimizers.
OF_MODELS = dict.fromkeys(MODELS, ()) | {
    **dict.fromkeys(LENETS, ("batch_norm",)),
    "wide_resnet": ("depth", "dropout"),
}
STAGES = ("stages", "stage_starts")
OF_SCHEDULES = {
    "constant": ("learning_rate",),
    "step": ("learning_rate", "step_every", "step_factor"),
    "cosine": ("learning_rate",),
    "staged": STAGES,
    "inverse_sqrt": ("learning_rate",),
}
OPTIMIZERS = (
    *("rda", "grda", "prox_sgd", "sparse_momentum", "rigl", "set", "snip", "dsr", "deep_r"),
    *("static", "magnitude_pruning", "sgd", "adam", "adamw", "rmsprop", "adagrad"),
)
KINDS = ("float16", "dynamic", "int8")
CRITERIA = ("incoming_norm", "batch_norm_scale", "largest_activation", "selectivity", "apoz")


class _Group:
    """Defines flags of one group; a flag without a default is None."""

    def __init__(self, flags, values, name):
        arguments = {"default": None, "flag_values": values, "module_name": name}
        self.string = functools.partial(flags.DEFINE_string, **arguments)
        self.choice = functools.partial(flags.DEFINE_enum, **arguments)
        self.number = functools.partial(program.define_number, **arguments)
        self.positive = functools.partial(self.number, above=0.0)
        self.not_negative = functools.partial(self.number, lower_bound=0.0)
        self.share = functools.partial(self.not_negative, upper_bound=1.0)
        self.part = functools.partial(self.not_negative, below=1.0)
        self.integer = functools.partial(
            flags.DEFINE_integer,
            lower_bound=1,
            upper_bound=program.LARGEST_INTEGER,
            **arguments,
        )
        self.switch = functools.partial(flags.DEFINE_bool, **{**arguments, "default": False})
        self.list = functools.partial(flags.DEFINE_list, **{**arguments, "default": []})


def define(flags, values):
    """Define all flags of `apps.train`.

    Args:
        flags: the module `absl.flags`.
        values: the `FlagValues` that they go into.
    """
    for name, group in _GROUPS.items():
        group(_Group(flags, values, name))


def _data(group):
    group.choice("dataset", enum_values=DATASETS, default="digits", help="The task.")
    group.string(
        "data_dir",
        help="Folder with DATASET.npz, in the layout of Keras' mnist.npz. Without it Keras "
        "downloads; digits comes with scikit-learn. imagenet: folder with train/CLASS/* and "
        "val/CLASS/*, or that of TensorFlow Datasets.",
    )
    group.integer("image_size", help="imagenet: height and width. Default: 224.")
    group.part(
        "held_out",
        help="Share of the training images, the last ones, that are not trained on but validated "
        "on; the test images are then seen at the end only.",
    )
    group.integer("train_images", help="Train on so many images only, the first ones.")
    group.integer(
        "test_images",
        help="Test on so many images only, the first ones. Default: all; of imagenet 1,000, while "
        "each epoch is validated on all.",
    )
    group.switch(
        "augment",
        help="Pad by 4 pixels of reflection, crop at random, mirror half of the images; imagenet "
        "always has its own.",
    )


def _network(group):
    group.choice("model", enum_values=MODELS, default="small_cnn", help="The network.")
    group.positive("width", help="Factor on all widths; of wide_resnet its k, 10 in WRN-28-10.")
    group.integer("depth", help="wide_resnet: layers, 6n + 4. Default: 28.")
    group.part("dropout", help="wide_resnet: share that is dropped in each block. Default: none.")
    group.switch("batch_norm", help="Batch normalisation in the LeNets; all others have it.")
    group.not_negative(
        "init_scale",
        help="s of the uniform start ±s/√fan_in of all kernels; 0 is the network's own start. Dual "
        "averaging around zero needs a wide one. Default: 3 for rda in its published form, else 0.",
    )
    group.choice(
        "init_bound",
        enum_values=["torch", "lecun"],
        default="torch",
        help="Of --init_scale: torch is s/√fan_in, lecun s·√(3/fan_in); which one the paper took "
        "is not known.",
    )


def _optimizer(group):
    group.choice(
        "optimizer",
        enum_values=OPTIMIZERS,
        default="rda",
        help="Those of keras_sparse, and of Keras: sgd, adam, adamw, rmsprop, adagrad. adam and "
        "rmsprop kill channels with --l2. A flag that the optimizer does not have is refused.",
    )
    group.positive(
        "learning_rate",
        help="Defaults: rda 1 (1/γ) in the published form and 0.1 in the accumulated; prox_sgd 1; "
        "deep_r 0.3; magnitude_pruning 0.01; with --inner=adam 0.003; adam, adamw, rmsprop, "
        "adagrad 0.001; others 0.1.",
    )
    group.part("momentum", help="Nesterov momentum of sgd and of masked optimizers. Default: 0.9.")
    group.not_negative("l2", default=0.0, help="L2 regularizer c·Σw² on all kernels; λ is 2c.")
    group.not_negative(
        "weight_decay",
        help="Decoupled decay, by the learning rate times this a step; not of rda, grda, prox_sgd.",
    )
    group.string(
        "exclude",
        help="Kept dense: a regular expression for the path of a weight; '' for none. Default: "
        "logits/ for rda, grda and prox_sgd, where a class can be lost, else none.",
    )


def _proximal(group):
    group.choice(
        "form",
        enum_values=["published", "accumulated"],
        default="published",
        help="rda; see keras_sparse.RDA.",
    )
    group.choice(
        "center", enum_values=["initial", "zero"], help="rda: of biases and normalisation."
    )
    group.not_negative(
        "l1",
        help="rda, prox_sgd, deep_r: λ. A larger one makes a sparser network. Default: rda 8e-3, "
        "the others 1e-4.",
    )
    group.part(
        "target_sparsity",
        help="rda: find λ so that this share of the prunable weights is zero, instead of --l1. "
        "magnitude_pruning: the sparsity at the end, 0.9 by default.",
    )
    group.integer(
        "ramp_steps",
        help="rda: steps to --target_sparsity. Default: 1000, at most half of the training.",
    )
    group.not_negative("rho", help="rda: the part of λ that falls with √t.")
    group.choice(
        "groups",
        enum_values=["channel", "weight"],
        default="channel",
        help="rda, grda, prox_sgd: what becomes zero together; surgery can cut channels out.",
    )
    group.not_negative("c", help="grda: strength of the threshold. Default: 5e-3.")
    group.number(
        "mu", above=0.5, upper_bound=1.0, help="grda: how fast the threshold grows. Default: 0.6."
    )
    group.integer(
        "retrain_epochs",
        lower_bound=0,
        help="rda, grda, prox_sgd: the last epochs, in which zeros stay zero (adaptive sparse "
        "retraining). Default: two fifths of --epochs for rda, else 0.",
    )


def _masked(group):
    group.positive(
        "density", upper_bound=1.0, help="Share of the weights that are kept. Default: 0.1."
    )
    group.choice(
        "distribution",
        enum_values=["uniform", "erk"],
        help="Of the first masks. Default: uniform for sparse_momentum, else erk.",
    )
    group.choice("inner", enum_values=["sgd", "adam"], help="Trains inside the masks.")
    group.string(
        "update_every",
        help="Steps between changes of the masks, or epoch. Default: epoch for sparse_momentum "
        "and set, 1 for deep_r, else 100, at most a twentieth of the training.",
    )
    group.choice(
        "update_masks",
        enum_values=["in_step", "apart", "callback"],
        default="in_step",
        help="Inside the compiled step; apart, where steps without a change run a program of their "
        "own, for a GPU; or by callback before the step, for a faster first one; not for rigl.",
    )
    group.share(
        "prune_rate",
        help="Share that a change prunes, at first. Default: 0.5 for sparse_momentum, 0.1 for dsr, "
        "else 0.3.",
    )
    group.choice(
        "prune_schedule",
        enum_values=["constant", "linear", "cosine"],
        help="Of the prune rate, to 0. Default: cosine for sparse_momentum and rigl, else "
        "constant.",
    )
    group.share(
        "prune_from", help="magnitude_pruning: share of the training before it. Default: 0.1."
    )
    group.share(
        "prune_until",
        help="Share of the training after which masks stay. Default: 0.75 for rigl, 0.5 for "
        "magnitude_pruning, else 1. With --prune_from equal to it all is pruned at once: train, "
        "prune, retrain.",
    )
    group.choice(
        "scope",
        enum_values=["layer", "global"],
        help="magnitude_pruning: the same sparsity in each layer, or the smallest weights of all.",
    )
    group.choice(
        "redistribution",
        enum_values=["momentum", "magnitude", "nonzero", "none"],
        help="sparse_momentum: by what layers share the pruned weights.",
    )
    group.choice(
        "growth",
        enum_values=["momentum", "momentum_by_channel", "random", "gradient"],
        help="sparse_momentum: where weights grow.",
    )
    group.choice(
        "prune",
        enum_values=["magnitude", "set", "global_magnitude"],
        help="sparse_momentum: which weights go.",
    )
    group.positive("threshold", help="dsr: the first threshold. Default: 1e-3.")
    group.part("tolerance", help="dsr: within which the threshold stays. Default: 0.1.")
    group.not_negative("temperature", help="deep_r: of the noise. Default: 1e-10.")


def _rate(group):
    group.choice(
        "schedule",
        enum_values=list(OF_SCHEDULES),
        help="Of the learning rate. cosine ends at 0. Default: inverse_sqrt for prox_sgd, else "
        "constant.",
    )
    group.integer("step_every", help="step: steps (batches) from one fall of the rate to the next.")
    group.positive("step_factor", help="step: what the rate is multiplied by. Default: 0.1.")
    group.list(
        "stages",
        help="staged: the learning rates, separated by commas; of rda 1/γ, so 1,5,20 for γ = 1, "
        "0.2, 0.05.",
    )
    group.list(
        "stage_starts", help="staged: the epochs at which the second, third, ... rate begins."
    )


def _training(group):
    group.integer("epochs", default=60, help="Passes over the data.")
    group.integer("batch_size", default=32, help="Images a step.")
    group.integer(
        "seed",
        default=0,
        lower_bound=0,
        help="Of the start, of the order of images and of what is drawn.",
    )
    group.switch(
        "resume",
        help="Keep a checkpoint in --out, written after each epoch, and go on from it if there is "
        "one: killed at any point and started again, a run ends with the same numbers.",
    )
    group.switch(
        "baseline",
        default=True,
        help="Afterwards train the same network dense for as many epochs, to compare with: inside "
        "masks by the optimizer that is inside, instead of rda, grda and prox_sgd by adam, else "
        "without --l2.",
    )
    group.switch("mixed_precision", help="Compute in float16 and keep weights in float32.")
    group.choice(
        "strategy",
        enum_values=["mirrored", "multi_worker", "data_parallel"],
        help="Several devices share each batch: mirrored, the GPUs of one machine, on TensorFlow; "
        "multi_worker, the machines in TF_CONFIG, on TensorFlow; data_parallel, on JAX.",
    )
    group.choice(
        "jit_compile",
        enum_values=["auto", "true", "false"],
        default="auto",
        help="XLA: auto as Keras has it. It is slower than plain TensorFlow for convolutions on a "
        "CPU.",
    )
    group.integer(
        "steps_per_execution",
        default=1,
        help="Steps at a time, at most; more make small networks faster.",
    )


def _callbacks(group):
    group.choice(
        "channel_criterion",
        enum_values=CRITERIA,
        default="incoming_norm",
        help="When a channel counts as dead, in the log.",
    )
    group.positive("channel_threshold", help="Of the criterion. Default: its own.")
    group.integer("channel_epochs", default=1, help="Epochs in a row that a dead channel is dead.")
    group.switch(
        "stop_when_dead",
        default=True,
        help="Stop when the network's output no longer depends on the image.",
    )
    group.switch("mask_history", help="Write which weights were alive after each epoch: masks.npz.")
    group.switch("tensorboard", help="Write logs for TensorBoard to the folder tensorboard.")


def _output(group):
    group.string("out", help="Folder for the models and the report. Default: runs/DATASET.")
    group.list(
        "quantize",
        help="Kinds of smaller TFLite files to write and compare, of float16, dynamic and int8, "
        "separated by commas.",
    )
    group.switch(
        "export",
        default=None,
        help="Cut, convert to TFLite, verify and time after training. Default: where Keras runs "
        "on TensorFlow.",
    )


_GROUPS = {
    "data": _data,
    "network": _network,
    "optimizer": _optimizer,
    "proximal optimizers": _proximal,
    "masked optimizers": _masked,
    "learning rate": _rate,
    "training": _training,
    "callbacks": _callbacks,
    "output": _output,
}
GROUPS = tuple(_GROUPS)
