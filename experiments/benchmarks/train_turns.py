"""This library and PyTorch on one size, in turns, each in a process of its own.

The first turn of each is not timed: it compiles, and its losses from the same initial parameters on the same batches
show that the programs train the same model. A turn of the others begins with an update that is not timed.
"""

import functools
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from experiments import settings
from experiments.benchmarks.processes import Failed, Program, in_turns
from experiments.benchmarks.report import Report
from experiments.benchmarks.sizes import size_experiment
from experiments.benchmarks.train_peers import PEERS, SETTINGS, Twin, torch_program
from experiments.benchmarks.updates import Turn, Updates, plain_form, row_of
from experiments.cli.compilation import use_compilation_cache
from experiments.costs.summary import operations_of_batch
from experiments.training.experiment import Experiment
from transformer.errors import problem

OWN = "this library"

LOSSES = 20
"""Number of first losses that are compared, and of different batches."""

Overrides = Sequence[tuple[str, str]]


def refuse_other_model(overrides: Overrides) -> None:
    """Raise a UserError for a setting that the twin in PyTorch does not follow."""
    for name, text in overrides:
        last = name.removeprefix("optimizer.")
        if name not in SETTINGS and last not in SETTINGS and settings.find(name).changes_result:
            do = "Leave it or --peers out."
            raise problem(f"{name} is not known to the model in PyTorch, which --peers times", got=text, do=do)


def own_program(size: str, overrides: Overrides, steps: Sequence[int]) -> Program:
    """Return this library's program; `steps` are those of the warm-up and of a turn, one that is not timed apart."""
    use_compilation_cache()
    updates = Updates(size_experiment(size, overrides)[0], LOSSES)

    def run(number: int) -> Turn:
        if number:
            updates.run(1)
        return updates.run(steps[bool(number)])

    return run


def twin_of(experiment: Experiment) -> Twin:
    """Return what the twin in PyTorch of an experiment is made from."""
    params = jax.jit(experiment.initial_state)(experiment.hyperparameters).params
    batches = list(itertools.islice(experiment.task.training_batches(), LOSSES))
    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    return Twin(experiment.config.model, experiment.config.optimizer, jax.device_get(params), batches, device)


def time_in_turns(
    report: Report, size: str, overrides: Overrides, names: Sequence[str], *, steps: int, rounds: int
) -> list[dict[str, Any]]:
    """Time this library and others in turns; return the rows of a table, and print why a program is left out.

    Args:
        names: of PEERS, those that are installed.
        steps: number of updates that are timed, of each program.
        rounds: number of turns, among which they are divided.
    """
    experiment, _ = size_experiment(size, overrides)
    turn = (LOSSES, math.ceil(steps / rounds))
    programs = {OWN: functools.partial(own_program, size, list(overrides), turn)}
    if names:
        twin = twin_of(experiment)
        programs |= {name: functools.partial(torch_program, twin, PEERS[name], turn) for name in names}
    found = in_turns(programs, rounds, optional=names, modules=report.modules)
    for name, turns in found.items():
        if isinstance(turns, Failed):
            report.line(f"{name} is left out: {turns.reason}")
    batch = experiment.task.batches.at(0)
    operations = operations_of_batch(plain_form(experiment), batch).total.products
    done = {name: turns for name, turns in found.items() if not isinstance(turns, Failed)}
    return rows_of(done, batch["labels"].size, operations)


def rows_of(done: Mapping[str, list[Turn]], tokens: int, operations: float) -> list[dict[str, Any]]:
    """Build the rows of programs from their turns, that of the warm-up first.

    Args:
        tokens: of a batch.
        operations: of an update.
    """
    own, *timed = done[OWN]
    rows = []
    for name, (first, *turns) in done.items():
        seconds = [second for turn in turns for second in turn.seconds]
        together = Turn(seconds, [], max(turn.memory for turn in turns))
        row = row_of(name, together, [tokens] * len(seconds), [operations] * len(seconds))
        if name != OWN:
            middles = [[statistics.median(turn.seconds) for turn in each] for each in (turns, timed)]
            row["speed of this library over it"] = statistics.median(np.divide(*middles))
            row["losses differ by"] = largest_difference(own.losses, first.losses)
        rows.append(row)
    return rows


def largest_difference(ours: Sequence[float], its: Sequence[float]) -> float:
    """Return the largest relative difference of two lists of losses."""
    return float(np.max(np.abs(np.array(ours) - np.array(its)) / np.abs(np.array(its))))
