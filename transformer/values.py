"""Values of settings as the texts of flags: `parse` reads them, `show` writes them.

8, 1e-3, true, none, layer    a number, a truth value, nothing, a name
64,128                        a list; in JSON where a value holds a comma: ["a,b.txt", "c.txt"]
"""

import json
from typing import TYPE_CHECKING, Any

from transformer.errors import UserError, problem, typographic

if TYPE_CHECKING:
    from transformer.schema import Setting


def parse(text: str, leaf: "Setting") -> Any:
    """Parse the text of a flag as a value; `none` unsets an optional setting.

    Raises:
        UserError: the text is not of the setting's type.
    """
    if leaf.optional and text.strip().lower() == "none":
        return None
    try:
        if leaf.listed and ("," in text or text.lstrip().startswith("[")):
            return tuple(parse(part, leaf.in_list) for part in split(text) if part.strip())
        if leaf.is_tuple:
            return tuple(_parse_part(part.strip(), leaf.part_type) for part in split(text) if part.strip())
        return _parse_part(text, leaf.part_type)
    except (ValueError, KeyError, UserError) as error:
        got, do = repr(text), typographic(text)
        raise problem(f"{leaf.name} has the wrong type", got=got, expected=leaf.expected_type, do=do) from error


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


def _parse_part(text: str, kind: Any) -> Any:
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
