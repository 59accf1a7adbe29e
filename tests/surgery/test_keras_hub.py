"""Models of KerasHub shrink exactly; what is registered by name exists."""

import importlib
import sys

import keras
import numpy as np
import pytest

from benchmarks.hub_models import MODELS
from keras_sparse import ShrinkingTrainer
from keras_sparse.channels import DeadChannels
from keras_sparse.surgery.rules import base

# The smallest of what can be cut in different ways; the rest takes minutes.
_FEW = (
    "BERT",
    "BLOOM",
    "DistilBERT",
    "FNet",
    "Falcon",
    "GPT-2",
    "Gemma",
    "Phi-3",
    "VGG",
    "VGG classifier",
    "ViT",
    "XLNet",
)


def _names():
    return [name for name in base._RULES if isinstance(name, str)]


def test_names_of_classes_in_keras_are_not_made_up():
    modules = [module for name, module in sys.modules.items() if name.startswith("keras.src.")]
    known = {
        name for module in modules for name, kind in vars(module).items() if type(kind) is type
    }
    assert len(_names()) > 100
    assert [name for name in _names() if "." not in name and name not in known] == []


def test_names_of_classes_in_keras_hub_are_not_made_up():
    pytest.importorskip("keras_hub")
    for name in _names():
        if "." in name:
            module, kind = name.rsplit(".", 1)
            assert hasattr(importlib.import_module(module), kind), name


def _cases():
    return [
        pytest.param(make, id=name, marks=() if name in _FEW else pytest.mark.slow)
        for name, make in MODELS.items()
    ]


@pytest.mark.parametrize("make", _cases())
def test_models_shrink_exactly(make, harness):
    pytest.importorskip("keras_hub")
    model = make()
    harness.randomise(model, damping=0.3)
    harness.kill(model)
    compact, report = harness.cut(model)
    assert compact.count_params() < model.count_params() or report.dead_kept or report.notes


@pytest.mark.slow
def test_a_task_is_trained_as_a_model_of_its_tensors(harness):
    pytest.importorskip("keras_hub")
    task = MODELS["VGG classifier"]()
    harness.randomise(task, damping=0.3)
    harness.kill(task)
    with pytest.raises(ValueError, match=r"keras\.Model\(task\.input, task\.output\)"):
        ShrinkingTrainer(task, DeadChannels(epochs=1))
    model = keras.Model(task.input, task.output)
    model.compile("sgd", "mse", run_eagerly=True)
    trainer = ShrinkingTrainer(model, DeadChannels(epochs=1), must_pay=False, min_dead=0.01)
    x = harness.rng.standard_normal((4, 32, 32, 3))
    trainer.fit(x, np.zeros((4, 3)), epochs=2, verbose=0)
    assert trainer.model.count_params() < task.count_params()
