"""Settings by their full names, and as nested dicts: {"model": {"width": 8}} is model.width = 8."""

import dataclasses
import functools
import typing
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import jax

from transformer.tables import is_section


@runtime_checkable
class Schema(Protocol):
    """An instance of a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


T = TypeVar("T", bound=Schema)


@functools.cache
def types_of(schema: type) -> dict[str, Any]:
    """Return the types of a schema's fields by name; evaluated once for each schema."""
    return typing.get_type_hints(schema)


def to_dict(instance: Any) -> dict[str, Any]:
    """Convert an instance to a nested dict; tuples become lists, as in JSON."""
    values = {f.name: getattr(instance, f.name) for f in dataclasses.fields(instance)}
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if is_section(value):
        return to_dict(value)
    return list(value) if isinstance(value, tuple) else value


def with_values(instance: T, values: Mapping[str, Any]) -> T:
    """Return an instance with other values of some settings, which are given by their full names within it."""
    own = {name: value for name, value in values.items() if "." not in name}
    for section in dict.fromkeys(name.partition(".")[0] for name in values if "." in name):
        prefix = f"{section}."
        inside = {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
        own[section] = with_values(getattr(instance, section), inside)
    return dataclasses.replace(instance, **own)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Join nested keys by dots: {"model": {"width": 8}} -> {"model.width": 8}."""
    flat = {}
    for key, value in values.items():
        nested = isinstance(value, Mapping)
        flat.update(flatten(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value})
    return flat


def name_of(path: tuple[Any, ...]) -> str:
    """Return the name of a leaf of a tree: the keys of its path, joined by dots."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def named(tree: Any) -> dict[str, Any]:
    """Return the leaves of a nested dict by their names; what is no dict is a leaf.

    >>> named({"head": {"bias": 1, "kernel": (2, 3)}})
    {'head.bias': 1, 'head.kernel': (2, 3)}
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: not isinstance(x, Mapping))
    return {name_of(path): leaf for path, leaf in leaves}


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Take names apart at their dots: {"model.width": 8} -> {"model": {"width": 8}}.

    >>> nest({"model.width": 8, "model.bias": True, "seed": 0})
    {'model': {'width': 8, 'bias': True}, 'seed': 0}
    """
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *path, last = name.split(".")
        inside = tree
        for part in path:
            inside = inside.setdefault(part, {})
        inside[last] = value
    return tree
