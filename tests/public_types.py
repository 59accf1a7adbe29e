"""A program over the public interface, which mypy checks and nobody runs.

Each call is as a user writes it, so a signature without types, or with wrong ones, is an error.
"""

from typing import Any, assert_type

import keras
import numpy as np

import export
import keras_sparse
from keras_sparse import surgery


def optimizers(steps: int) -> list[keras.optimizers.Optimizer]:
    schedule = keras_sparse.CosineSchedule(0.3, 0.0, end=steps)
    return [
        keras_sparse.RDA(l1=1e-3, variant="published", center="zero"),
        keras_sparse.DPF(target_sparsity=0.5, groups="channel", exclude="logits/"),
        keras_sparse.AccumulatedRDA(0.1, l1=1e-3, rho=0.0),
        keras_sparse.PublishedRDA(1.0, l1=1e-3, center="initial"),
        keras_sparse.PublishedRDAToTarget(1.0, target_sparsity=0.9),
        keras_sparse.GRDA(c=0.04, mu=0.6),
        keras_sparse.ProxSGD(keras_sparse.InverseSqrtDecay(0.3), l1=1e-4),
        keras_sparse.RigL(0.1, density=0.1, prune_rate=schedule, update_every=100),
        keras_sparse.SET(density=0.1, update_every="epoch", steps_per_epoch=10),
        keras_sparse.DSR(threshold=1e-3, tolerance=0.1),
        keras_sparse.SparseMomentum(density=0.1, growth="momentum_by_channel"),
        keras_sparse.DeepR(0.3, l1=1e-4, temperature=1e-10),
        keras_sparse.SNIP(density=0.05),
        keras_sparse.StaticSparse(0.1, distribution={"conv": 0.5}),
        keras_sparse.MagnitudePruning(sparsity=keras_sparse.OneShotSchedule(0.9, end=steps)),
    ]


def schedules() -> list[float]:
    found = [
        keras_sparse.ConstantSchedule(0.3)(1),
        keras_sparse.LinearSchedule(0.5, 0.0, end=100)(1),
        keras_sparse.CubicSchedule(0.0, 0.8, end=100)(1),
        keras_sparse.InverseTimeSchedule(0.5, halved_at=100)(1),
    ]
    assert_type(found, list[float])
    return found


def training(model: keras.Model, x: np.ndarray, y: np.ndarray) -> float:
    keras_sparse.ScaledUniform(10.0, bound="torch", seed=0)
    trainer = keras_sparse.ShrinkingTrainer(model, must_pay=lambda estimate: estimate.pays)
    trainer.fit(x, y, epochs=3)
    keras_sparse.layers_of_type(model, keras.layers.Dense)
    keras_sparse.prunable_variables(model, exclude=keras_sparse.output_layers(model))
    assert_type(keras_sparse.sparsity(model), float)
    return keras_sparse.sparsity(model)


def cutting(model: keras.Model) -> surgery.Report:
    zeroed, found = surgery.zero_channels(model, 1e-6, criterion="norm")
    assert_type(found, surgery.ZeroedReport)
    groups = surgery.channel_groups(zeroed)
    assert_type(groups, list[surgery.ChannelGroup])
    zeroed = surgery.zero_groups(zeroed, {groups[0]: [0, 1]})
    compact, report = surgery.remove_dead_channels(zeroed, channel_multiple=8)
    assert_type(report, surgery.Report)
    assert_type(report.channels, dict[str, tuple[int, int]])
    assert_type(surgery.count_macs(compact).total, int)
    surgery.slice_optimizer(model.optimizer, report, compact)
    return report


class Scale(keras.layers.Layer):
    """A layer of the user's own."""


@surgery.register_rule(Scale)
class ScaleRule(surgery.Elementwise):
    channel_weights = ("scale",)


def compressing(model: keras.Model, data: tuple[np.ndarray, np.ndarray]) -> keras.Model:
    plan = keras_sparse.plan(model, data, target={"macs": 0.5}, exclude="logits/")
    compact, report = plan.apply(model)
    assert_type(report, surgery.Report)
    result = keras_sparse.compress(model, data, target={"flash": "60 kB"}, micro=export.Micro())
    keras_sparse.compress(model, data, plan=plan, files=export.FileSizes(), epochs=2)
    print(compact)
    return result.model


def exporting(model: keras.Model, x: np.ndarray) -> dict[str, Any]:
    found = export.convert(model, "model.tflite", quantize="int8", representative=x)
    assert_type(found, export.Verification)
    export.verify(model, "model.tflite", samples=x, tolerance=export.Tolerance(1e-5, 1.0, 0.0))
    export.quantization_aware(model, "int8.tflite", x, x, epochs=2)
    assert_type(export.operators("model.tflite"), dict[str, int])
    assert_type(export.sparse_runtime_report(model).engaged, bool)
    table = export.LatencyTable.measure(model, path="latency.json")
    assert_type(table.total(), float)
    result = export.benchmark(["model.tflite"], num_threads=2)
    assert_type(result.files[0], export.FileTiming)
    return result.to_dict()
