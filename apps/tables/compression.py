"""A trained wide network compressed to a latency, against networks that are trained narrow."""

import dataclasses
import json

import keras
import numpy as np

import keras_sparse
from apps import program
from apps.reproduction import compression_picture, training
from apps.reproduction.table import FILES, Row, Table
from apps.reproduction.tflite_files import COLUMNS, file_figures, latencies
from apps.training import loop
from keras_sparse import models, surgery
from keras_sparse.compression.budget import Budget
from keras_sparse.compression.importance import Random, Taylor
from keras_sparse.compression.planning import Plan, removable_groups
from keras_sparse.compression.recovery import RATE_SHARE
from keras_sparse.compression.training import STUDENT_LOSS_WEIGHT, Training
from keras_sparse.files import replacing

_WIDE = 2.0
_BATCH_SIZE = 128
_RATE = 0.1
_HALF = 0.5
# Pairs of cost and limit. The first is the decisive one.
_BUDGETS = (("latency", "half"), ("int8_latency", "half"), ("latency", "width 1"))
_FIRST = _BUDGETS[0]
# A backward pass costs twice a forward pass, and a teacher runs only the forward pass.
_FORWARD_SHARE = 1 / 3
# A weight decay of 5e-4 in the gradient; Keras' L2(c) adds 2cw.
_L2 = 2.5e-4
# A weak distillation: with a teacher that is hardly better, a strong one costs accuracy.
_DISTILLATION = keras.distillation.LogitsDistillation(temperature=2.0)
_MODEL = "model.keras"
# Subfolder for the widths of each budget.
_SHAPES = "shapes"


@dataclasses.dataclass(frozen=True)
class CompressionRow(Row):
    """A row, and its relation to the trained wide network.

    Attributes:
        cost: the limited cost, see `keras_sparse.plan`; None for a dense network.
        limit: `"half"` of the wide network's cost, or the latency of `"width 1"`.
        initialization: `"inherited"` weights of the wide network, its `"random channels"`, or
            `"scratch"`.
        distilled: whether the wide network teaches.
        full_rate: whether the largest learning rate after the cut is that of the wide network's
            training, instead of a share of it. `compress` by default takes the share for short
            trainings.
        epochs: int, instead of the table's number; None for the table's.
        as_long: whether the row is trained with as many multiply-accumulates as the wide network
            and the network cut to half of its latency together, including those of a teacher.
    """

    cost: str | None = None
    limit: str = "half"
    initialization: str = "scratch"
    distilled: bool = False
    full_rate: bool = False
    epochs: int | None = None
    as_long: bool = False

    @property
    def is_training(self):
        return not (self.cost or self.distilled or self.as_long)


def _dense(width, **facts):
    initialization = "scratch"
    if facts.get("distilled"):
        initialization += ", distilled"
    if facts.get("as_long"):
        initialization += ", as long as both"
    labels = {
        "budget": "",
        "network": f"width {width:g}",
        "initialization": initialization,
        "epochs": "",
    }
    return CompressionRow(labels, {"width": width}, **facts)


def _cut(cost, limit, initialization, **facts):
    epochs = facts.get("epochs")
    parts = [initialization]
    parts += ["full rate"] if facts.get("full_rate") else []
    parts += ["distilled"] if facts.get("distilled") else []
    labels = {
        "budget": f"{limit} {cost.replace('_', ' ')}",
        "network": "chosen shape",
        "initialization": ", ".join(parts),
        "epochs": "" if epochs is None else str(epochs),
    }
    return CompressionRow(labels, cost=cost, limit=limit, initialization=initialization, **facts)


def train_and_convert(table, row, config, task, folder, on_epoch):
    """Train a row, and leave the model, a float32 and an int8 file.

    Arguments and results are those of `training.train`.
    """
    if row.initialization != "scratch":
        model, seconds = _compressed(row, config, task, folder, on_epoch), None
    else:
        config = _from_scratch(row, config, task, folder)
        if row.distilled:
            model, seconds = _distilled(config, task, folder, on_epoch), None
        else:
            model, seconds = training.trained_model(config, task, folder, on_epoch)
    return measured(model, task.judged, folder), seconds


def _from_scratch(row, config, task, folder):
    """The configuration of a row that trains new weights."""
    if row.as_long:
        return config.replace(epochs=_epochs_of_both(row, config, task, folder))
    if row.cost is None:
        return config
    wide = _wide(config, folder)
    network, _ = _plan(row, wide, config, task, folder).apply(wide)
    # With new weights.
    clone = keras.models.clone_model
    return config.replace(model=lambda **_: clone(network), epochs=row.epochs)


def _epochs_of_both(row, config, task, folder):
    """Epochs in which width 1 costs as much as the training and compression of width 2."""
    wide = _wide(config, folder)
    compressed, _ = _plan(_cut(*_FIRST, "scratch"), wide, config, task, folder).apply(wide)
    narrow = models.resnet_8(task.input_shape, task.classes)
    wide, compressed, own = (
        surgery.count_macs(model).total for model in (wide, compressed, narrow)
    )
    own += wide * _FORWARD_SHARE if row.distilled else 0
    return round(config.training.epochs * (wide + compressed) / own)


def _distilled(config, task, folder, on_epoch):
    """A network that the wide one teaches from the first step."""
    wide = _wide(config, folder)
    student = loop.compiled(task, config)
    Training(
        given=wide,
        data=task.batches(config, first_epoch=0),
        validation_data=None,
        batch_size=_BATCH_SIZE,
        callbacks=(keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: on_epoch()),),
        verbose=0,
        distillation=_DISTILLATION,
        student_loss_weight=STUDENT_LOSS_WEIGHT,
    ).run(student, config.training.epochs, folder / "distilled")
    return student


