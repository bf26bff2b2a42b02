"""Configs from Python: a recipe in any of its forms, and overrides that are values, no text.

    "configs/dates.py", Path(...)     a file with get_config()
    "dates"                           a recipe of the project
    ConfigDict                        what get_config() returns
    Config                            the dataclass; its sections may stand in a dict
    {"model": {"width": 8}}           nested, or {"model.width": 8}, or both; what is absent has its default

Overrides are such a dict; a dataclass in it takes the place of the whole section.

All are checked by one schema. A setting that the config does not read is refused where a dict gives it, and left out
with a note where a recipe, a ConfigDict or a Config does.
"""

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from experiments import settings
from experiments.cli.recipes import load_recipe
from transformer import schema
from transformer.errors import problem, written
from transformer.read_by import unread
from transformer.tables import is_section

Recipe = str | os.PathLike | ConfigDict | settings.Config | Mapping[str, Any]


def resolve(
    recipe: Recipe, overrides: Mapping[str, Any] | None = None, earlier: Mapping[str, Any] | None = None
) -> tuple[settings.Config, list[str]]:
    """Check a recipe and its overrides; return the config, and one line for each setting of the recipe left out.

    Args:
        earlier: as for `settings.resolve`.

    Raises:
        UserError: no recipe, or one of the errors of `settings.resolve`.
    """
    config, overrides = copy.deepcopy(as_recipe(recipe)), {} if overrides is None else overrides
    given = flat(overrides, "overrides")
    for name in [name for name, value in overrides.items() if is_section(value)]:
        with config.unlocked(), config.ignore_type():
            config[name] = ConfigDict(schema.to_dict(overrides[name]), type_safe=False)
        given = {full: value for full, value in given.items() if not full.startswith(f"{name}.")}
    return settings.resolve_values(config, given, earlier)


def as_recipe(recipe: Recipe) -> ConfigDict:
    """Return the recipe as a ConfigDict; raise the error of a setting in a dict that the dict does not read."""
    if isinstance(recipe, str | os.PathLike):
        return load_recipe(Path(recipe))
    if isinstance(recipe, ConfigDict):
        return recipe
    if isinstance(recipe, settings.Config):
        return ConfigDict(schema.to_dict(recipe), type_safe=False)
    if isinstance(recipe, Mapping):
        values = flat(recipe, "a config")
        nested = _nested(values)
        config = schema.from_dict(settings.Config, nested)
        for name, found in unread(config).items():
            default = settings.find(name, type(config)).default
            if name in values and values[name] != default and not found.quiet:
                raise found.error(values[name])
        return ConfigDict(nested, type_safe=False)
    sections = {kind: name for name, kind in schema.sections(settings.Config).items()}
    do = None
    if type(recipe) in sections:
        do = f"Write {{{sections[type(recipe)]!r}: ...}}."
    expected = "a path or name of a recipe, a ConfigDict, a Config, or a dict of settings"
    raise problem("not a config", got=f"{written(recipe)} ({type(recipe).__name__})", expected=expected, do=do)


def flat(values: Any, what: str) -> dict[str, Any]:
    """Join nested names by dots; sections may be dataclasses.

    Args:
        what: the dict in words, for errors.

    Raises:
        UserError: no dict, a name that is no text, or a setting that is given twice with two values.
    """
    if not isinstance(values, Mapping):
        got = f"{written(values)} ({type(values).__name__})"
        raise problem(f"{what} is no dict of settings", got=got, expected='such as {"model.width": 64}')
    found: dict[str, Any] = {}
    for key, value in values.items():
        if not isinstance(key, str):
            raise problem("the name of a setting is a text", got=written(key), expected='such as "model.width"')
        if is_section(value):
            value = schema.to_dict(value)
        inside = flat(value, key) if isinstance(value, Mapping) else {"": plain(value)}
        for name, part in inside.items():
            full = f"{key}.{name}".rstrip(".")
            if full in found and found[full] != part:
                raise problem(f"{full} is given twice", got=f"{written(found[full])} and {written(part)}")
            found[full] = part
    return found


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by their full names as a nested dict."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        *sections, last = name.split(".")
        section = found
        for part in sections:
            section = section.setdefault(part, {})
            if not isinstance(section, dict):
                raise problem(f"{part} is a section", got=written(section), expected="a dict of its settings")
        section[last] = value
    return found


def plain(value: Any) -> Any:
    """Convert scalars of NumPy and JAX, and paths, to what the schema takes."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, tuple | list):
        return tuple(map(plain, value))
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value
