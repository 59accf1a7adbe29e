"""An extension of Griffe: examples in docstrings become blocks of code, as Keras shows its own."""

import re

import griffe

_EXAMPLE = re.compile(r"^>>> .*(?:\n.*\S.*)*", flags=re.M)


class Fenced(griffe.Extension):
    """Puts fences around what starts with `>>>`, up to the next empty line."""

    def on_instance(self, *, obj, **_):
        """Change the docstring of a module, a class or a function."""
        if obj.docstring:
            obj.docstring.value = _EXAMPLE.sub(r"```pycon\n\g<0>\n```", obj.docstring.value)
