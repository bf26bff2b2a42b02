"""Cost of the training loop beside the bare update, in turns in one process.

    bare    updates on batches made before: each waited for, or one behind the other, as the loop queues them
    loop    the same updates by `experiments.training.loop`: input pipeline, lines of metrics, progress, and a
            checkpoint in the midst, all as in a run

Both have the same batches in a round: half of the bare updates come before the loop and half behind it, so that a
machine that becomes faster or slower favours neither. The overhead is over the faster way of the bare update, by the
medians of both. The loop is timed from its first step to its last but one, so that its start and the checkpoint that it
ends with are not; there are no evaluations.
"""

import dataclasses
import functools
import io
import itertools
import shutil
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from experiments.benchmarks.report import spread
from experiments.cli.terminal import terminal
from experiments.runs.session import opened_run
from experiments.training import signals
from experiments.training.experiment import Experiment
from experiments.training.loop import Loop, MetricsWindow, restore_or_start
from experiments.training.progress import Progress, progress
from experiments.training.update import State

EVERY = 100
"""Steps between checkpoints, and of a round."""

WAYS = {"each waited for": 0, "one queued": 1}
"""Way of the bare update -> number of updates that are queued behind the one that is waited for."""

NEVER = 2**30
"""Number of a step that is not reached."""


class CompiledOnce(Experiment):
    """An experiment whose update is compiled once, however many loops run it."""

    @functools.cached_property
    def compiled(self) -> Any:
        """The update."""
        return super().update()

    def update(self) -> Any:
        """Return the one update."""
        return self.compiled


class Marks:
    """The times of the steps of a loop, which it stops at its last step; in the place of its progress and its stop.

    Args:
        shown: progress of the run.
        last: the step to stop at.
    """

    def __init__(self, shown: Progress, last: int) -> None:
        self.shown, self.last, self.times = shown, last, dict[int, float]()
        self.received: int | None = None

    def update(self, step: int, **values: Any) -> None:
        """Record the time of a step, and show it; the step behind `last` - 1 is the last."""
        self.shown.update(step, **values)
        self.times.setdefault(step, time.perf_counter())
        if step >= self.last - 1:
            self.received = int(signal.SIGTERM)


def time_loop(
    experiment: Experiment, rounds: int, every: int = EVERY, advance: Callable[[int], object] = lambda count: None
) -> list[dict[str, Any]]:
    """Time the bare update and the loop in turns; return the rows of a table.

    Args:
        rounds: number of turns of each, after one that is not timed.
        every: steps between checkpoints, at least 4.
        advance: called with 1 after each turn.
    """
    experiment = without_end(experiment, every)
    bare: dict[str, list[float]] = {way: [] for way in WAYS}
    loop, notes = [], list[str]()
    with (
        signals.owned(tempfile.mkdtemp, functools.partial(shutil.rmtree, ignore_errors=True)) as folder,
        opened_run(experiment, Path(folder) / "run", None, notes) as (checkpoints, metrics, config_dict),
    ):
        state, recent, early_stopping = restore_or_start(experiment, checkpoints, metrics)
        for step, _ in experiment.task.plan.census.values():
            state, _ = experiment.update()(state, experiment.task.batches.at(step), experiment.hyperparameters)
        for number in range(rounds + 1):
            start = every // 2 + number * every  # so that the checkpoint comes in the middle of a round
            middle, last = start + every // 2, start + every
            state, before = _bare(experiment, state, start, middle)
            state = at_step(state, start)
            with progress(NEVER, start, terminal(io.StringIO())) as shown:
                marks = Marks(shown, last)
                run = Loop(experiment, config_dict, checkpoints, metrics, marks, notes.append)
                state = run.run(state, recent, early_stopping, marks)
            checkpoints.wait()
            recent = MetricsWindow([])
            state, after = _bare(experiment, state, middle - 1, last - 1)
            if number:
                for way, seconds in bare.items():
                    seconds.append((before[way] + after[way]) / (every - 2))
                loop.append((marks.times[last - 1] - marks.times[start + 1]) / (every - 2))
            advance(1)
    return rows_of(bare, loop)


def rows_of(bare: Mapping[str, list[float]], loop: list[float]) -> list[dict[str, Any]]:
    """Build the rows of a table from the seconds of a step in each round; the overhead is a median of ratios.

    They are to the way of the bare update whose median is the least, and not to the faster of both in each round: the
    least of two times that vary is less than what either takes.
    """
    fastest = min(bare.values(), key=statistics.median)
    overhead = statistics.median(its / ours for its, ours in zip(loop, fastest, strict=True)) - 1.0
    parts = {f"bare update, {way}": seconds for way, seconds in bare.items()} | {"training loop": loop}
    rows = [{"part": part, **spread("ms a step", [1e3 * each for each in parts[part]])} for part in parts]
    return [*rows[:-1], rows[-1] | {"overhead": overhead}]


def without_end(experiment: Experiment, every: int) -> CompiledOnce:
    """Return the experiment without end and evaluations, with a checkpoint every so many steps."""
    training = experiment.config.training
    output = dataclasses.replace(
        training.output, evaluate_every=NEVER, keep_every=every, checkpoint_seconds=1e9, keep_last=1
    )
    training = dataclasses.replace(training, steps=NEVER, patience=None, average_last=1, output=output)
    config = dataclasses.replace(experiment.config, training=training)
    return CompiledOnce(config, experiment.task, experiment.model, experiment.hyperparameters)


def at_step(state: State, step: int) -> State:
    """Return a state with another number of its step."""
    return dataclasses.replace(state, step=jnp.asarray(step, jnp.int32))


def _bare(experiment: Experiment, state: State, first: int, last: int) -> tuple[State, dict[str, float]]:
    """Run the updates of the steps from `first` to before `last`, in each way.

    Returns:
        The state, and for each way the seconds of all but the first update.
    """
    update, hyperparameters, found = experiment.update(), experiment.hyperparameters, {}
    one, *batches = itertools.islice(experiment.task.training_batches(first), last - first)
    for way, ahead in WAYS.items():
        state, metrics = update(at_step(state, first), one, hyperparameters)
        jax.block_until_ready((state, metrics))
        began, queued = time.perf_counter(), list[Any]()
        for batch in batches:
            state, metrics = update(state, batch, hyperparameters)
            queued.append(metrics)
            if len(queued) > ahead:
                jax.block_until_ready(queued.pop(0))
        jax.block_until_ready((state, queued))
        found[way] = time.perf_counter() - began
    return state, found
