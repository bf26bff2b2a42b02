"""The comparison of runs: the settings that differ, the metrics that they share, the groups that they form.

The runs of a group differ in their seed alone. A difference of two single runs may come from the seed; a difference of
two groups, over several seeds, has a confidence interval.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from experiments.comparing import configs
from experiments.comparing.metric_units import bounds_of
from experiments.comparing.results import SPLITS, Result, units_of
from experiments.comparing.statistics import Estimate, estimate, paired_difference
from transformer.errors import problem

SEED = "seed"
DATA = "fingerprint of the data"
"""The name of a row beside the settings."""

ORIGIN = "parameters at the start"
INIT_FROM = "init_from"
"""Rows beside the settings: what a run started from in words, and which it was."""

FILLED_IN = ("model.vocab_size", "model.max_length", "model.class_head.classes", INIT_FROM)
"""Rows that may change with the seed: what the data decides unless it is given, and the run that each starts from."""


class Differing(NamedTuple):
    """A setting that not all runs share."""

    name: str
    values: tuple[Any, ...]
    """The value of each run."""
    decides: bool
    """True if the setting can change the result."""


@dataclasses.dataclass(frozen=True)
class Group:
    """The runs that differ in their seed alone, one for each seed."""

    settings: Mapping[str, Any]
    """The settings in which it differs from the other groups, with their values."""
    results: tuple[Result, ...]
    left_out: tuple[Result, ...] = ()
    """Further runs of a seed that the group has already: the same experiment again, which counts once."""

    def scores(self, split: str, metric: str) -> dict[int, float]:
        """Return the score of each seed, for the runs that have it."""
        found = {result.seed: result.scores.get(split, {}).get(metric) for result in self.results}
        return {seed: score for seed, score in found.items() if score is not None}

    def mean(self, split: str, metric: str) -> Estimate | None:
        """Estimate the mean over seeds; None where no run has the metric."""
        scores = self.scores(split, metric)
        return estimate(list(scores.values()), bounds=bounds_of(metric, units_of(self.results))) if scores else None

    def difference(self, other: "Group", split: str, metric: str) -> Estimate | None:
        """Estimate this group minus the other over their common seeds; None where a group lacks the metric."""
        own, others = self.scores(split, metric), other.scores(split, metric)
        return (
            paired_difference(others, own, bounds=bounds_of(metric, units_of(self.results))) if own and others else None
        )


def rows(results: Sequence[Result]) -> list[tuple[str, str]]:
    """List (split, metric) of all scores, in order of the splits and of first appearance."""
    return [
        (split, name)
        for split in SPLITS
        for name in dict.fromkeys(name for result in results for name in result.scores.get(split, {}))
    ]


def refuse_other_objectives(results: Sequence[Result]) -> None:
    """Raise a UserError if no metric is common to all runs, since scores of different objectives do not compare."""
    known = [result for result in results if result.metrics]  # a run may diverge before its first evaluation
    if known and not set.intersection(*(set(result.metrics) for result in known)):
        got = "; ".join(f"{result.name}: {', '.join(result.metrics)}" for result in known)
        raise problem(
            "the runs share no metric, so they are of different objectives and cannot be compared",
            got=got,
            expected="runs of one objective",
            do="Leave out those of another.",
        )


def differing(results: Sequence[Result]) -> list[Differing]:
    """List the settings that not all runs share, and their data and starts if two runs have different ones."""
    first, *others = results
    found = configs.differences_of_many(first.config, [other.config for other in others])
    names = dict.fromkeys(name for changes in found for name, *_ in changes)
    old = {name: before for changes in found for name, before, *_ in changes}
    new = [{name: after for name, _, after, _ in changes} for changes in found]
    deciding = {name for changes in found for name, _, _, decides in changes if decides}
    all_rows = [
        Differing(name, (old[name], *(changes.get(name, old[name]) for changes in new)), name in deciding)
        for name in names
    ]
    if len({result.data for result in results} - {None}) > 1:
        all_rows.append(Differing(DATA, tuple(_short(result.data) for result in results), True))
    for name, row in ((ORIGIN, _kind_of_start), (INIT_FROM, _start)):
        values = tuple(row(result.origin) for result in results)
        if len(set(values)) > 1:
            all_rows.append(Differing(name, values, True))
    return all_rows


def _kind_of_start(origin: Mapping[str, Any] | None) -> str:
    """Return in words what a run started from, and which parts of it."""
    if origin is None:
        return "fresh"
    parts = [f"{name} {', '.join(origin[name])}" for name in ("only", "skip") if origin.get(name)]
    return "; ".join(["of a checkpoint" if "family" in origin else "of another run", *parts])


def _start(origin: Mapping[str, Any] | None) -> str:
    """Return which run or checkpoint a run started from."""
    return "none" if origin is None else f"{origin['workdir']}@{origin['checkpoint']}, checksum {origin['checksum']}"


def _short(fingerprint: str | None) -> str:
    return "unknown" if fingerprint is None else fingerprint[:12] or "the config decides it"


def group_runs(results: Sequence[Result]) -> list[Group]:
    """Group the runs that differ in their seed alone, in order of first appearance."""
    deciding = group_settings(results)
    by_key: dict[str, list[int]] = {}
    for i in range(len(results)):
        by_key.setdefault(_key(deciding, i), []).append(i)
    groups = []
    for members in by_key.values():
        by_seed: dict[int, Result] = {}
        for i in members:
            by_seed.setdefault(results[i].seed, results[i])
        kept = tuple(by_seed.values())
        again = tuple(results[i] for i in members if results[i] not in kept)
        groups.append(Group({row.name: row.values[members[0]] for row in deciding}, kept, again))
    return groups


def group_settings(results: Sequence[Result]) -> list[Differing]:
    """List the settings by which groups differ: those that can change the result, but the seed and what it fills in."""
    deciding = [row for row in differing(results) if row.decides and row.name != SEED]
    filled = [row for row in deciding if row.name in FILLED_IN]
    rest = [row for row in deciding if row.name not in FILLED_IN]
    for i, j in itertools.combinations(range(len(results)), 2):
        # The same seed gives the same data, so a value that differs here was given.
        given = results[i].seed == results[j].seed and _key(rest, i) == _key(rest, j)
        if given and _key(filled, i) != _key(filled, j):
            return deciding
    return rest


def _key(deciding: Sequence[Differing], i: int) -> str:
    """Return the key of run i, equal for runs of one group; values may be lists."""
    return repr([row.values[i] for row in deciding])
