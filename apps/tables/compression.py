"""A trained wide network cut to a latency, against the networks that are trained narrow."""

import dataclasses

import keras
import numpy as np

import keras_sparse
from apps import program
from apps.reproduction import compression_picture, training
from apps.reproduction.table import FILES, Row, Table
from apps.reproduction.tflite_files import COLUMNS, file_figures, latencies
from keras_sparse import models
from keras_sparse.compression.budget import Budget
from keras_sparse.compression.importance import Random, Taylor
from keras_sparse.compression.planning import Plan, removable_groups
from keras_sparse.compression.recovery import RATE_SHARE

_WIDE = 2.0
_BATCH_SIZE = 128
_RATE = 0.1
_HALF = 0.5
# A weight decay of 5e-4 in the gradient; that of Keras' L2(c) is 2cw.
_L2 = 2.5e-4
# A mild weight: a strong one costs accuracy with a teacher that is hardly better.
_DISTILLATION = keras.distillation.LogitsDistillation(temperature=2.0)
_MODEL = "model.keras"


@dataclasses.dataclass(frozen=True)
class CompressionRow(Row):
    """A row, and what it has from the trained wide network.

    Attributes:
        cost: what is limited, a cost of `keras_sparse.plan`; None for a dense network.
        limit: `"half"` of the wide network's, or `"width 1"`'s latency.
        start: `"inherited"` weights of the wide network, `"random channels"` of it, or `"scratch"`.
        distilled: whether the wide network teaches.
        epochs: int, instead of the table's; None for these.
        allocation: of `keras_sparse.plan`, for the shape of a network from scratch; None for the
            shape that was chosen by importance.
    """

    cost: str | None = None
    limit: str = "half"
    start: str = "scratch"
    distilled: bool = False
    epochs: int | None = None
    allocation: str | None = None

    @property
    def is_training(self):
        """See `Row`."""
        return self.cost is None


def _dense(width):
    labels = {"budget": "", "network": f"width {width:g}", "start": "scratch", "epochs": ""}
    return CompressionRow(labels, {"width": width})


def _cut(cost, limit, start, **facts):
    epochs = facts.get("epochs")
    labels = {
        "budget": f"{limit} {cost.replace('_', ' ')}",
        "network": "chosen shape",
        "start": start + (", distilled" if facts.get("distilled") else ""),
        "epochs": "" if epochs is None else str(epochs),
    }
    return CompressionRow(labels, cost=cost, limit=limit, start=start, **facts)


_UNIFORM = {"uniform": "uniform", "uniform_steps": "uniform on the steps"}


def _uniform(cost, limit, allocation):
    """The wide network with the same share of channels everywhere, the widest that fits."""
    row = _cut(cost, limit, "scratch", allocation=allocation)
    return dataclasses.replace(row, labels={**row.labels, "network": _UNIFORM[allocation]})


def train_and_convert(table, row, config, task, folder, on_epoch):
    """Train a row, and leave the model, a float32 and an int8 file.

    Takes what `training.train` takes, and returns what it returns.
    """
    if row.start != "scratch":
        model, seconds = _compressed(row, config, task, folder, on_epoch), None
    else:
        if row.cost:
            network = _shape(row, config.training.seed, task, folder)
            # With new weights.
            clone = keras.models.clone_model
            config = config.replace(model=lambda **_: clone(network), epochs=row.epochs)
        model, seconds = training.trained_model(config, task, folder, on_epoch)
    return measured(model, task.judged, folder), seconds


def _model_of(row, seed, folder):
    """The trained model of another row, with the same seed."""
    path = folder.parents[1] / FILES / f"{row.key}-seed{seed}" / _MODEL
    if not path.exists():
        raise program.UsageError(f"{path} is not there: train the row {row.key} before.")
    return path


def _shape(row, seed, task, folder):
    """A network of the shape that a row trains from scratch."""
    if row.allocation is None:
        path = _model_of(_cut(row.cost, row.limit, "inherited"), seed, folder)
        return keras.models.load_model(path, compile=False)
    wide = keras.models.load_model(_model_of(_dense(_WIDE), seed, folder))
    plan = keras_sparse.plan(
        wide,
        importance=Random(seed),
        allocation=row.allocation,
        **_target(row, wide, task, folder),
    )
    return plan.apply(wide)[0]


def _compressed(row, config, task, folder, on_epoch):
    """The wide network, compressed."""
    seed = config.training.seed
    wide = keras.models.load_model(_model_of(_dense(_WIDE), seed, folder))
    batches = task.batches(config, first_epoch=0)
    first = _cut(row.cost, row.limit, "inherited")
    if row.key == first.key:
        chosen = _target(row, wide, task, folder)
    else:
        importance = Random(seed) if row.start == "random channels" else Taylor()
        chosen = {"plan": _plan_like(wide, _model_of(first, seed, folder), importance, batches)}
    keras.utils.set_random_seed(seed)
    result = keras_sparse.compress(
        wide,
        batches,
        **chosen,
        epochs=config.training.epochs if row.epochs is None else row.epochs,
        distillation=_DISTILLATION if row.distilled else None,
        folder=folder / "compress",
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: on_epoch())],
        verbose=0,
    )
    files = folder / FILES
    files.mkdir(exist_ok=True)
    (files / "plan.txt").write_text(f"{result.plan}\n\n{result}\n", encoding="utf-8")
    return result.model


def _plan_like(wide, path, importance, batches):
    """A plan for the shape of the network in a file, with the channels that matter most."""
    small = keras.models.load_model(path, compile=False)
    groups = removable_groups(wide)
    widths = [small.get_layer(group.layers[0]).output.shape[-1] for group in groups]
    scores = importance.scores(wide, groups, batches)
    return Plan(tuple(groups), np.array(widths), scores, Budget({}), {}, {})


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
    """The figures of a trained model, which is left in `folder` with its files."""
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
        _cut("latency", "half", "inherited"),
        _cut("latency", "half", "scratch"),
        _dense(1.0),
        _dense(1.25),
        _uniform("latency", "half", "uniform"),
        _uniform("latency", "half", "uniform_steps"),
        *(
            _cut("latency", "half", start, epochs=epochs)
            for epochs in (0, 1, 3)
            for start in ("inherited", "scratch")
            if epochs or start == "inherited"
        ),
        _cut("latency", "half", "inherited", distilled=True),
        _cut("latency", "half", "random channels"),
        _cut("latency", "width 1", "inherited"),
        _cut("latency", "width 1", "scratch"),
        _cut("int8_latency", "half", "inherited"),
        _cut("int8_latency", "half", "scratch"),
        _uniform("int8_latency", "half", "uniform"),
        _uniform("int8_latency", "half", "uniform_steps"),
        _cut("macs", "half", "inherited"),
        _cut("macs", "half", "scratch"),
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
with new weights. *Uniform* is the widest network with one share of the channels everywhere that is
predicted to fit; *on the steps* rounds each width up to one at which the latency falls. Batch
{_BATCH_SIZE}, SGD with Nesterov momentum 0.9, reflect-pad 4, crop and flip, weight decay of 5e-4 in
the gradient of kernels, the rate by a cosine to 0 from {_RATE:g}, and for what inherits weights
from {RATE_SHARE:g} times that after an epoch of warm-up. Accuracy is on all test images, for int8
that of the file in LiteRT. Latency is that of the fastest inference, one
thread, all files timed in turns.""",
)
