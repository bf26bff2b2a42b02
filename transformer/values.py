"""Values of settings as the texts of flags.

8, 1e-3, true, none, layer    a number, a truth value, nothing, a name
64,128                        a list; in JSON where a value holds a comma: ["a,b.txt", "c.txt"]
"""

import json
from typing import Any


def split(text: str) -> list[str]:
    """Split the text of a list: at its commas, or a list in JSON, whose values may hold commas."""
    if text.lstrip().startswith("["):
        try:
            parts = json.loads(text)
        except (ValueError, RecursionError):
            parts = None
        if isinstance(parts, list) and not any(isinstance(part, list | dict) for part in parts):
            return [show(part) for part in parts]
    return text.split(",")


def parse_part(text: str, kind: type) -> Any:
    """Parse a text as one value of a type.

    Raises:
        ValueError, KeyError: it is none.
    """
    if kind is bool:
        return {"true": True, "1": True, "false": False, "0": False}[text.strip().lower()]
    if kind is int and "e" in text.lower():  # 1e5 steps
        return int(number) if (number := float(text)).is_integer() else int(text)
    return kind(text)


def show(value: Any) -> str:
    """Return the text that `parse` reads as `value`."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        parts = [show(part) for part in value]
        plain = all(part and "," not in part and part == part.strip() and part[0] != "[" for part in parts)
        return ",".join(parts) if plain else json.dumps(parts, ensure_ascii=False)
    return str(value)