def _wide(config, folder):
    """The trained wide network of the same seed."""
    row = _dense(_WIDE)
    path = folder.parents[1] / FILES / f"{row.key}-seed{config.training.seed}" / _MODEL
    if not path.exists():
        raise program.UsageError(f"{path} is not there: train the row {row.key} before.")
    return keras.models.load_model(path)


def _compressed(row, config, task, folder, on_epoch):
    """The wide network, compressed."""
    wide = _wide(config, folder)
    plan = _plan(row, wide, config, task, folder)
    keras.utils.set_random_seed(config.training.seed)
    result = keras_sparse.compress(
        wide,
        task.batches(config, first_epoch=0),
        plan=plan,
        epochs=config.training.epochs if row.epochs is None else row.epochs,
        learning_rate=_RATE if row.full_rate else RATE_SHARE * _RATE,
        distillation=_DISTILLATION if row.distilled else None,
        folder=folder / "compress",
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: on_epoch())],
        verbose=0,
    )
    files = folder / FILES
    files.mkdir(exist_ok=True)
    (files / "plan.txt").write_text(f"{result.plan}\n\n{result}\n", encoding="utf-8")
    return result.model


def _plan(row, wide, config, task, folder):
    """The plan of a row. All rows of a budget and a seed have the same widths."""
    seed = config.training.seed
    groups = removable_groups(wide)
    batches = task.batches(config, first_epoch=0)
    name = f"{row.limit} {row.cost}".replace("_", " ").replace(" ", "-")
    path = folder.parents[1] / _SHAPES / f"{name}-seed{seed}.json"
    if not path.exists():
        keras.utils.set_random_seed(seed)
        target = _target(row, wide, task, folder)
        # Unlike `plan`, `compress` also measures the compressed network.
        chosen = keras_sparse.compress(wide, batches, **target, epochs=0, verbose=0).plan
        path.parent.mkdir(exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(chosen.widths.tolist()), encoding="utf-8")
    widths = np.array(json.loads(path.read_text(encoding="utf-8")))
    # New weights need only the widths.
    importance = Taylor() if row.initialization == "inherited" else Random(seed)
    scores = importance.scores(wide, groups, batches)
    return Plan(tuple(groups), widths, scores, Budget({}), {}, {})


def _target(row, wide, task, folder):
    """The arguments of `compress` for a row's budget."""
    if not row.cost.endswith("latency"):
        return {"target": {row.cost: _HALF}}
    from export import LatencyTable

    quantize = "int8" if row.cost == "int8_latency" else None
    path = folder.parents[1] / f"{row.cost}.json"
    table = LatencyTable.measure(wide, quantize=quantize, path=path)
    limit = _HALF
    if row.limit == "width 1":
        narrow = models.resnet_8(task.input_shape, task.classes)
        whole, own = table.models_seconds([wide, narrow])
        limit = own / whole
    return {"target": {row.cost: limit}, "latency": {row.cost: table}}


def measured(model, dataset, folder):
    """The figures of a trained model; the model and its files stay in `folder`."""
    figures = file_figures(model, dataset, folder)
    model.save(folder / FILES / _MODEL)
    return figures


TABLE = Table(
    title="ResNet-8 on CIFAR-10: compressed to a latency against trained narrow",
    reference="MLPerf Tiny, arXiv 2106.07597",
    settings={
        **{"dataset": "cifar10", "augment": True, "batch_size": _BATCH_SIZE, "epochs": 30},
        **{"model": "resnet_8", "l2": _L2, "jit_compile": "false", "schedule": "cosine"},
        **{"optimizer": "sgd", "learning_rate": _RATE, "momentum": 0.9, "nesterov": True},
    },
    rows=(
        _dense(_WIDE),
        _dense(1.0),
        *(_cut(*budget, "inherited") for budget in _BUDGETS),
        _dense(1.0, as_long=True),
        *(_cut(*budget, "scratch") for budget in _BUDGETS),
        *(_cut(*budget, "random channels") for budget in _BUDGETS),
        _dense(1.0, distilled=True, as_long=True),
        *(
            _cut(*budget, initialization, distilled=True, full_rate=initialization != "scratch")
            for budget in _BUDGETS
            for initialization in ("inherited", "scratch", "random channels")
        ),
        *(
            _cut(*_FIRST, initialization, epochs=epochs)
            for epochs in (0, 1, 3, 10)
            for initialization in ("inherited", "scratch")
            if epochs or initialization == "inherited"
        ),
        *(_cut(*budget, "inherited", full_rate=True) for budget in _BUDGETS),
        *(_cut(*_FIRST, "inherited", full_rate=True, epochs=epochs) for epochs in (1, 3, 10)),
        *(_cut(*budget, "random channels", full_rate=True) for budget in _BUDGETS),
    ),
    columns=COLUMNS,
    measure=None,
    experiment=train_and_convert,
    together=latencies,
    picture=compression_picture.draw,
    backend="tensorflow",
    notes=f"""\
Width {_WIDE:g} is trained first; *inherited* is `keras_sparse.compress` of it, with as many epochs
again, *random channels* the same shape with channels chosen by chance, *scratch* the same shape
with new weights. *Distilled* has the wide network for a teacher. *As long as both* is trained for
as many multiply-accumulates as the wide network and its compression to half of the latency.
Batch {_BATCH_SIZE}, SGD with Nesterov momentum 0.9, reflect-pad 4, crop and flip, weight decay of
5e-4 in the gradient of kernels, the rate by a cosine to 0 from {_RATE:g}. What inherits weights
begins with an epoch of warm-up to {RATE_SHARE:g} times that rate, or to that rate itself (*full
rate*). Accuracy is on all test images, for int8 that of the file in LiteRT. Latency is that of the
fastest inference, one thread, all files timed alternately.""",
)
