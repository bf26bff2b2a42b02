"""Examples of docstrings as blocks of code: an extension of griffe, which reads the code for the API reference."""

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^( *)>>> .*(?:\n(?! *\n).*)*", re.MULTILINE)
"""A line that begins with >>>, and all up to the next empty line."""


class DoctestBlocks(griffe.Extension):
    """Fences around the examples of docstrings, so that nothing in them is taken for a link."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the docstring of an object."""
        if obj.docstring is not None:
            obj.docstring.value = EXAMPLE.sub(fenced, obj.docstring.value)


def fenced(found: re.Match[str]) -> str:
    """Return an example as a block of code."""
    indent, text = found.group(1), found.group(0)
    return f"{indent}```python\n{text}\n{indent}```"
