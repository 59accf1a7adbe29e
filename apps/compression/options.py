"""The flags of a compression to a budget, and their checks, without Keras."""

import functools
import importlib.util
import math
import os
import re
import zipfile

from absl import flags

from apps import paths, program
from export.command_line import LARGEST_INTEGER, check_model, check_output

GROUP = "budget"
# The costs of `keras_sparse.compression.budget`, repeated here because importing it imports Keras.
COSTS = (
    *("parameters", "macs", "float32_bytes", "int8_bytes", "memory", "latency", "int8_latency"),
    *("arena", "flash"),
)
_QUANTITY = re.compile(r"[0-9.eE+-]+ *(us|ms|s|B|kB|MB|KiB|MiB|k|M|G)")
IMPORTANCE = ("taylor", "norm", "random")
ALLOCATIONS = ("importance", "uniform")
# The schedules, and the epochs that each needs at least.
SCHEDULES = {"one_shot": 0, "iterative": 4, "growing": 2}
HELD_OUT = 0.1
EPOCHS, BATCH_SIZE = 12, 128
# Names of the files of the baselines.
BASELINES = ("scratch", "narrow", "narrow_steps", "random")
# Flags that only one way of calling the program has.
OF_TARGET = (
    *("data", "epochs", "learning_rate", "batch_size", "allocation", "importance", "exclude"),
    *(
        "plan_only",
        "seed",
        "loss",
        "num_threads",
        "table",
        "schedule",
        "distill",
        "baselines",
    ),
)
_OF_CUT = ("report_json", "threshold", "channel_multiple", "representative")
_FILES = (
    *("dense.keras", "compact.keras", "dense.tflite", "compact.tflite", "plan.json"),
    *("report.json", "report.md", "report.html", "history.csv", "settings.json"),
    *("accuracy.png", "channels.png", "firmware.tflite"),
)


def define():
    """Define the flags."""
    string = functools.partial(flags.DEFINE_string, default=None, module_name=GROUP)
    choice = functools.partial(flags.DEFINE_enum, default=None, module_name=GROUP)
    positive = functools.partial(
        flags.DEFINE_integer,
        default=None,
        lower_bound=1,
        upper_bound=LARGEST_INTEGER,
        module_name=GROUP,
    )
    flags.DEFINE_multi_string(
        "target",
        [],
        "What the compact model may cost, COST=LIMIT. Costs: macs, parameters, float32_bytes and "
        "int8_bytes of the TFLite file, memory, latency, int8_latency; arena and flash of a "
        "microcontroller. A limit up to 1 is a share of what the model costs: macs=0.5. Others are "
        "absolute: parameters=100k, latency=2ms; a latency then needs a unit. Several limits are "
        "separated by commas, or the flag is repeated; all must hold. --out is then a folder.",
        module_name=GROUP,
    )
    string(
        "data",
        help="The training data: a .npz file with x_train and y_train, and x_test and y_test to "
        f"evaluate on; or with x and y, of which {HELD_OUT:.0%} are held out. A model with several "
        "inputs or outputs needs an array for each, by name: x_train_NAME, y_train_NAME.",
    )
    flags.DEFINE_integer(
        "epochs",
        None,
        f"Epochs of training, 0 for none. Default: {EPOCHS}.",
        lower_bound=0,
        upper_bound=LARGEST_INTEGER,
        module_name=GROUP,
    )
    program.define_number(
        "learning_rate",
        None,
        "Peak of the learning rate. Default: that of the model's own training; with fewer than "
        "8 epochs, 0.3 times that.",
        above=0.0,
        module_name=GROUP,
    )
    positive("batch_size", help=f"Default: {BATCH_SIZE}.")
    choice(
        "importance",
        enum_values=IMPORTANCE,
        help="Which channels matter: judged by gradients of the loss, by the norm of the weights, "
        "or at random. Default: taylor.",
    )
    choice(
        "allocation",
        enum_values=ALLOCATIONS,
        help="How many channels each layer keeps: by importance and cost, or the same share "
        "everywhere. Default: importance.",
    )
    choice(
        "schedule",
        enum_values=[*SCHEDULES],
        help="When channels are removed: all at once before the training, in several cuts, or "
        "after they were pushed to zero while the model trains. iterative needs --epochs of at "
        f"least {SCHEDULES['iterative']}, growing of at least {SCHEDULES['growing']}. Default: "
        "one_shot.",
    )
    flags.DEFINE_bool(
        "distill",
        False,
        "Train the compact model also on the outputs of the given model. For classifiers whose "
        "outputs are logits.",
        module_name=GROUP,
    )
    flags.DEFINE_bool(
        "baselines",
        False,
        "Also train other networks within the budget for the same number of epochs: the same shape "
        "from scratch, the given network with the same share of channels everywhere (with a "
        "latency also rounded up to its steps), and the same shape with random channels.",
        module_name=GROUP,
    )
    flags.DEFINE_list("exclude", [], "Layers that keep all of their channels.", module_name=GROUP)
    flags.DEFINE_bool(
        "plan_only", False, "Print the plan, write plan.json, and nothing else.", module_name=GROUP
    )
    string(
        "loss",
        help="The loss of the training, by its name in Keras, if the model's file has none or "
        "another one.",
    )
    flags.DEFINE_integer(
        "seed", None, "Default: 0.", lower_bound=0, upper_bound=2**31 - 1, module_name=GROUP
    )
    positive("num_threads", help="Threads of LiteRT. Default: 1.")
    string(
        "table",
        help="File that keeps the measured times of layers, for latency and int8_latency; with "
        "both, int8 has a second one, TABLE-int8. Default: latency.json in --out.",
    )


