"""Old public names; they work until the next release, with a `FutureWarning`."""

import functools
import importlib
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

_F = TypeVar("_F", bound=Callable[..., Any])


def module_getattr(module, names):
    """A `__getattr__` for a module that returns the new object for each old name.

    Args:
        module: str, the module's `__name__`.
        names: `{old name: new name}`.
    """

    def getattribute(name):
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        _warn(f"`{module}.{name}`", f"`{module}.{names[name]}`")
        return getattr(importlib.import_module(module), names[name])

    return getattribute


def arguments(**names: str) -> Callable[[_F], _F]:
    """Decorator: the function also takes its arguments by their old names, `old="new"`."""

    def decorate(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            for old in names.keys() & kwargs.keys():
                new = names[old]
                if new in kwargs:
                    raise TypeError(f"`{old}` is the old name of `{new}`: give `{new}` only.")
                _warn(f"The argument `{old}`", f"`{new}`")
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return wrapper

    return decorate


def methods(cls, names):
    """Gives a class the new names of methods that it defines by old names, and the reverse.

    Each class has both names, so that `super()` finds the method of the base class by both.
    """
    for old, new in names.items():
        own = vars(cls)
        if old in own and new not in own:
            _warn(f"The method `{cls.__name__}.{old}`", f"`{new}`")
            setattr(cls, new, own[old])
        elif new in own and old not in own:
            setattr(cls, old, method(own[new], old, new))


def method(function, old, new):
    """A method that calls `function` by its old name.

    It takes the function itself and does not look up its name. Otherwise `super().old()` in a
    subclass would call the subclass again.
    """

    def call(self, *args, **kwargs):
        _warn(f"The method `{type(self).__name__}.{old}`", f"`{new}`")
        return function(self, *args, **kwargs)

    call.__doc__ = f"The old name of `{new}`."
    return call


def attribute(old, new):
    """A property that reads an attribute by its old name."""

    def read(self):
        _warn(f"`{type(self).__name__}.{old}`", f"`{new}`")
        return getattr(self, new)

    return property(read, doc=f"The old name of `{new}`.")


def _warn(old, new):
    warnings.warn(
        f"{old} is renamed to {new}. The next release removes the old name.",
        FutureWarning,
        stacklevel=3,
    )
