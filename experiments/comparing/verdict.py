"""A verdict on two groups of runs: which runs are pairs, which seeds count, and the word of the decision rule.

A is claimed better than B (or as good, or equal) in one metric on one split. The runs of a group differ in their seed
alone. Runs of one seed and one data are pairs; where they are none, the groups are compared as a whole (Welch). Seeds
count in rising order, up to the first whose run has not ended: otherwise the runs that end early would choose.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from experiments.comparing.budget import Budget, at_budget
from experiments.comparing.comparison import DATA, Differing, Group, group_settings, rows
from experiments.comparing.decision import (
    AS_GOOD,
    BETTER,
    EQUAL,
    LOOKS,
    NOT_TESTED,
    Decision,
    advantages,
    decide,
    decide_unpaired,
)
from experiments.comparing.intervals import common_end
from experiments.comparing.metric_units import metric_of
from experiments.comparing.power import ENOUGH
from experiments.comparing.results import Result, units_of
from experiments.tasks.task import Metric
from transformer import schema
from transformer.errors import counted, problem, unknown
from transformer.tables import OWN

KINDS_OF_CLAIMS = {"better": BETTER, "as_good": AS_GOOD, "equal": EQUAL}
"""Kind of a claim as users write it -> a row of `decision.KINDS`."""

BEST = "training.output.best"
DATA_SEED = "data.seed"


class Question(NamedTuple):
    """A claim to be decided: A against B."""

    metric: str | None = None
    """The metric; None: the one that selects the checkpoints of the runs."""
    margin: float | None = None
    """The least difference that matters; None: there is an interval and no word."""
    kind: str = BETTER
    """A value of KINDS_OF_CLAIMS."""
    split: str = "validation"
    looks: tuple[int, ...] = LOOKS
    at: str | None = None
    """A row of `budget.UNITS`, at which runs are compared by their curves; None: their ends."""


class Change(NamedTuple):
    """A setting in which A and B differ."""

    name: str
    ours: Any
    others: Any


class Side(NamedTuple):
    """A group of runs with their scores."""

    name: str
    """ "A" or "B"."""
    runs: tuple[Result, ...]
    """The runs by rising seed, one of each."""
    scores: tuple[float, ...]
    """The score of each; NaN where it diverged."""
    again: tuple[Result, ...] = ()
    """Further runs of a seed that is there already, left out."""

    @property
    def seeds(self) -> list[int]:
        """The seeds of the runs."""
        return [run.seed for run in self.runs]

    def seconds(self) -> float:
        """Compute the mean seconds of a run; lanes of one program share theirs."""
        return sum(run.seconds / (1 if run.costs is None else run.costs.lanes) for run in self.runs) / len(self.runs)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The verdict on A against B."""

    question: Question
    """The question, with its metric."""
    metric: Metric
    """Unit and direction of the metric."""
    ours: Side
    """A, with the runs that take part."""
    others: Side
    """B, likewise."""
    decision: Decision
    """The decision; its word is "not tested" without a margin, or where all scores lie at an end of their range."""
    unpaired: str | None
    """The reason why the runs are no pairs; None: they are pairs by their seeds."""
    changes: tuple[Change, ...]
    """The settings in which A and B differ."""
    notes: tuple[str, ...]
    """Sentences about runs that take no part."""
    budget: Budget | None = None
    """The equal budget; None: runs are compared at their ends."""
    end: float | None = None
    """The end of the metric's range at which all scores lie, so that the word is "not tested"; None: they do not."""

    @property
    def word(self) -> str:
        """The word of the rule."""
        return self.decision.word

    @property
    def counted(self) -> int:
        """The number of seeds of each group that count."""
        return self.decision.count


