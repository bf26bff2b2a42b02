"""What runs may be compared in: the settings that differ, the metrics that they share, the sides that they form.

A side is the runs that differ in their seed alone. Only a difference between sides, over several seeds, says more than
that two runs came out differently.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from experiments import settings
from experiments.comparing.results import SPLITS, Result
from experiments.comparing.statistics import Estimate, estimate, paired_difference
from transformer.errors import problem

SEED = "seed"
DATA = "fingerprint of the data"
"""A row beside the settings."""

FILLED_IN = ("model.vocab_size", "model.max_length", "model.class_head.classes")
"""Settings that the data decides unless they are given; with the seed, the training split and they may change."""


class Differing(NamedTuple):
    """A setting that not all runs share."""

    name: str
    values: tuple[Any, ...]
    """One for each run."""
    decides: bool
    """Whether it can change the result."""


@dataclasses.dataclass(frozen=True)
class Side:
    """Runs that differ in their seed alone, one for each seed."""

    settings: Mapping[str, Any]
    """What tells it from the other sides."""
    results: tuple[Result, ...]
    left_out: tuple[Result, ...] = ()
    """Further runs of a seed that is there already: the same experiment again, which counts once."""

    def scores(self, split: str, metric: str) -> dict[int, float]:
        """Seed -> score, of the runs that have it."""
        found = {result.seed: result.scores.get(split, {}).get(metric) for result in self.results}
        return {seed: score for seed, score in found.items() if score is not None}

    def mean(self, split: str, metric: str) -> Estimate | None:
        """The mean over seeds; None where no run has the metric."""
        scores = self.scores(split, metric)
        return estimate(list(scores.values())) if scores else None

    def difference(self, other: "Side", split: str, metric: str) -> Estimate | None:
        """This side minus the other over the seeds that both have; None where a side lacks the metric."""
        here, there = self.scores(split, metric), other.scores(split, metric)
        return paired_difference(there, here) if here and there else None


def rows(results: Sequence[Result]) -> list[tuple[str, str]]:
    """(split, metric) of all scores, in order of the splits and of first appearance."""
    return [
        (split, name)
        for split in SPLITS
        for name in dict.fromkeys(name for result in results for name in result.scores.get(split, {}))
    ]


def refuse_other_objectives(results: Sequence[Result]) -> None:
    """Raises UserError if no metric is of all runs: scores of different objectives are of different things."""
    if not set.intersection(*(set(result.metrics) for result in results)):
        got = "; ".join(f"{result.name}: {', '.join(result.metrics)}" for result in results)
        raise problem(
            "the runs share no metric, so they are of different objectives and cannot be compared",
            got=got,
            do="Name runs of one objective.",
        )


def differing(results: Sequence[Result]) -> list[Differing]:
    """The settings that not all runs share, and the data's fingerprint if two runs have different ones."""
    first, *others = results
    found = [settings.differences(first.config, other.config) for other in others]
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
    return all_rows


def _short(fingerprint: str | None) -> str:
    return "unknown" if fingerprint is None else fingerprint[:12] or "the config decides it"


def sides(results: Sequence[Result]) -> list[Side]:
    """The sides that runs form, in order of first appearance."""
    deciding = _tell_apart(results)
    groups: dict[str, list[int]] = {}
    for i in range(len(results)):
        groups.setdefault(_key(deciding, i), []).append(i)
    found = []
    for members in groups.values():
        by_seed: dict[int, Result] = {}
        for i in members:
            by_seed.setdefault(results[i].seed, results[i])
        kept = tuple(by_seed.values())
        again = tuple(results[i] for i in members if results[i] not in kept)
        found.append(Side({row.name: row.values[members[0]] for row in deciding}, kept, again))
    return found


def _tell_apart(results: Sequence[Result]) -> list[Differing]:
    """What tells sides apart: all that can change the result but the seed, and what the seed has filled in."""
    deciding = [row for row in differing(results) if row.decides and row.name != SEED]
    filled = [row for row in deciding if row.name in FILLED_IN]
    rest = [row for row in deciding if row.name not in FILLED_IN]
    for i, j in itertools.combinations(range(len(results)), 2):
        # The same seed gives the same data, so what differs here was given.
        given = results[i].seed == results[j].seed and _key(rest, i) == _key(rest, j)
        if given and _key(filled, i) != _key(filled, j):
            return deciding
    return rest


def _key(deciding: Sequence[Differing], i: int) -> str:
    """Of run i, equal for runs of one side; values may be lists."""
    return repr([row.values[i] for row in deciding])
