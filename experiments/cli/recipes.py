"""Recipes: Python files, anywhere, whose `get_config()` returns a ConfigDict, and `get_sweep()` a search space."""

import hashlib
import os
import sys
import traceback
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from transformer.errors import UserError, nearest, problem

PACKAGE = Path(__file__).parents[1]
FOLDERS = (PACKAGE / "recipes", PACKAGE.parent / "configs")
"""Folders of the recipes of the project: in the installed package, in a checkout."""


def load_recipe(path: str | Path) -> ConfigDict:
    """Return the result of `get_config()` of the recipe at `path`; see `load_recipe_and_sweep`."""
    return load_recipe_and_sweep(path)[0]


def load_recipe_and_sweep(path: str | Path) -> tuple[ConfigDict, dict[str, Any]]:
    """Run a recipe; return the results of its `get_config()` and of its `get_sweep()`, {} without one.

    The file is compiled from its source, so that a recipe that has just changed is never read from a bytecode
    cache, and nothing is written beside it. It is a module like any other, under a name of its own path: what it
    defines can be found by that name, as dataclasses and pickles do, and no other module is hidden by it.

    Args:
        path: a file, or the bare name of a recipe of the project, such as "dates".

    Raises:
        UserError: no such file, not Python, an error inside it (with its line), or a result that is no ConfigDict.
    """
    path = project_recipes().get(str(path), Path(path))
    source = _read(path)
    module = types.ModuleType(f"{path.stem}_{hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:16]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
        get_config = module.__dict__.get("get_config")
        config = get_config() if callable(get_config) else None
        get_sweep = module.__dict__.get("get_sweep")
        space = get_sweep() if callable(get_sweep) else {}
    except Exception as error:  # any error that a user's file raises is an error of that file
        del sys.modules[module.__name__]
        raise _failed(path, error) from error
    if not callable(get_config):
        names = [name for name, value in vars(module).items() if isinstance(value, types.FunctionType)]
        guess = nearest("get_config", names)
        do = f"Did you mean {guess}? " if guess else ""
        raise problem(f"recipe {path} does not define get_config", do=f"{do}It takes nothing and returns a ConfigDict.")
    if not isinstance(config, ConfigDict):
        raise problem(
            f"get_config of recipe {path} returns another type",
            got="None" if config is None else type(config).__name__,
            expected="ml_collections.ConfigDict",
            do="Start it with `c = defaults(...)` and end it with `return c`.",
        )
    if not isinstance(space, Mapping):
        raise problem(
            f"get_sweep of recipe {path} returns another type",
            got=type(space).__name__,
            expected="a dict of settings and the values that they take",
        )
    return config, dict(space)


def _read(path: Path) -> bytes:
    if path.is_file() and path.suffix == ".py":
        return path.read_bytes()
    folder = path if path.is_dir() else path.parent
    recipes = sorted(str(found) for found in folder.glob("*.py"))
    guess = _of_project(path) or nearest(str(path.with_suffix(".py")), recipes)
    if path.is_dir():
        there = ", ".join(recipes) or "no recipe"
        raise problem(f"recipe {path} is a folder", expected="a Python file", do=f"It holds {there}.")
    what = "is not a Python file (its name ends in .py)" if path.is_file() else "does not exist"
    if not folder.is_dir():
        do = f"There is no folder {folder}; this is {Path.cwd()}."
    else:
        do = f"Did you mean {guess}?" if guess else f"The current folder is {Path.cwd()}."
    raise problem(f"recipe {path} {what}", expected="a Python file, or the name of a recipe in configs/", do=do)


def project_recipes() -> dict[str, Path]:
    """List the recipes of the project by their bare names."""
    return {found.stem: found for folder in FOLDERS for found in sorted(folder.glob("[!_]*.py"))}


def _of_project(path: Path) -> str | None:
    """Find the recipe of configs/, or of the project, that was most likely meant by a name without a folder."""
    names = {name: name for name in project_recipes()}
    names |= {found.stem: str(found) for found in sorted(Path("configs").glob("*.py"))}
    guess = nearest(path.stem, names) if path.parent == Path() else None
    return None if guess is None else names[guess]


def _failed(path: Path, error: Exception) -> UserError:
    """Build the error of a recipe that failed, with its line."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        line, reason = error.lineno, error.msg
    else:
        frames = traceback.extract_tb(error.__traceback__)
        # An error of calling get_config itself, for instance since it takes arguments, has no line there.
        line = next((frame.lineno for frame in reversed(frames) if frame.filename == str(path)), None)
        reason = str(error)
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    where = f"recipe {path}, line {line}" if line is not None else f"recipe {path}"
    return UserError(f"{where}: {kind}{reason}")


def put(config: ConfigDict, values: Mapping[str, Any]) -> None:
    """Set values by their full names; other settings of a recipe that refer to one follow."""
    with config.unlocked(), config.ignore_type():
        for name, value in values.items():
            *path, last = name.split(".")
            section = config
            for part in path:
                if part not in section:
                    section[part] = ConfigDict(type_safe=False)
                section = section[part]
            section[last] = value
