"""Configurations from flags of apps.train in a set of their own, for tests."""

import keras
from absl import flags

from apps import train
from apps.training.flags import define, given

# A network without batch normalisation, whose averages differ from device to device.
SMALL = (
    *("--model=lenet_300_100", "--width=0.1", "--init_scale=0", "--noexport"),
    "--nobaseline",
    *("--train_images=80", "--test_images=40", "--batch_size=16"),
)


def parse(*arguments):
    """The `FlagValues`."""
    values = flags.FlagValues()
    define(flags, values)
    values(["train", *arguments])
    return values


def configured(*arguments):
    """The `TrainConfig`."""
    return train.configuration(*given(parse(*arguments)))


def train_small(out, *arguments):
    """Train on some digits; returns the weights."""
    train.main(parse(f"--out={out}", *SMALL, *arguments))
    return weights(out)


def weights(out):
    return keras.saving.load_model(f"{out}/model.keras").get_weights()
