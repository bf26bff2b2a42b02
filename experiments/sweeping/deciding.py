"""Decision of each point of a sweep against a reference, and the seeds that are added until each is decided.

    advantage of a point    at each seed, how much better its best validation score is than the reference's
    reference               a point fixed beforehand: the first of the grid unless a flag names another, never the best

With --decide, the seeds of each look are a study of their own in the same storage, over the points that are not yet
decided and the reference. Which those are follows from the records of the looks before, so that every worker comes to
the same, and a sweep that is stopped goes on as any other.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import optuna
from optuna.storages import RDBStorage

from experiments.comparing.decision import LOOKS, NOT_TESTED, Decision, advantages, decide
from experiments.comparing.intervals import common_end
from experiments.sweeping.attributes import CRITERIA
from experiments.sweeping.open_study import read_study
from experiments.sweeping.ranking import PointResult, Ranking, has_score
from experiments.sweeping.search import Sweep
from experiments.sweeping.space import SEED, overrides
from experiments.sweeping.study import Search, SweepStudy
from transformer.errors import counted, problem

MAX_SEEDS = 16


class Criterion(NamedTuple):
    """The criterion by which points are decided, fixed before the runs.

    Attributes:
        margin: least difference of the metric that matters.
        looks: numbers of seeds at which the word is read.
        reference: number of the point that the others are decided against.
        adding: whether seeds are added until each point is decided.
        shared: whether all seeds read the same data.
        changes: lines about a criterion that was given or changed after trials had ended.
    """

    margin: float
    looks: tuple[int, ...]
    reference: int
    adding: bool
    shared: bool = True
    changes: tuple[str, ...] = ()

    def record(self, done: int) -> dict[str, Any]:
        """Return the record in a study; `done` is the number of points whose trials had ended."""
        return {"margin": self.margin, "looks": list(self.looks), "reference": self.reference, "done": done}


class Judged(NamedTuple):
    """A point that is decided against the reference."""

    result: PointResult
    decision: Decision
    seeds: tuple[int, ...]
    """The seeds that it has in common with the reference; those of the look count, from the first on."""


def criterion_of(flags: Any, sweep: Sweep) -> Criterion | None:
    """Return the criterion that flags give; None without a margin.

    Args:
        flags: SweepFlags.

    Raises:
        UserError: a flag that is not read without another, a reference that is no point, or a sweep that cannot be
            decided by adding seeds.
    """
    if flags.margin is None:
        if flags.decide:
            expected = "the least difference that matters, in the unit of the metric"
            do = "Choose it before the runs: --margin=0.02, for instance."
            raise problem("--decide needs a margin", got="none", expected=expected, do=do)
        if flags.reference is not None:
            raise problem("--reference is not read without --margin", got=flags.reference, do="Add --margin.")
    if flags.max_seeds is not None and not flags.decide:
        raise problem("--max_seeds is not read without --decide", got=flags.max_seeds, do="Add --decide.")
    if flags.margin is None:
        return None
    if sweep.search.sampler != "grid":
        expected = "settings that are fixed beforehand: lists of values, all of which are tried"
        do = "Sweep lists of values without --sampler, or leave --margin out."
        raise problem("--margin is for a grid", got=f"points drawn by {sweep.search.sampler}", expected=expected, do=do)
    if len(sweep.search.points) < 2:
        do = "Vary a setting: --sweep.SETTING=A,B."
        raise problem("nothing can be decided", got="one combination of settings", expected="two or more", do=do)
    if flags.decide:
        _check_adding(flags, sweep)
    looks = looks_up_to(flags.max_seeds or MAX_SEEDS) if flags.decide else LOOKS
    return Criterion(
        flags.margin, looks, reference_of(flags.reference, sweep.search), flags.decide, flags.data == "shared"
    )


def _check_adding(flags: Any, sweep: Sweep) -> None:
    """Raise a UserError for flags with which no seeds can be added."""
    seeds = sweep.search.space.seeds
    if len(seeds) > 1:
        got, expected = f"seeds {', '.join(map(str, seeds))}", "the first seed alone"
        do = f"Leave --sweep.{SEED} out, or, where the recipe's get_sweep() has it, give --sweep.{SEED}={seeds[0]}."
        raise problem("--decide adds the seeds itself", got=got, expected=expected, do=do)
    if flags.halvings:
        do = "Leave one of them out."
        raise problem("--halvings is not read with --decide, which trains all to the end", got=flags.halvings, do=do)


def looks_up_to(most: int) -> tuple[int, ...]:
    """Return 4, 8, 16, ... below a number of seeds, and the number.

    >>> looks_up_to(12)
    (4, 8, 12)
    """
    count = max(math.ceil(math.log2(most / LOOKS[0])), 0)
    return (*(LOOKS[0] * 2**i for i in range(count)), most)


def reference_of(text: str | None, search: Search) -> int:
    """Return the number of the point that a text names: a number, or settings as NAME=VALUE,...; None: the first.

    Raises:
        UserError: no point, or several, are so.
    """
    points = [dict(overrides(search.space.settings_of(point))) for point in search.points]
    if text is None:
        return 0
    if text.isdecimal() and int(text) < len(points):
        return int(text)
    wanted = dict(part.partition("=")[::2] for part in text.split(","))
    found = [number for number, point in enumerate(points) if wanted.items() <= point.items()]
    if len(found) != 1:
        listed = "; ".join(f"{number}: {_in_words(point)}" for number, point in enumerate(points[:20]))
        more = "" if len(points) <= 20 else f"; ... ({len(points):,} in all)"
        expected = f"the number of a trial, or settings that it alone has, of {listed}{more}"
        raise problem(
            "--reference names no trial" if not found else "--reference names several", got=text, expected=expected
        )
    return found[0]


def _in_words(point: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in point.items())


def of_look(search: Search, criterion: Criterion, look: int, only: Sequence[int] | None) -> Search:
    """Return the search that trains the seeds of a look: the first, or those that it adds to the look before.

    Args:
        look: index of the look.
        only: the points that get them; None: all.
    """
    first = search.space.seeds[0]
    before = 0 if look == 0 else criterion.looks[look - 1]
    seeds = tuple(range(first + before, first + criterion.looks[look]))
    return search._replace(
        space=dataclasses.replace(search.space, seeds=seeds), only=None if only is None else tuple(only)
    )


def study_name(name: str, search: Search, look: int) -> str:
    """Return the name of the study of a look; the first has that of the sweep."""
    return name if look == 0 else f"{name}, seeds {search.space.seeds[0]} to {search.space.seeds[-1]}"


def read_looks(storage: RDBStorage, study: SweepStudy, criterion: Criterion, properties: dict[str, Any]) -> SweepStudy:
    """Read the studies of the looks after the first, and return the last that there is, with all seeds so far."""
    name, base, names = study.study.study_name, study.search, set(optuna.study.get_all_study_names(storage))
    for look in range(1, len(criterion.looks)):
        search = of_look(base, criterion, look, None)
        if study_name(name, search, look) in names:
            more = read_study(storage, study_name(name, search, look), search, properties=properties)
            study = dataclasses.replace(more, earlier=study.outcomes())
    return study


def judged(results: Sequence[PointResult], criterion: Criterion, ranking: Ranking) -> list[Judged]:
    """Decide each point against the reference, in the order of their numbers; none where that has no result."""
    by_point = {result.point: result for result in results}
    reference = by_point.pop(criterion.reference, None)
    if reference is None or reference.halved:
        return []
    found = []
    for _, result in sorted(by_point.items()):
        if not result.halved:
            ours, others = _scores(result), _scores(reference)
            seeds = tuple(sorted(ours.keys() & others.keys()))
            values = advantages([ours[s] for s in seeds], [others[s] for s in seeds], mode=ranking.mode)
            decision = decide(values, margin=criterion.margin, looks=criterion.looks)
            scores = [own[seed] for own in (ours, others) for seed in seeds[: decision.count]]
            if decision.level is not None and common_end(scores, ranking.score.bounds) is not None:
                decision = dataclasses.replace(decision, word=NOT_TESTED)
            found.append(Judged(result, decision, seeds))
    return found


def _scores(result: PointResult) -> dict[int, float]:
    """Return the best score of each seed of a point; NaN where it diverged."""
    return {lane["seed"]: lane["score"] if has_score(lane) else math.nan for lane in result.lanes}


def undecided(results: Sequence[PointResult], criterion: Criterion, ranking: Ranking, look: int) -> list[int]:
    """Return the points that get the seeds of the next look, the reference among them; none where all are decided.

    Args:
        look: index of the look that is done; seeds of later ones, of another criterion, are not read.
    """
    count = criterion.looks[look]
    first = min((lane["seed"] for result in results for lane in result.lanes), default=0)
    until = [_up_to(result, first + count) for result in results]
    left = [
        one.result.point
        for one in judged(until, criterion, ranking)
        if not one.decision.decided and len(one.seeds) >= count
    ]
    return sorted([criterion.reference, *left]) if left else []


def _up_to(result: PointResult, seed: int) -> PointResult:
    """Return a point with its seeds below one."""
    return dataclasses.replace(result, lanes=[lane for lane in result.lanes if lane["seed"] < seed])


def keep_criterion(study: SweepStudy, criterion: Criterion) -> Criterion:
    """Record a criterion with a study at its first use, and each that differs from the one before.

    Returns:
        The criterion with the lines about its changes.
    """
    known = list(study.study.user_attrs.get(CRITERIA, []))
    new = criterion.record(len(study.results()))
    if not known or {**known[-1], "done": 0} != {**new, "done": 0}:
        known.append(new)
        study.study.set_user_attr(CRITERIA, known)
    return criterion._replace(changes=tuple(criterion_lines(known)))


def criterion_lines(known: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for a criterion that was given after trials had ended, and one for each that was changed after."""
    lines = []
    for i, one in enumerate(known):
        looks = ", ".join(map(str, one["looks"]))
        words = f"margin {one['margin']:g}, looks at {looks} seeds, against trial {one['reference']}"
        ended = counted(one["done"], "trial")
        if one["done"] and i == 0:
            lines.append(f"the criterion ({words}) was given after {ended} had ended, not before the runs")
        elif one["done"]:
            lines.append(f"the criterion was changed after {ended} had ended, to {words}")
    return lines
