"""Training and opening of runs as functions of Python: values in, a `Run` out, nothing printed but progress."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from experiments.cli.compilation import use_compilation_cache
from experiments.cli.compiler import guard_from_python
from experiments.cli.python_words import in_python
from experiments.cli.terminal import terminal
from experiments.cli.values import Recipe, as_recipe, flat, resolve
from experiments.runs.init_from import InitFrom, wish_of, with_settings
from experiments.runs.open_run import open_run
from experiments.runs.run import Run
from experiments.runs.session import train
from experiments.runs.stored_config import earlier_config
from experiments.training import signals
from experiments.training.reporter import ProgressAlone, Reporter
from transformer import schema
from transformer.errors import problem, written


def reporter_of(progress: bool) -> Reporter:
    """Return the reporter of a call from Python."""
    return ProgressAlone(error_console()) if progress else Reporter()


def error_console() -> Console:
    """Return the console of standard error, so that standard output has the program's own lines alone."""
    return terminal(error=True)


@in_python
def train_run(
    recipe: Recipe,
    overrides: Mapping[str, Any] | None,
    workdir: str | os.PathLike,
    *,
    progress: bool,
    force: bool,
    **origin: Any,
) -> Run:
    """Train a model; see `experiments.api.train`."""
    guard_from_python()
    found, init = with_settings(as_recipe(recipe), init_of(**origin), folder(workdir))
    config, notes = resolve(found, overrides, earlier_config(folder(workdir)))
    use_compilation_cache()
    ended = train(config, folder(workdir), reporter_of(progress), notes=notes, force=force, init=init)
    if ended.stopped is not None:
        signals.give_back(ended.stopped)
    return Run(ended.run)


def init_of(init_from: Any, init_only: Any, init_skip: Any, trust_code: bool) -> InitFrom | None:
    """Return the origin that arguments name.

    Raises:
        UserError: no path, names of parts that are no list of texts, or one of these without an origin.
    """
    if init_from is not None and (not isinstance(init_from, str | os.PathLike) or not str(init_from)):
        got, do = f"{written(init_from)} ({type(init_from).__name__})", 'Write, for instance, init_from="runs/x@best".'
        raise problem("init_from is no path", got=got, expected="the folder of a run, perhaps with @CHECKPOINT", do=do)
    for name, parts in {"init_only": init_only, "init_skip": init_skip}.items():
        if isinstance(parts, str) or not all(isinstance(part, str) for part in parts):
            do = 'Write, for instance, ["encoder"].'
            raise problem(f"{name} is no list of texts", got=written(parts), expected="names of parts", do=do)
    given = SimpleNamespace(
        init_from=None if init_from is None else str(Path(init_from).expanduser()),
        init_only=tuple(init_only),
        init_skip=tuple(init_skip),
        trust_code=trust_code,
    )
    return wish_of(given)


@in_python
def open_run_of(
    workdir: str | os.PathLike,
    checkpoint: str | int | None,
    *,
    average_last: int | None,
    read_data: bool,
    trust_code: bool,
    paths: Mapping[str, Any],
) -> Run:
    """Open a run; see `experiments.api.open_run`."""
    guard_from_python()
    if average_last is not None and (type(average_last) is not int or average_last < 1):
        do = "Leave it out for the run's setting."
        got, expected = written(average_last), "1 or more, a whole number, or None"
        raise problem("average_last is out of range", got=got, expected=expected, do=do)
    use_compilation_cache()
    texts = [(name, schema.show(value)) for name, value in flat(paths, "paths").items()]
    return Run(
        open_run(
            folder(workdir),
            None if checkpoint is None else str(checkpoint),
            average_last,
            read_data=read_data,
            trust_code=trust_code,
            paths=texts,
            note=Reporter().remark,
        )
    )


def folder(workdir: Any) -> Path:
    """Return the path of a working directory; raise a UserError for what is no path."""
    if not isinstance(workdir, str | os.PathLike) or not str(workdir):
        got, do = f"{written(workdir)} ({type(workdir).__name__})", 'Write, for instance, workdir="runs/x".'
        raise problem("workdir is no path", got=got, expected="the path of a folder", do=do)
    return Path(workdir).expanduser()
