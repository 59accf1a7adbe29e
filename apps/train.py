"""Train a sparse network, cut out what died, convert both networks to TFLite, time and report."""

import functools

from absl import flags

from apps import program

_string = functools.partial(flags.DEFINE_string, module_name="data and network")
DATASET = _string("dataset", "digits", "digits, mnist, fashion_mnist, cifar10 or cifar100.")
DATA_DIR = _string(
    "data_dir",
    None,
    "Folder with DATASET.npz, in the layout of Keras' mnist.npz. Without it Keras downloads; "
    "digits comes with scikit-learn.",
)
MODEL = _string("model", "small_cnn", "small_cnn, lenet_300_100 or lenet_5.")
BATCH_NORM = flags.DEFINE_bool(
    "batch_norm",
    False,
    "Batch normalisation in the LeNets; small_cnn always has it.",
    module_name="data and network",
)
INIT_SCALE = flags.DEFINE_float(
    "init_scale",
    3.0,
    "s of the uniform start ±s/√fan_in of all kernels; 0 is Keras' default start. Dual averaging "
    "around zero (--form=published) needs a wide one.",
    module_name="data and network",
)
L2 = flags.DEFINE_float(
    "l2", 0.0, "L2 regularizer c·Σw² on all kernels, with any optimizer.", module_name="optimizer"
)
OPTIMIZER = flags.DEFINE_string(
    "optimizer", "rda", "rda, adam (with --l2 it kills filters) or sgd.", module_name="optimizer"
)
LEARNING_RATE = flags.DEFINE_float(
    "learning_rate",
    None,
    "Defaults: rda 1.0 in the published form (1/γ) and 0.1 in the accumulated, adam 0.001, "
    "sgd 0.1.",
    module_name="optimizer",
)
MOMENTUM = flags.DEFINE_float("momentum", 0.9, "Nesterov momentum of sgd.", module_name="optimizer")
FORM = flags.DEFINE_string(
    "form",
    "published",
    "rda: published or accumulated; see keras_sparse.RDA.",
    module_name="optimizer",
)
L1 = flags.DEFINE_float(
    "l1", 8e-3, "rda: λ. A larger one makes a sparser network.", module_name="optimizer"
)
TARGET_SPARSITY = flags.DEFINE_float(
    "target_sparsity",
    None,
    "rda: find λ so that this share of the prunable weights is zero, instead of --l1.",
    module_name="optimizer",
)
RHO = flags.DEFINE_float(
    "rho", 0.0, "rda: the part of λ that falls with √t.", module_name="optimizer"
)
GROUPS = flags.DEFINE_string(
    "groups",
    "channel",
    "rda: what becomes zero together, channel (which surgery can cut out) or weight.",
    module_name="optimizer",
)
EXCLUDE = flags.DEFINE_string(
    "exclude",
    "logits/",
    "rda: kept dense, a regular expression for the path of a weight; '' for none. The default is "
    "the classifier, where a class can be lost.",
    module_name="optimizer",
)
EPOCHS = flags.DEFINE_integer("epochs", 60, "Passes over the data.", module_name="training")
RETRAIN_EPOCHS = flags.DEFINE_integer(
    "retrain_epochs",
    None,
    "rda: the last epochs, in which zeros stay zero (adaptive sparse retraining). Default: two "
    "fifths of --epochs.",
    module_name="training",
)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Images a step.", module_name="training")
SEED = flags.DEFINE_integer(
    "seed", 0, "Of the start and of the order of images.", module_name="training"
)
JIT_COMPILE = flags.DEFINE_enum(
    "jit_compile",
    "auto",
    ["auto", "true", "false"],
    "XLA: auto as Keras has it. It is slower than plain TensorFlow for convolutions on a CPU.",
    module_name="training",
)
OUT = flags.DEFINE_string(
    "out",
    None,
    "Folder for the models and the report. Default: runs/DATASET.",
    module_name="output",
)
QUANTIZE = flags.DEFINE_list(
    "quantize",
    [],
    "Kinds of smaller TFLite files to write and compare, of float16, dynamic and int8, separated "
    "by commas.",
    module_name="output",
)

GROUP_NAMES = ("data and network", "optimizer", "training", "output")


def main():
    """Check everything, then train, cut, convert, time and report."""
    # Keras takes seconds to import, and --help need not wait for it.
    from apps import setup
    from export import run_folder
    from export.quantize import variants
    from keras_sparse import data

    values = flags.FLAGS
    try:
        kinds = variants.checked_kinds(values.quantize)
        callbacks = setup.callbacks(values)
        dataset = data.load(values.dataset, values.data_dir)
        model = setup.compiled_model(dataset, values)
        out = run_folder.prepare(values.out or f"runs/{values.dataset}")
    except ValueError as error:
        raise program.UsageError(str(error)) from error
    history = setup.train(model, dataset, values, callbacks)
    test = run_folder.TestSet(dataset.x_test, dataset.y_test)
    facts = {name: values[name].value for name in ("dataset", "model", "optimizer", "seed")}
    command = program.command_line("apps.train")
    run_folder.deliver(
        model,
        history,
        test,
        out,
        {**facts, "command": command},
        quantize=kinds,
        x_train=dataset.x_train,
    )


if __name__ == "__main__":
    program.run(main, __doc__, GROUP_NAMES)
