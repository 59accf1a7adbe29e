"""Latency of ResNet-8 at uniform widths, as a share of that of width 2.

    python -m benchmarks.uniform_widths

The channels are those of the stem; the stages have one, two and four times as many. All files are
timed alternately in LiteRT with one thread. Time depends on the sizes, so weights are random.
"""

import keras
from absl import app, flags, logging

from benchmarks.machine import describe
from export.latency.layers import reference_file, tflite_bytes
from export.latency.timing import HostTimer
from keras_sparse import models

_CHANNELS = flags.DEFINE_list("channels", "32,16,17,18,20,22,24,28", "Of the stem, first of all.")
_QUANTIZE = flags.DEFINE_list("quantize", "float32,int8", "Kinds of files.")


def main(_):
    """Prints a row for each width."""
    logging.set_verbosity(logging.ERROR)
    print(describe())
    channels = [int(count) for count in _CHANNELS.value]
    shares = {}
    for name in _QUANTIZE.value:
        kind = None if name == "float32" else name
        seconds = HostTimer(reference_file(kind))([_file(count, kind) for count in channels])
        shares[name] = [own / seconds[0] for own in seconds]
    print(f"| channels | {' | '.join(shares)} |")
    print(f"| --- |{' ---: |' * len(shares)}")
    for row in zip(channels, *shares.values(), strict=True):
        print(f"| {row[0]} | {' | '.join(f'{share:.2f}' for share in row[1:])} |")


def _file(channels, kind):
    """The TFLite file of the network; distinct weights, because equal ones would be shared."""
    keras.utils.set_random_seed(channels)
    return tflite_bytes(models.resnet_8(width=channels / 16), kind)


if __name__ == "__main__":
    app.run(main)
