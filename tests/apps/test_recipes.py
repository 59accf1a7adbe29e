"""Each recipe under apps/recipes: its flags exist, fit together, and make what they name."""

import functools
import pathlib
import re
import types

import keras
import numpy as np
import pytest

from apps.tables.training import Run
from apps.training import networks
from apps.training.callbacks import callbacks
from apps.training.optimizers import optimizer

from .flag_values import parse

ROOT = pathlib.Path(__file__).parent.parent.parent
RECIPES = sorted((ROOT / "apps" / "recipes").glob("*.flags"))
IMAGES = {"mnist": (60_000, (28, 28, 1)), "cifar10": (50_000, (32, 32, 3))}


@functools.cache
def paths(model, depth, shape):
    """Of the weights of a network."""
    arguments = [f"--model={model}", "--width=0.1", "--optimizer=sgd"]
    arguments += [f"--depth={depth}"] if depth else []
    task = types.SimpleNamespace(input_shape=shape, classes=10)
    with keras.StatelessScope():  # shapes alone
        made = networks.network(task, parse(*arguments))
    return [variable.path for variable in made.trainable_variables]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe(path):
    lines = path.read_text().splitlines()
    assert any(line.startswith("# Published: ") for line in lines)
    names = [line.partition("=")[0] for line in lines if line.startswith("--")]
    assert len(names) == len(set(names))
    values = parse(f"--flagfile={path}")
    assert values.resume
    assert values.data_dir is values.out is None
    count, shape = IMAGES[values.dataset]
    steps = -(-round(count * (1 - (values.held_out or 0))) // values.batch_size)
    run = Run(values.seed, values.epochs, steps)
    assert isinstance(optimizer(values, run), keras.optimizers.Optimizer)
    images = np.zeros((2, *shape))
    task = types.SimpleNamespace(samples=(images, None), images_per_epoch=lambda values: count)
    assert callbacks(values, task, None)
    weights = paths(values.model, values.depth, shape)
    for pattern in filter(None, (values.exclude or "").split("|")):
        assert any(re.search(pattern, weight) for weight in weights), pattern


def test_the_document_lists_them():
    text = (ROOT / "docs" / "training.md").read_text()
    listed = set(re.findall(r"^\| `(\w+)` \|", text, flags=re.M))
    assert {path.stem for path in RECIPES} <= listed


def test_flags_after_the_recipe_win():
    values = parse(f"--flagfile={RECIPES[0]}", "--epochs=3", "--seed=7")
    assert (values.epochs, values.seed) == (3, 7)
