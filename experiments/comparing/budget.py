"""Scores at an equal budget, read from the curves of runs: updates, operations or seconds.

    budget = the least end of all runs
    score  = that of the last evaluation at or before the budget

A run that diverged before the budget has no score there; it does not shorten the budget of the others.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from experiments.comparing.results import Result
from experiments.training.progress import duration
from experiments.training.schedules import SCHEDULES
from transformer.errors import counted, find_row, problem


class Unit(NamedTuple):
    """A unit of budgets."""

    of: Callable[[Result, Mapping[str, float]], float]
    """(run, line of its metrics) -> what was spent until then."""
    words: Callable[[float], str]
    """An amount in words."""


def _operations(result: Result, line: Mapping[str, float]) -> float:
    costs = result.costs
    if costs is None:
        do = "Take --at=updates, or --at=seconds."
        raise problem(f"the operations of {result.name} are not known: it has no costs.json", do=do)
    return line["step"] * costs.operations * (costs.examples or result.setting("training.batch_size"))


def _seconds(result: Result, line: Mapping[str, float]) -> float:
    """Return the seconds of a run alone: lanes of one program have them in common."""
    return line["seconds"] / (1 if result.costs is None else result.costs.lanes)


UNITS: dict[str, Unit] = {
    "updates": Unit(lambda result, line: line["step"], lambda amount: counted(round(amount), "update")),
    "operations": Unit(_operations, lambda amount: f"{amount / 1e9:,.1f} GFLOPs of matrix products"),
    "seconds": Unit(_seconds, lambda amount: f"{amount:.1f} s" if amount < 60 else duration(amount)),
}
"""Name -> unit of a budget."""


class Spent(NamedTuple):
    """The score of a run at a budget."""

    score: float
    """NaN where the run had diverged."""
    step: int
    """The update of the evaluation, or of the divergence."""
    early: bool
    """True where the schedule of the run's learning rate had not come to its end."""


class Budget(NamedTuple):
    """Runs at an equal budget."""

    text: str
    """The budget in words."""
    least: str
    """The run whose end it is."""
    spent: dict[str, Spent]
    """Name of a run -> its score there."""

    @property
    def cut_short(self) -> list[str]:
        """The runs whose schedule had not come to its end."""
        return [name for name, spent in self.spent.items() if spent.early]


def at_budget(results: Iterable[Result], at: str, split: str, metric: str) -> Budget:
    """Read the scores of runs at the greatest budget that all of them reach.

    Args:
        results: runs with a score of the metric, or that diverged.
        at: a row of UNITS.

    Raises:
        UserError: an unknown unit, operations that are not known, or a run without an evaluation by then.
    """
    results, unit = list(results), find_row("budget", UNITS, at)
    curves = {r.name: [line for line in r.lines if line["split"] == split and metric in line] for r in results}
    ends = {r.name: unit.of(r, curves[r.name][-1]) for r in results if curves[r.name] and r.diverged is None}
    if not ends:
        raise problem("no run has come to its end, so there is no budget", do="Wait for the first to end.")
    least = min(ends, key=lambda name: ends[name])
    budget, spent = ends[least], {}
    for result in results:
        before = [line for line in curves[result.name] if unit.of(result, line) <= budget]
        if result.diverged is not None and unit.of(result, result.lines[-1]) <= budget:
            spent[result.name] = Spent(math.nan, result.diverged, False)
        elif before:
            step = int(before[-1]["step"])
            spent[result.name] = Spent(before[-1][metric], step, step < result.steps and _has_end(result))
        else:
            first = unit.words(unit.of(result, curves[result.name][0])) if curves[result.name] else "no evaluation"
            raise problem(
                f"{result.name} has no evaluation within the budget",
                got=f"the first at {first}",
                expected=f"one at or before {unit.words(budget)}, the end of {least}",
                do="Evaluate more often: a smaller training.output.evaluate_every.",
            )
    return Budget(unit.words(budget), least, spent)


def _has_end(result: Result) -> bool:
    """Return whether the learning rate of a run depends on its number of steps."""
    name = result.setting("optimizer.schedule")
    return name not in SCHEDULES or bool(SCHEDULES.find(name).reads)
