"""Docstrings and signatures of the API reference: an extension of griffe, which reads the code for it.

Examples of docstrings become blocks of code, and the default of a setting is its value alone: the signature of a schema
has no meanings and checks, which stand on the page of settings.
"""

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^( *)>>> .*(?:\n(?! *\n).*)*", re.MULTILINE)
"""A line that begins with >>>, and all up to the next empty line."""


class Docstrings(griffe.Extension):
    """Fences around examples, so that nothing in them is taken for a link, and short signatures of schemas."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the docstring of an object, and the defaults of a class."""
        if obj.docstring is not None:
            obj.docstring.value = EXAMPLE.sub(fenced, obj.docstring.value)
        if isinstance(obj, griffe.Class):
            for parameter in obj.parameters:
                parameter.default = default_of(parameter.default)

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Change the docstring of the top package, which is no member of another."""
        self.on_object(obj=pkg)


def default_of(value: Any) -> Any:
    """Return the first argument of `setting(...)`, the default of a field; another value as it is."""
    if isinstance(value, griffe.ExprCall) and str(value.function) == "setting" and value.arguments:
        return value.arguments[0]
    return value


def fenced(found: re.Match[str]) -> str:
    """Return an example as a block of code."""
    indent, text = found.group(1), found.group(0)
    return f"{indent}```python\n{text}\n{indent}```"