def targets(values):
    """`{cost: share, number or quantity}`, the target for `keras_sparse.compress`.

    Raises:
        UsageError: a target without a value, or a cost that is limited twice.
    """
    found = {}
    for text in ",".join(values.target).split(","):
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise program.UsageError(
                f"--target must be COST=LIMIT, such as macs=0.5 or latency=2ms. Received: {text!r}"
            )
        if name in found:
            raise program.UsageError(f"--target limits {name} twice: give it once.")
        if name not in COSTS:
            raise program.UsageError(f"--target limits {', '.join(COSTS)}. Received: {text!r}")
        found[name] = _limit(value, text)
    return found


def _limit(value, text):
    try:
        number = float(value)
    except ValueError:
        if _QUANTITY.fullmatch(value):
            return value  # its unit is checked later, with the cost
        number = math.nan
    if not 0 < number < math.inf:
        raise program.UsageError(
            "--target needs a share in (0, 1], a larger number, or a quantity such as 2ms or "
            f"100kB. Received: {text!r}"
        )
    return number


def refuse_without_target(values):
    """Raise a `UsageError` for flags that need `--target`."""
    _refuse(OF_TARGET, "is for --target: give both.", values)


def check(values):
    """Raise a `UsageError` for flags that do not fit, and for missing files.

    Args:
        values: the flags' values, with a `target`.
    """
    _refuse(_OF_CUT, "cuts dead channels out: omit it with --target.", values)
    for name, what in (
        ("model", "the name of a .keras or .h5 file"),
        ("data", "the name of a .npz file"),
        ("out", "the name of a folder"),
    ):
        if not getattr(values, name):
            raise program.UsageError(f"--{name} is needed with --target: {what}.")
    for name in ("model", "data"):
        path = getattr(values, name)
        if not os.path.exists(path):
            raise program.UsageError(f"--{name}={path}: there is no such file.")
    if not zipfile.is_zipfile(values.data):
        raise program.UsageError(f"--data={values.data} cannot be read as a .npz file of arrays.")
    if values.out.endswith((".keras", ".h5", ".tflite")):
        raise program.UsageError(
            f"--out={values.out}: with --target this is a folder, in which compact.keras will be."
        )
    try:
        check_model(values.model)
        _check_out(values)
        check_output(values.table, "--table")
    except ValueError as error:
        raise program.UsageError(str(error)) from error
    _check_import(getattr(values, "import"))
    costs = targets(values)
    if values.quantize:
        from export.quantize import variants

        try:
            variants.checked_kinds(values.quantize)
        except ValueError as error:
            raise program.UsageError(f"--{error}") from error
    _check_training(values)
    if values.table and not any(name.endswith("latency") for name in costs):
        raise program.UsageError("--table is for the targets latency and int8_latency.")


def _check_training(values):
    if values.plan_only and (values.distill or values.schedule or values.baselines):
        raise program.UsageError(
            "--distill, --schedule and --baselines are for the training: not --plan_only."
        )
    least = SCHEDULES[values.schedule or "one_shot"]
    if values.epochs is not None and values.epochs < least:
        raise program.UsageError(
            f"--schedule={values.schedule} needs --epochs of at least {least}. Received: "
            f"--epochs={values.epochs}"
        )
    if values.baselines and values.schedule == "iterative":
        raise program.UsageError(
            "--baselines has random channels in the shape, which are chosen in one cut: omit it, "
            "or --schedule=iterative, which makes several."
        )


def _check_out(values):
    """Raise a ValueError if files in `--out` cannot be written, or must not be replaced."""
    files = [*_FILES, *(f"{name}.keras" for name in BASELINES if values.baselines)]
    for kind in values.quantize or ():
        files += [f"{name}-{kind}.tflite" for name in ("dense", "compact")]
    if values.plan_only:
        files = ["plan.json"]
    paths.check_out(values.out, files=files, folders=("recovery",))
    paths.check_run(values.out, None if values.plan_only else "compress")
    inputs = {name: getattr(values, name) for name in ("model", "data", "table")}
    paths.check_inputs(inputs, [os.path.join(values.out, name) for name in files])


def _check_import(module):
    try:
        found = module is None or importlib.util.find_spec(module)
    except (ImportError, ValueError):
        found = False
    if not found:
        raise program.UsageError(
            f"--import={module} cannot be imported: there is no such module. Run this in the "
            "folder where it is."
        )


def _refuse(names, why, values):
    for name in names:
        value = getattr(values, name)
        if not (value is None or value is False or value == []):
            raise program.UsageError(f"--{name} {why}")
