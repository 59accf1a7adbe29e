"""Common parts of programs: grouped help, flags of numbers, errors in one line."""

import contextlib
import math
import os
import re
import shlex
import signal
import sys

from absl import app, flags

from export import command_line as common
from export import usage

LARGEST_INTEGER, quiet_import = common.LARGEST_INTEGER, common.quiet_import
TERMINATED = 128 + signal.SIGTERM
_WHOLE = "The files that were finished are whole, the others are not there."


def run(main, description, groups, goes_on=lambda: ""):
    """Parse the flags and run a program.

    `--help` prints the flags by group. An error of the user or the machine ends the program with
    one line; see `one_line`.

    Args:
        main: function of no arguments.
        description: description of the program, printed by `--help`.
        groups: names of the groups of flags, in order; `module_name=` in the definition of a flag
            sets its group.
        goes_on: function that returns a sentence on how to continue after the program was stopped.
    """
    with one_line(goes_on):
        app.run(lambda _: main(), flags_parser=lambda argv: parse(argv, description, groups))


def parse(argv, description, groups):
    """Parse a command line, or print its help and end.

    Args:
        argv: list, with the program's name first.
        description, groups: see `run`.

    Returns:
        The rest of the command line: the program's name.

    Raises:
        UsageError: a flag that is unknown or does not parse; an argument that is no flag.
    """
    if usage.asked_for(argv[1:]):
        print(usage.usage(description, {group: usage.flags_of_module(group) for group in groups}))
        sys.exit(0)
    try:
        rest = flags.FLAGS(argv)
        common.expand_home()
        text = flags.FLAGS.flags_into_string()
        text.encode()  # reports would fail with it, hours later
    except flags.Error as error:
        raise UsageError(f"{' '.join(str(error).split())} (--help lists the flags)") from error
    except UnicodeError as error:
        raise UsageError(
            f"The flags, or the file of --flagfile, are no UTF-8 text: {error}"
        ) from error
    if "\0" in text:
        raise UsageError("A flag holds an embedded null byte: that is no text.")
    if len(rest) > 1:
        raise UsageError(
            f"Unknown argument {rest[1]!r}: flags are written --name=value (see --help)"
        )
    return rest


class UsageError(ValueError):
    """A one-line message on something that the user must change."""


class FiniteParser(flags.FloatParser):
    """Parses finite numbers; the bounds `above` and `below` are exclusive."""

    def __init__(self, lower_bound=None, upper_bound=None, above=None, below=None):
        super().__init__(lower_bound, upper_bound)
        self._above = -math.inf if above is None else above
        self._below = math.inf if below is None else below
        bounds = {"{:g} or more": lower_bound, "above {:g}": above}
        bounds |= {"at most {:g}": upper_bound, "below {:g}": below}
        texts = [text.format(bound) for text, bound in bounds.items() if bound is not None]
        self.syntactic_help = ", ".join(["a finite number", " and ".join(texts)][: 1 + bool(texts)])

    def is_outside_bounds(self, val):
        """Whether a value is not finite or outside the bounds."""
        return super().is_outside_bounds(val) or not self._above < val < self._below


def define_number(name, default, help, *, flag_values=flags.FLAGS, module_name=None, **bounds):
    """Define a flag of a finite number.

    Args:
        name, default, help, flag_values, module_name: see `flags.DEFINE_float`.
        **bounds: bounds for `FiniteParser`.
    """
    parser, serializer = FiniteParser(**bounds), flags.ArgumentSerializer()
    flags.DEFINE(parser, name, default, help, flag_values, serializer, module_name)


@contextlib.contextmanager
def one_line(goes_on=lambda: ""):
    """End the process with one line and a status for errors outside of the program.

    Status 1: a `UsageError`; files and texts that cannot be read or written; numbers that are too
    large; too little memory. Status 130: Ctrl-C. Status 143: SIGTERM, which `kill`, `timeout` and
    schedulers send. Files that were being written do not exist afterwards.

    Args:
        goes_on: see `run`.
    """
    ordinary, hook = signal.signal(signal.SIGTERM, _terminate), sys.unraisablehook
    signals = {
        _Terminated: (signal.SIGTERM, _terminate),
        KeyboardInterrupt: (signal.SIGINT, signal.getsignal(signal.SIGINT)),
    }
    sys.unraisablehook = common.sent_again(signals, hook)
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except UsageError as error:
        _end(error)
    except _Terminated:
        _end(f"Terminated: {goes_on()} {_WHOLE}", TERMINATED)
    except KeyboardInterrupt:
        _end(f"Interrupted: {goes_on()} {_WHOLE}", common.INTERRUPTED)
    except Exception as error:
        message = _outside(error)
        if message is None:
            raise
        _end(f"{message} {_WHOLE}")
    finally:
        signal.signal(signal.SIGTERM, ordinary)
        sys.unraisablehook = hook


def command_line(module):
    """The command that started this program, to copy."""
    return shlex.join(["python", "-m", module, *sys.argv[1:]])


class _Terminated(BaseException):
    """Raised on SIGTERM."""


def _terminate(number, frame):
    signal.signal(number, signal.SIG_DFL)  # a second signal ends a program that hangs
    raise _Terminated


def _outside(error):
    """A sentence on an error of the machine or of the user's input; None for other errors."""
    for kinds, sentence in _OUTSIDE:
        if isinstance(error, kinds):
            return sentence(error)
    # This avoids importing the error types of TensorFlow and JAX.
    if "No space left on device" in str(error):
        return "No space left on device."
    if "overflow when multiplying" in str(error):
        return "An array would have more entries than can be counted. Give smaller sizes."
    exhausted = type(error).__name__ == "ResourceExhaustedError"
    if exhausted or "RESOURCE_EXHAUSTED" in str(error):
        return _no_memory(error)
    if "IteratorGetNext" in str(error):
        return _no_image(error)
    return None


def _no_image(error):
    text = " ".join(re.sub(r"\{\{.*?\}\}|\[\[.*?\]\]|\[Op.*", "", str(error)).split())
    return (
        f"An image cannot be read: {text[:200].rstrip('.')}. "
        "`keras_sparse.data.ImageFolder(FOLDER).damaged()` lists the files."
    )


def _of_file(error):
    what = error.strerror or str(error)
    return f"{what}: {error.filename}." if error.filename else f"{what.rstrip('.')}."


def _no_memory(error):
    first = (str(error).strip().splitlines() or ["no memory is left"])[0]
    return f"Too little memory: {first.rstrip('.')}. Take a smaller network, batch or image."


_OUTSIDE = (
    (UnicodeError, lambda error: f"A text cannot be read or written: {error}."),
    (OSError, _of_file),
    (OverflowError, lambda error: f"A number is too large: {error.args[-1]}. Give a smaller one."),
    (MemoryError, _no_memory),
    (
        ModuleNotFoundError,
        lambda error: f"{error}: install it, or set KERAS_BACKEND to a backend that is there.",
    ),
)


def _end(message, status=1):
    print(" ".join(str(message).split()), file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:  # closed or full; Python would try again at exit, and print an error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)