def judge(ours: Sequence[Result], others: Sequence[Result], question: Question) -> Verdict:
    """Judge A against B.

    Args:
        ours: the runs of A, which differ in their seed alone.
        others: those of B.

    Raises:
        UserError: a group whose runs differ in more, an unknown metric or split, one without a direction, a run without
            a score of it, a margin or looks that do not fit, or no equal budget.
    """
    results = [*ours, *others]
    deciding = group_settings(results)
    places = [range(len(ours)), range(len(ours), len(results))]
    groups = [_one_group(results, name, own, deciding) for name, own in zip("AB", places, strict=True)]
    question = question._replace(metric=_metric(question, results))
    found = metric_of(str(question.metric), units_of(results))
    if found is None:
        do = "Choose a metric whose direction is known, or give its task's metrics a unit and a direction."
        raise problem(f"it is not known whether a higher {question.metric} is better", do=do)
    budget = None
    if question.at is not None:
        if question.split != "validation":
            do = "Leave --split out: during training, runs are evaluated on the validation split."
            raise problem("scores at a budget are of the validation split", got=question.split, do=do)
        ended = [run for run in results if run.ended]
        budget = at_budget(ended, question.at, question.split, str(question.metric))
    a, b = (_side(name, group, question, budget) for name, group in zip("AB", groups, strict=True))
    pairs = [(row.name, row.values[0], row.values[len(ours)]) for row in deciding]
    changes = _without_own(tuple(Change(*pair) for pair in pairs if pair[1] != pair[2]))
    a, b, unpaired, notes = _taking_part(a, b, changes)
    decision = _decide(a, b, question, found.mode, paired=unpaired is None)
    scores = [score for side in (a, b) for score in side.scores[: decision.count]]
    end = common_end(scores, found.bounds)
    if end is not None and decision.level is not None:
        decision = dataclasses.replace(decision, word=NOT_TESTED)
    return Verdict(question, found, a, b, decision, unpaired, changes, notes, budget, end)


def _one_group(results: Sequence[Result], name: str, own: Sequence[int], deciding: Sequence[Differing]) -> Group:
    """Return the runs of one side as a group. Raises UserError where they differ in more than their seed.

    Args:
        own: which of the results are of this side.
        deciding: the settings by which runs differ, but for their seed.
    """
    differ = [row for row in deciding if any(row.values[i] != row.values[own[0]] for i in own)]
    if differ:
        got = [
            f"{', '.join(f'{row.name} = {schema.show(row.values[i])}' for row in differ)}: {results[i].name}"
            for i in own
        ]
        raise problem(
            f"the runs of {name} differ in more than their seed",
            got="; ".join(got),
            expected="runs of one setting with several seeds",
            do="Name the runs of one setting here, and those of the other after --against.",
        )
    by_seed: dict[int, Result] = {}
    for i in own:
        by_seed.setdefault(results[i].seed, results[i])
    kept = tuple(by_seed.values())
    return Group({}, kept, tuple(results[i] for i in own if results[i] not in kept))


def _metric(question: Question, results: Sequence[Result]) -> str:
    """Return the name of the metric. Raises UserError for a split or a metric that no run has."""
    own = [name for split, name in rows(results) if split == question.split]
    if not own:
        known = list(dict.fromkeys(split for split, _ in rows(results)))
        got, expected = question.split, f"one of {', '.join(known)}" if known else "a run with an evaluation"
        raise problem("no run was evaluated on this split", got=got, expected=expected)
    name = question.metric if question.metric is not None else results[0].setting(BEST)
    if name not in own:
        raise unknown(f"metric of the {question.split} split", str(name), own)
    return str(name)


def _side(name: str, group: Group, question: Question, budget: Budget | None) -> Side:
    """Return a group with its scores. Raises UserError for a run that ended without one."""
    runs = tuple(sorted(group.results, key=lambda run: run.seed))
    scores = []
    for run in runs:
        score = run.scores.get(question.split, {}).get(str(question.metric))
        if budget is not None and run.name in budget.spent:
            score = budget.spent[run.name].score
        elif run.diverged is not None:
            score = math.nan
        if score is None and run.finished:
            got, expected = ", ".join(run.scores.get(question.split, {})) or "none", str(question.metric)
            raise problem(f"{run.name} has no such score of the {question.split} split", got=got, expected=expected)
        scores.append(math.nan if score is None else score)
    return Side(name, runs, tuple(scores), group.left_out)


