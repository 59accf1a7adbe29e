"""Common parts of the programs of this package; it does not import Keras."""

import contextlib
import functools
import os
import pathlib
import signal
import sys

from absl import app, flags

from export import usage
from export.quiet import quiet_import

# Keras, TensorFlow and LiteRT use 32 bits for sizes, threads and rounds.
LARGEST_INTEGER = 2**31 - 1
INTERRUPTED = 130  # exit status of a shell after Ctrl-C
_MOMENT = 0.1
# How files of Keras start: .keras is zip, .h5 is HDF5.
KERAS_FILE = (b"PK\x03\x04", b"\x89HDF\r\n\x1a\n")
count = functools.partial(flags.DEFINE_integer, lower_bound=1, upper_bound=LARGEST_INTEGER)


def run(name, main):
    """Parses the flags and runs a program.

    Wrong flags, files that cannot be read or written, a full disk and Ctrl-C end it with one line.

    Args:
        name: name of the program in that line: `"export.convert"`.
        main: function of the arguments that are no flags; the first is the program's name.
    """
    try:
        app.run(main, flags_parser=lambda argv: _parse(name, argv))
    except OSError as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        print(f"{name}: interrupted; unfinished files were not written", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _parse(name, argv):
    if usage.asked_for(argv[1:]):
        own = flags.FLAGS.get_key_flags_for_module(argv[0])
        print(usage.usage(sys.modules["__main__"].__doc__ or name, {"flags": own}))
        sys.exit(0)
    try:
        rest = flags.FLAGS(argv)
        expand_home()
        return rest
    except (flags.Error, UnicodeError) as error:  # a file of flags that is not text
        sys.exit(f"{name}: {' '.join(str(error).split())} (--help shows the flags)")


def expand_home():
    """Replaces a leading `~` in the values of flags: shells leave it in `--out=~/runs`."""
    for name, value in flags.FLAGS.flag_values_dict().items():
        if isinstance(value, str) and value.startswith("~"):
            flags.FLAGS[name].value = os.path.expanduser(value)


def output(path):
    """A context manager: a temporary file that replaces `path`; None if `path` is empty."""
    if not path:
        return contextlib.nullcontext()
    check_output(path)
    # This imports Keras, which is slow.
    with quiet_import():
        from keras_sparse.files import replacing

    return replacing(path)


def check_files(source, target, samples=None):
    """A ValueError for wrong files, before Keras is imported.

    Args:
        source: the model's file.
        target: the file to write.
        samples: a file with samples, or None.
    """
    for path in filter(None, (source, samples)):
        if not os.path.exists(path):
            raise ValueError(f"There is no such file. Received: path={path}")
    check_model(source)
    if pathlib.Path(target).suffix != ".tflite":
        raise ValueError(f"`path` must end in '.tflite'. Received: path={target}")
    check_output(target)


def check_output(path, name="`path`"):
    """A ValueError if the file cannot be written; None is allowed."""
    folder = os.path.dirname(path or "") or "."
    if path and (
        not os.path.isdir(folder) or not os.access(folder, os.W_OK) or os.path.isdir(path)
    ):
        raise ValueError(
            f"{name} cannot be written: give a file in a folder that exists and may be written. "
            f"Received: path={path}"
        )


def check_plot(path):
    """A ValueError if Matplotlib cannot write a picture there; None is allowed."""
    check_output(path)
    if path and pathlib.Path(path).suffix not in (".png", ".svg", ".pdf"):
        raise ValueError(f"--plot must end in .png, .svg or .pdf. Received: {path}")


def check_model(path):
    """A ValueError unless a file starts like a Keras model."""
    if not os.path.isfile(path):
        return  # reading it reports the error
    with open(path, "rb") as file:
        start = file.read(8)
    if not start.startswith(KERAS_FILE):
        raise ValueError(f"{path} cannot be loaded: it is neither a .keras nor an HDF5 file.")


def clean_up_when_terminated():
    """Lets SIGTERM end the program like an exit, so that no half-written file stays.

    Neither SIGTERM nor Ctrl-C is lost.
    """
    signal.signal(signal.SIGTERM, _exit)
    signals = {
        SystemExit: (signal.SIGTERM, _exit),
        KeyboardInterrupt: (signal.SIGINT, signal.default_int_handler),
    }
    sys.unraisablehook = sent_again(signals, sys.unraisablehook)


def _exit(number, _):
    sys.exit(128 + number)


def sent_again(signals, ordinary):
    """A `sys.unraisablehook` that does not lose exceptions of signal handlers.

    A handler may run in a callback of the garbage collector or in a `__del__`. Python prints and
    drops exceptions there, and the program would continue. So the handler is called again a moment
    later.

    Args:
        signals: `{type of exception: (the signal, the handler that raises it)}`.
        ordinary: the hook for all other exceptions.

    Returns:
        The hook.
    """

    def hook(lost):
        if lost.exc_type not in signals:
            ordinary(lost)
            return
        number, handler = signals[lost.exc_type]
        signal.signal(signal.SIGALRM, lambda *_: handler(number, None))
        # This is last, because an exception here would be lost too.
        signal.setitimer(signal.ITIMER_REAL, _MOMENT)

    return hook


def classes_or_none(labels, model, path):
    """Targets that are numbers of classes of a model's only output; None, and a line, for others.

    Args:
        labels: the targets of a file, or None.
        model: the `keras.Model`.
        path: the file, for the line.
    """
    import keras

    if labels is None:
        return None
    outputs = keras.tree.flatten(getattr(model, "outputs", None) or [])
    by_class = not outputs or (len(outputs) == 1 and outputs[0].shape[-1] != 1)
    if labels.dtype.kind in "iu" and labels.ndim == 1 and by_class:
        return labels
    print(
        f"The targets in {path} are no numbers of classes: the accuracy is not compared",
        file=sys.stderr,
    )
    return None
