"""The text of `--help`, in one form for all programs."""

import re
import textwrap

from absl import flags

HELP = ("--help", "-help", "-h", "--h")
_WIDTH = 80
_FLAGFILE = "--flagfile=FILE reads flags from a file, one a line; what stands after it wins."
_CHOICES = re.compile(r"^<([^>]*)>:\s*")
_RANGE = re.compile(r"an integer in the range \[(\d+), 2147483647\]")


def asked_for(arguments):
    """Whether the arguments of a program request its help."""
    return any(argument in HELP for argument in arguments)


def usage(description, groups):
    """The help of a program: its purpose, commands to copy, its flags.

    Args:
        description: text, printed as it is.
        groups: `{heading: list of absl flags}`.

    Returns:
        Text; its flags are at most 80 columns wide and not broken inside words.
    """
    parts = [description.strip()]
    for heading, group in groups.items():
        shown = sorted((flag for flag in group if flag.help), key=lambda flag: flag.name)
        parts.append("\n".join([f"{heading}:", *map(_entry, shown)]))
    return "\n\n".join([*parts, _FLAGFILE])


def flags_of_module(name):
    """The flags of a module, or of a group of flags."""
    return flags.FLAGS.flags_by_module_dict().get(name, [])


def _entry(flag):
    name = f"[no]{flag.name}" if flag.boolean else flag.name
    choices = _CHOICES.match(flag.help)
    text = " ".join(_CHOICES.sub("", flag.help).split())
    if choices:
        # With spaces, so that long lists of choices can be wrapped.
        text = f"one of {choices[1].replace('|', ', ')}. {text}"
    elif not flag.boolean:
        text += _kind(flag.parser.syntactic_help)
    if "Default" not in text and flag.default not in (None, False, "", []):
        text = f"{text.rstrip('.;')}. Default: {flag.default}."
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=f"  --{name}: ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _kind(syntax):
    syntax = _RANGE.sub(r"a whole number from \1", syntax)
    return f" ({syntax})" if syntax else ""