def _without_own(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    """Leave out the own settings of rows that differ, such as model.score_settings.cap beside model.score."""
    rows = {f"{change.name}{OWN}." for change in changes}
    return tuple(change for change in changes if not any(change.name.startswith(row) for row in rows))


def _taking_part(a: Side, b: Side, changes: Sequence[Change]) -> tuple[Side, Side, str | None, tuple[str, ...]]:
    """Choose the runs that take part; return the reason where they are no pairs, and sentences about those left out."""
    notes = [
        f"Left out of {side.name}, since it has a run of that seed: {', '.join(run.name for run in side.again)}."
        for side in (a, b)
        if side.again
    ]
    common = sorted({*a.seeds} & {*b.seeds})
    unpaired = _no_pairs(a, b, common, {change.name for change in changes})
    if unpaired is None:
        for side, other in ((a, b), (b, a)):
            lone = [run.name for run in side.runs if run.seed not in common]
            if lone:
                notes.append(f"Left out of {side.name}, since {other.name} has no run of that seed: {', '.join(lone)}.")
        a, b = (_of_seeds(side, common) for side in (a, b))
        waiting = [s for s in common if not all(side.runs[side.seeds.index(s)].ended for side in (a, b))]
        first = {"A": waiting[0], "B": waiting[0]} if waiting else {}
    else:
        first = {side.name: run.seed for side in (a, b) for run in reversed(side.runs) if not run.ended}
    for side in (a, b):
        for run in side.runs:
            if not run.ended:
                where = f"{run.name} of {side.name} has not ended (step {run.step:,} of {run.steps:,})"
                notes.append(f"{where}: seeds from {run.seed} on do not count yet.")
    a, b = (_of_seeds(x, [s for s in x.seeds if x.name not in first or s < first[x.name]]) for x in (a, b))
    return a, b, unpaired, tuple(notes)


def _of_seeds(side: Side, seeds: Sequence[int]) -> Side:
    """Return a side with the runs of some seeds."""
    kept = [i for i, seed in enumerate(side.seeds) if seed in seeds]
    return side._replace(runs=tuple(side.runs[i] for i in kept), scores=tuple(side.scores[i] for i in kept))


def _no_pairs(a: Side, b: Side, common: Sequence[int], changed: set[str]) -> str | None:
    """Return the reason why the runs are no pairs; None where they are."""
    if not common:
        return "no seed is in both"
    if len(common) < ENOUGH <= min(len(a.runs), len(b.runs)):
        return f"only {counted(len(common), 'seed')} {'is' if len(common) == 1 else 'are'} in both"
    if DATA in changed or any(_data_seed(a, seed) != _data_seed(b, seed) for seed in common):
        return "the runs of one seed read other data"
    return None


def _data_seed(side: Side, seed: int) -> int:
    """Return the seed of the data of a run."""
    own = side.runs[side.seeds.index(seed)].setting(DATA_SEED)
    return seed if own is None else own


def _decide(a: Side, b: Side, question: Question, mode: str, *, paired: bool) -> Decision:
    """Decide the question; without a margin the word is "not tested"."""
    margin = 1.0 if question.margin is None else question.margin
    if paired:
        values = advantages(a.scores, b.scores, mode=mode)
        found = decide(values, margin=margin, kind=question.kind, looks=question.looks)
    else:
        rule: Mapping[str, Any] = {"kind": question.kind, "looks": question.looks}
        found = decide_unpaired(a.scores, b.scores, mode=mode, margin=margin, **rule)
    if question.margin is None and found.level is not None:
        return dataclasses.replace(found, word=NOT_TESTED, margin=math.nan)
    return found
