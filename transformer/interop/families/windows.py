"""Sliding windows of a config.json: `layer_types`, and the one size of those that slide."""

from collections.abc import Sequence
from typing import Any

from transformer.errors import problem, shorten
from transformer.interop.entries import Config, refused

SLIDING, FULL = "sliding_attention", "full_attention"


def layer_types(config: Config, layers: int, default: Sequence[str]) -> list[str]:
    """Return the type of each layer's attention.

    Raises:
        UserError: another number of layers, or a type that is neither of the two.

    >>> layer_types({}, 2, ["full_attention"] * 2)
    ['full_attention', 'full_attention']
    """
    found = list(default) if config.get("layer_types") is None else config["layer_types"]
    if not isinstance(found, list) or len(found) != layers:
        expected = f"{layers} types, one for each layer"
        raise problem("config.json: layer_types does not fit the layers", got=shorten(repr(found)), expected=expected)
    for kind in found:
        if kind not in (SLIDING, FULL):
            raise refused("layer_types", kind, f"{SLIDING} or {FULL}")
    return found


def windows(types: Sequence[str], size: int | None) -> int | tuple[int | None, ...] | None:
    """Return model.window of layers of these types.

    >>> windows(["sliding_attention", "full_attention"], 8), windows(["sliding_attention"] * 2, 8)
    ((8, None), 8)
    """
    if SLIDING not in types:
        return None
    if not isinstance(size, int):
        raise problem("config.json: layers slide by no size", got=repr(size), expected="sliding_window, in tokens")
    return size if FULL not in types else tuple(size if kind == SLIDING else None for kind in types)


def types_of(window: Any, layers: int) -> tuple[list[str], int | None]:
    """Return the layers' types and the size of those that slide, of model.window; the largest, if they differ.

    >>> types_of((8, None), 2)
    (['sliding_attention', 'full_attention'], 8)
    """
    sizes = list(window) if isinstance(window, tuple) else [window] * layers
    known = [size for size in sizes if size is not None]
    return [FULL if size is None else SLIDING for size in sizes], max(known) if known else None
