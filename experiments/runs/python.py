"""Training and opening of runs as functions of Python: values in, a `Run` out, nothing printed but progress."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.cli.compilation import use_compilation_cache
from experiments.cli.python_words import in_python
from experiments.cli.terminal import terminal
from experiments.cli.values import Recipe, flat, resolve
from experiments.runs.open_run import open_run
from experiments.runs.run import Run
from experiments.runs.session import train
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
) -> Run:
    """Train a model; see `experiments.api.train`."""
    config, notes = resolve(recipe, overrides)
    use_compilation_cache()
    ended = train(config, folder(workdir), reporter_of(progress), notes=notes, force=force)
    if ended.stopped is not None:
        signals.give_back(ended.stopped)
    return Run(ended.run)


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
