"""Train a sparse network, cut out what died, convert both networks to TFLite, time and report."""

from absl import flags

from apps import program
from apps.training.flags import GROUPS, define


def main(values=flags.FLAGS):
    """Check everything, then train, cut, convert, time and report."""
    # Keras takes seconds to import, and --help need not wait for it.
    from apps.training import run

    try:
        training = run.prepare(values)
    except ValueError as error:
        raise program.UsageError(str(error)) from error
    training.run(program.command_line("apps.train"))


if __name__ == "__main__":
    define(flags, flags.FLAGS)
    program.run(main, __doc__, GROUPS)
