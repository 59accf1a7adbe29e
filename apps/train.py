"""Train a sparse network and a dense one; cut out what died, convert to TFLite, time and report.

python -m apps.train --image_size=32 --width=2 --epochs=10 --out=runs/digits
python -m apps.train --dataset=cifar10 --augment --model=resnet_18 --optimizer=rigl --density=0.1
python -m apps.train --row=rda_cifar10/vgg16-rda --data_dir=FOLDER --out=runs/vgg16
"""

from absl import flags

from apps import program
from apps.training.config import TrainConfig
from apps.training.flags import GROUPS, define, given
from export.quiet import quiet_import


def main(values=flags.FLAGS):
    """Check everything, then train, cut, convert, time and report."""
    try:
        row, settings = given(values)
        config = configuration(row, settings)
        config.data.check_files()
        config.output.check_files(config.output.out or f"runs/{config.data.dataset}")
        # Importing Keras takes seconds, and --help and wrong flags need not wait for it.
        with quiet_import():
            from apps.training import run

        training = run.prepare(config)
    except ValueError as error:
        raise program.UsageError(str(error)) from error
    training.run(program.command_line("apps.train"))


def configuration(row, settings):
    """The `TrainConfig` of the flags.

    Args:
        row: `"TABLE/ROW"`, or None.
        settings: `{name: value}` of the other flags that were given.
    """
    if row is None:
        return TrainConfig.of(settings)
    with quiet_import():
        from apps import tables
    return tables.row(row).replace(**settings)


def goes_on(values=flags.FLAGS):
    """A sentence on how to continue a training that was stopped."""
    if values.resume or values.row:
        return "The same command continues after the last epoch that was finished."
    return "The same command starts from the beginning; with --resume it continues."


if __name__ == "__main__":
    define(flags, flags.FLAGS)
    program.run(main, __doc__, GROUPS, goes_on)
