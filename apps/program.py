"""What every program shares: grouped help, and one line for an error that a person made."""

import shlex
import sys

from absl import app, flags

HELP = ("--help", "-help", "-h", "--h")


def run(main, description, groups):
    """Parse the flags and run a program.

    `--help` prints the flags by group. A flag that does not parse, or a `UsageError` from `main`,
    is answered with one line and exit status 1.

    Args:
        main: function of no arguments.
        description: what the program does, printed by `--help`.
        groups: names of the groups of flags, in order; a flag joins one by `module_name=` where
            it is defined.
    """
    app.run(lambda _: _call(main), flags_parser=lambda argv: _parse(argv, description, groups))


class UsageError(ValueError):
    """What a person must change, in one line."""


def command_line(module):
    """The command that started this program, to copy."""
    return shlex.join(["python", "-m", module, *sys.argv[1:]])


def _parse(argv, description, groups):
    if any(argument in HELP for argument in argv[1:]):
        print(description)
        for group in groups:
            print(flags.FLAGS.module_help(group))
        print("\n--flagfile=FILE reads flags from a file, one a line; what stands after it wins.")
        sys.exit(0)
    try:
        rest = flags.FLAGS(argv)
    except flags.Error as error:
        sys.exit(f"{' '.join(str(error).split())} (--help lists the flags)")
    if len(rest) > 1:
        sys.exit(f"Unknown argument {rest[1]!r}: flags are written --name=value (see --help)")
    return rest


def _call(main):
    try:
        main()
    except UsageError as error:
        sys.exit(" ".join(str(error).split()))
    except KeyboardInterrupt:
        sys.exit("Interrupted: the files that were finished are whole, the others are not there.")
