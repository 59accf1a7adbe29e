"""Settings of a training: each is a field of a dataclass, and the flag of the same name.

Each kind of field has a function, which takes its range and its text for `--help`. This module does
not import Keras.
"""

import dataclasses
import functools

from absl import flags

from apps import program


class Settings:
    """Base of dataclasses of settings, which raise a `ValueError` for wrong values."""

    def __post_init__(self):
        """Check each value by its kind, then all of them together."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None or callable(value):
                continue
            try:
                field.metadata["parser"].parse(value)
            except (TypeError, ValueError) as error:
                raise ValueError(f"--{field.name}={value}: {error}") from error
        self.check()

    def check(self):
        """Raise a ValueError for values that do not fit each other."""


def names(settings):
    """The names of the settings of a class or an object."""
    return tuple(field.name for field in dataclasses.fields(settings))


def require(holds, name, wanted, settings):
    """Raise a ValueError that names a setting, unless `holds` is true."""
    if not holds:
        raise ValueError(f"--{name} must be {wanted}. Received: {getattr(settings, name)}")


def span(value, whole):
    """A number of steps or epochs; below 1 it is a share of the whole training."""
    return round(value * whole if value < 1 else value)


def text(help, default=None):
    """A text."""
    return _setting(help, default, flags.ArgumentParser(), flags.DEFINE_string)


def choice(values, help, default=None):
    """One of some names."""
    define = functools.partial(flags.DEFINE_enum, enum_values=list(values))
    return _setting(help, default, flags.EnumParser(list(values)), define)


def number(help, default=None, **bounds):
    """A finite number; the bounds are those of `program.FiniteParser`."""
    define = functools.partial(program.define_number, **bounds)
    return _setting(help, default, program.FiniteParser(**bounds), define)


positive = functools.partial(number, above=0.0)
not_negative = functools.partial(number, lower_bound=0.0)
share = functools.partial(number, lower_bound=0.0, upper_bound=1.0)
part = functools.partial(number, lower_bound=0.0, below=1.0)


def integer(help, default=None, lower_bound=1):
    """A whole number."""
    bounds = {"lower_bound": lower_bound, "upper_bound": program.LARGEST_INTEGER}
    define = functools.partial(flags.DEFINE_integer, **bounds)
    return _setting(help, default, flags.IntegerParser(**bounds), define)


def steps_or_epoch(help):
    """A number of steps, or `"epoch"`."""
    return _setting(help, None, _StepsParser(), functools.partial(_define, _StepsParser()))


def switch(help, default=False):
    """Yes or no."""
    return _setting(help, default, flags.BooleanParser(), flags.DEFINE_bool)


def words(help):
    """Names separated by commas."""
    return _setting(help, (), _WordsParser(), functools.partial(_define, _WordsParser()))


def numbers(help):
    """Finite numbers separated by commas."""
    return _setting(help, (), _NumbersParser(), functools.partial(_define, _NumbersParser()))


def again(settings, name, default):
    """A setting of a base class with another default."""
    metadata = settings.__dataclass_fields__[name].metadata
    return dataclasses.field(default=default, metadata=metadata)


def _setting(help, default, parser, define):
    metadata = {"help": help, "parser": parser, "define": define}
    return dataclasses.field(default=default, metadata=metadata)


class _WordsParser(flags.ListParser):
    """Like `flags.ListParser`, but accepts tuples."""

    def parse(self, argument):
        return argument if isinstance(argument, tuple) else tuple(super().parse(argument))


class _NumbersParser(_WordsParser):
    syntactic_help = "numbers separated by commas"

    def parse(self, argument):
        return tuple(program.FiniteParser().parse(value) for value in super().parse(argument))


class _StepsParser(flags.ArgumentParser):
    syntactic_help = "a number from 1, or epoch"

    def parse(self, argument):
        if argument == "epoch":
            return argument
        try:
            return flags.IntegerParser(1, program.LARGEST_INTEGER).parse(argument)
        except ValueError as error:
            raise ValueError(f"it must be {self.syntactic_help}") from error


def _define(parser, name, default, help, flag_values, module_name):
    is_list = isinstance(parser, flags.ListParser)
    serializer = flags.ListSerializer(",") if is_list else flags.ArgumentSerializer()
    flags.DEFINE(parser, name, default, help, flag_values, serializer, module_name)
