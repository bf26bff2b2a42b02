"""Fitting from Python: a session of the loop on batches of the caller's own, with or without a working directory."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from experiments.cli.compilation import use_compilation_cache
from experiments.cli.compiler import guard_from_python
from experiments.cli.python_words import in_python
from experiments.runs.python import folder, reporter_of
from experiments.storage import metrics
from experiments.storage.checkpoints import Checkpoints
from experiments.storage.metrics import Metrics
from experiments.storage.retention import Retention
from experiments.storage.workdir import open_workdir
from experiments.training import signals
from experiments.training.fitting import BEST, MODE, Fitting, Scores, make_fitting
from experiments.training.loop import Loop, restore_or_start
from experiments.training.optimizers import OptimizerConfig
from experiments.training.progress import devices_in_words
from transformer import schema
from transformer.axes import describe
from transformer.errors import path_of, problem


@dataclasses.dataclass(frozen=True, repr=False)
class Fit:
    """The result of a fit.

    Attributes:
        params: the parameters after the last step.
        step: number of updates done.
        metrics: lines with `step`, `split`, the metrics by name and, with a working directory, `seconds`.
    """

    params: Any
    step: int
    metrics: list[dict[str, Any]]

    def __repr__(self) -> str:
        last = {line["split"]: line["loss"] for line in self.metrics}
        losses = ", ".join(f"{split} loss {loss:.4g}" for split, loss in last.items())
        return f"Fit: step {self.step}" + (f", {losses}" if losses else "")


class NoCheckpoints:
    """The checkpoints of a fit without a working directory: none."""

    best_metric, best_mode = BEST, MODE

    def latest_step(self) -> None:
        """Return None: there is none."""

    def save(self, *_: Any) -> bool:
        """Save nothing."""
        return False

    def wait(self) -> None:
        """Return at once."""


class Lines:
    """The metrics of a fit without a working directory: a list."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Append a line."""
        self.lines.append({"step": step, "split": split, **values})

    def cut_back(self, step: int) -> None:
        """Return at once: no line is older than this fit."""

    def flush(self) -> None:
        """Return at once."""


@in_python
def fit(
    model: Any,
    batches: Any,
    optimizer: Any,
    *,
    params: Any,
    workdir: str | os.PathLike | None,
    progress: bool,
    **options: Any,
) -> Fit:
    """Fit a model to batches; see `experiments.api.fit`."""
    guard_from_python()
    fitting = make_fitting(model, batches, optimizer, **options)
    if params is not None and not isinstance(params, Mapping):
        do = "Pass the result of model.init, or params of another fit."
        raise problem("params are no parameters", got=describe(params), expected="a dict of arrays", do=do)
    use_compilation_cache()
    reporter = reporter_of(progress)
    first = None if params is None else fitting.state_of(jax.tree.map(jnp.array, params))  # a copy, which is donated
    config, path = _record(fitting, optimizer, options), None if workdir is None else folder(workdir)
    with _storage(path, config, fitting) as (checkpoints, lines, notes):
        for note in notes:
            reporter.remark(note)
        state, recent, early_stopping = restore_or_start(fitting, checkpoints, lines, first)
        with signals.catch_stop_signals() as stop:
            scores = Scores(fitting.parts, fitting.hyperparameters)
            loop = Loop(fitting, config, checkpoints, lines, stop, reporter.event, scores)
            with reporter.progress(fitting.config.training.steps, int(state.step)) as shown:
                state = loop.run(state, recent, early_stopping, shown)
            checkpoints.wait()
    if stop.received is not None:
        signals.give_back(stop.received)
    found = lines.lines if isinstance(lines, Lines) else metrics.read(path)
    return Fit(state.params, int(state.step), found)


@contextlib.contextmanager
def _storage(path: Path | None, config: dict[str, Any], fitting: Fitting) -> Iterator[tuple[Any, Any, list[str]]]:
    """Open the checkpoints and the metrics of a working directory; without one, what stands in their place.

    Yields:
        Both, and lines about what has changed since the latest start.
    """
    if path is None:
        yield NoCheckpoints(), Lines(), []
        return
    retention = Retention.of(fitting.config.training)
    with (
        open_workdir(path, config, differences=_differences, devices=devices_in_words()) as opened,
        Checkpoints(path / "checkpoints", retention, BEST, MODE) as checkpoints,
        Metrics(path) as lines,
    ):
        yield checkpoints, lines, opened.notes()


def _record(fitting: Fitting, optimizer: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what config.json holds of a fit; functions by their paths."""
    by_path = optimizer if isinstance(optimizer, OptimizerConfig | str | Mapping) else "an optax transformation"
    named = {
        "optimizer": schema.to_dict(by_path) if isinstance(by_path, OptimizerConfig) else by_path,
        "loss": None if options.get("loss") is None else path_of(options["loss"]),
        **{name: options[name] for name in ("steps", "seed", "batch_size") if name in options},
    }
    return {"fit": named, "model": schema.to_dict(fitting.model.config)}


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any, bool]]:
    """List the settings in which two fits differ; each can change the result."""
    before, after = schema.flatten(old), schema.flatten(new)
    names = dict.fromkeys([*before, *after])
    return [(n, before.get(n), after.get(n), True) for n in names if before.get(n) != after.get(n)]
