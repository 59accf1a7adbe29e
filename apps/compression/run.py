"""One compression, from the flags to its files."""

import hashlib
import json
import pathlib

import keras

import keras_sparse
from apps import program
from apps.compression import baselines, inputs, report
from apps.compression.latency import tables
from apps.compression.options import BATCH_SIZE, EPOCHS, targets
from export import ExportError, FileSizes, Micro, run_folder
from export.custom_objects import register_objects
from export.quantize import variants
from keras_sparse.compression import Budget, GroupNorm, Random, Taylor
from keras_sparse.compression.budget import COSTS
from keras_sparse.compression.cost import CostModel
from keras_sparse.compression.planning import removable_groups
from keras_sparse.compression.recovery import default_peak
from keras_sparse.compression.schedules import as_schedule
from keras_sparse.training_steps import check_training_steps


def main(values):
    """Plan; unless only a plan is requested, also cut, train and report.

    Args:
        values: the flags' values, checked by `options.check`.

    Raises:
        UsageError: something that the user must change.
    """
    try:
        compressed = _compress(values)
    except (ValueError, ExportError) as error:
        raise program.UsageError(str(error)) from error
    if compressed:
        _deliver(*compressed, values)


def _compress(values):
    """`(model, result, data, facts)`, or None if only a plan is requested."""
    target = targets(values)
    Budget.of(target, dict.fromkeys(COSTS, 1.0))
    kinds = _kinds(values, target)
    seed = values.seed or 0
    keras.utils.set_random_seed(seed)
    register_objects(getattr(values, "import"))
    model, told = inputs.load_compiled(values.model, values.loss)
    data = inputs.load_data(values.data, model, seed)
    for sentence in filter(None, (told, data.told)):
        print(sentence)
    importance = {"taylor": Taylor(), "norm": GroupNorm(), "random": Random(seed)}
    arguments = {
        "target": target,
        "importance": importance[values.importance or "taylor"],
        "allocation": values.allocation or "importance",
        "exclude": tuple(values.exclude or ()),
    }
    # Raises for wrong arguments before latencies are measured.
    removable_groups(model, arguments["exclude"])
    distillation = inputs.distillation(model) if values.distill else None
    folder = pathlib.Path(values.out)
    if values.plan_only:
        latency = tables(model, target, None, values)
        _print_plan(keras_sparse.plan(model, data.train, latency=latency, **arguments), values)
        return None
    facts = _facts(values, target, model)
    start = _Start(folder, facts["settings"])
    start.check()
    # What raises for wrong arguments is called before latencies are measured.
    check_training_steps(model)
    as_schedule(facts["settings"]["schedule"]).check(facts["settings"]["epochs"])
    micro = Micro() if set(CostModel.micro_names) & set(target) else None
    measures = keras.backend.backend() == "tensorflow" and set(CostModel.file_names) & set(target)
    files = FileSizes() if measures else None
    latency = tables(model, target, folder, values)
    result = keras_sparse.compress(
        model,
        data.train,
        validation_data=data.test,
        epochs=facts["settings"]["epochs"],
        learning_rate=facts["settings"]["learning_rate"],
        batch_size=facts["settings"]["batch_size"],
        latency=latency,
        micro=micro,
        files=files,
        schedule=facts["settings"]["schedule"],
        distillation=distillation,
        folder=folder,
        callbacks=[start],
        **arguments,
    )
    start.write()  # without epochs, no training has started
    facts["quantize"] = kinds
    if values.baselines:
        facts["baselines"] = baselines.train(
            model, result, data, folder, facts["settings"], latency, micro, files, distillation
        )
    return model, result, data, facts


def _kinds(values, target):
    """Kinds of quantized files; a `UsageError` for kinds that this backend cannot write."""
    kinds = variants.checked_kinds(values.quantize or ())
    measured = [name for name in target if name.endswith("latency")]
    if keras.backend.backend() != "tensorflow" and (kinds or measured):
        raise program.UsageError(
            f"TFLite files, and so {' and '.join(measured) or '--quantize'}, need TensorFlow: "
            "set KERAS_BACKEND=tensorflow."
        )
    return kinds


def _facts(values, target, model):
    """Facts of the run for the report; a continuation must have the same `settings`."""
    epochs = EPOCHS if values.epochs is None else values.epochs
    rate = values.learning_rate or default_peak(model, epochs)
    return {
        "command": program.command_line("apps.compress"),
        "model": values.model,
        "data": values.data,
        "settings": {
            "target": target,
            "epochs": epochs,
            "learning_rate": rate,
            "batch_size": values.batch_size or BATCH_SIZE,
            "importance": values.importance or "taylor",
            "allocation": values.allocation or "importance",
            "schedule": values.schedule or "one_shot",
            "distill": bool(values.distill),
            "exclude": list(values.exclude or ()),
            "loss": values.loss,
            "seed": values.seed or 0,
            "num_threads": values.num_threads or 1,
            "model_sha256": _sha256(values.model),
            "data_sha256": _sha256(values.data),
        },
    }


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _print_plan(plan, values):
    print(plan)
    facts = {"command": program.command_line("apps.compress"), **plan.to_dict()}
    path = run_folder.prepare(values.out) / "plan.json"
    run_folder.write_text(json.dumps(facts, indent=1), path)
    print(f"Wrote {path}")


def _deliver(model, result, data, facts, values):
    folder = run_folder.prepare(values.out)
    try:
        report.deliver(
            model,
            result,
            data,
            folder,
            facts,
            labels=inputs.classes(data, model),
            num_threads=values.num_threads or 1,
        )
    except ExportError as error:
        raise program.UsageError(
            f"The compact model is {folder / 'compact.keras'}; what follows failed: {error}"
        ) from error


class _Start(keras.callbacks.Callback):
    """Writes the settings when the training starts, and refuses a folder with others."""

    def __init__(self, folder, settings):
        super().__init__()
        self._folder = folder
        self._settings = settings

    def check(self):
        """Raises a `UsageError` if the folder holds a run with other settings."""
        path = self._folder / "settings.json"
        if not path.exists():
            return
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            differing = [n for n, value in self._settings.items() if found.get(n) != value]
        except (ValueError, AttributeError) as error:
            raise program.UsageError(f"{path} is damaged: give another --out.") from error
        if differing:
            there, here = (
                ", ".join(f"{name}={each.get(name)}" for name in differing)
                for each in (found, self._settings)
            )
            raise program.UsageError(
                f"--out={self._folder} holds a compression with {there}, not {here}. Give another "
                "--out, or remove the folder."
            )

    def on_train_begin(self, logs=None):
        self.write()

    def write(self):
        """Writes the settings."""
        folder = run_folder.prepare(self._folder)
        run_folder.write_text(json.dumps(self._settings, indent=1), folder / "settings.json")
