"""This library and PyTorch on one size, in turns, each in a process of its own.

The first turn of each is not timed: it compiles, and its losses from the same initial parameters on the same batches
show that the programs train the same model. A turn of the others begins with an update that is not timed.
"""

import functools
import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from experiments import settings
from experiments.benchmarks.processes import Program, in_turns
from experiments.benchmarks.report import OWN, Report, speed_over
from experiments.benchmarks.sizes import size_experiment
from experiments.benchmarks.train_peers import LOSSES, PEERS, SETTINGS, Reference, torch_program
from experiments.benchmarks.updates import Turn, Updates, plain_form, row_of
from experiments.cli.compilation import use_compilation_cache
from experiments.costs.summary import operations_of_batch
from experiments.training.experiment import Experiment
from transformer.errors import problem

SAME_LOSSES = {"float32": 1e-4, "bfloat16": 3e-3}
"""Type of the computation -> the largest relative difference of losses of programs that train the same model."""

Overrides = Sequence[tuple[str, str]]


def refuse_other_model(overrides: Overrides) -> None:
    """Raise a UserError for a setting that the PyTorch model does not follow."""
    for name, text in overrides:
        if name not in SETTINGS and settings.find(name).changes_result:
            do = "Leave it or --peers out."
            raise problem(f"{name} is not known to the model in PyTorch, which --peers times", got=text, do=do)


def own_program(size: str, overrides: Overrides, steps: int) -> Program:
    """Return this library's program, whose warm-up and turns are those of `torch_program`."""
    use_compilation_cache()
    updates = Updates(size_experiment(size, overrides)[0], LOSSES)

    def run(number: int) -> Turn:
        if number:
            updates.run(1)
        return updates.run(steps if number else LOSSES)

    return run


def reference_of(experiment: Experiment) -> Reference:
    """Return what the PyTorch model of an experiment is made from."""
    params = jax.jit(experiment.initial_state)(experiment.hyperparameters).params
    batches = list(itertools.islice(experiment.task.training_batches(), LOSSES))
    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    return Reference(experiment.config.model, experiment.config.optimizer, jax.device_get(params), batches, device)


def time_in_turns(
    report: Report, size: str, overrides: Overrides, names: Sequence[str], *, steps: int, rounds: int, processes: int
) -> list[dict[str, Any]]:
    """Time this library and others in turns; return the rows of a table, and print why a program is left out.

    Args:
        names: of PEERS, those that are installed.
        steps: number of updates that are timed in a turn.
        rounds: number of turns of each program.
        processes: number of processes of each, among which its turns are divided.
    """
    experiment, _ = size_experiment(size, overrides)
    programs = {OWN: functools.partial(own_program, size, list(overrides), steps)}
    if names:
        reference = reference_of(experiment)
        programs |= {name: functools.partial(torch_program, reference, PEERS[name], steps) for name in names}
    with report.progress(rounds + min(processes, rounds), "rounds") as advance:
        options = dict(processes=processes, optional=names, modules=report.modules, advance=advance)
        done = report.completed(in_turns(programs, rounds, **options))
    batch = experiment.task.batches.at(0)
    operations = operations_of_batch(plain_form(experiment), batch).total.products
    most = SAME_LOSSES[experiment.config.model.dtype]
    rows = rows_of(done, batch["labels"].size, operations, most)
    for row in rows:
        if not row.get("losses differ by", 0.0) <= most:
            differ = f"losses of {row['program']} differ by {row['losses differ by']:.1e}, more than {most}"
            report.line(f"{differ}: not the same training, its speed does not count")
    return rows


def rows_of(done: Mapping[str, list[Turn]], tokens: int, operations: float, most: float) -> list[dict[str, Any]]:
    """Build the rows of programs from their turns, that of the warm-up first.

    Args:
        tokens: of a batch.
        operations: of an update.
        most: largest difference of losses with which the ratio of speeds is part of a row.
    """
    own, *timed = done[OWN]
    rows = []
    for name, (first, *turns) in done.items():
        seconds = [second for turn in turns for second in turn.seconds]
        together = Turn(seconds, [], max(turn.memory for turn in turns))
        row = row_of(name, together, [tokens] * len(seconds), [operations] * len(seconds))
        if name != OWN:
            difference = largest_difference(own.losses, first.losses)
            if difference <= most:
                row |= speed_over(*([statistics.median(turn.seconds) for turn in each] for each in (timed, turns)))
            row["losses differ by"] = difference
        rows.append(row)
    return rows


def largest_difference(ours: Sequence[float], its: Sequence[float]) -> float:
    """Return the largest relative difference of two lists of losses."""
    return float(np.max(np.abs(np.array(ours) - np.array(its)) / np.abs(np.array(its))))
