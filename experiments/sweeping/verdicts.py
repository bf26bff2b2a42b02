"""The decisions of a sweep in words: a table of its points against the reference, and lines about them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from experiments.comparing import decision as rule
from experiments.comparing.decision import discoveries
from experiments.comparing.statistics import number
from experiments.comparing.wording import needed_line, seeds_in_words, signed
from experiments.costs.summary import read_costs
from experiments.storage import metrics
from experiments.sweeping.deciding import Criterion, Judged
from experiments.sweeping.ranking import PointResult, Ranking
from experiments.sweeping.space import overrides
from experiments.sweeping.study import Search
from experiments.training.progress import duration
from experiments.training.tables import add, short_names, text_table
from transformer import schema
from transformer.errors import counted

MEANINGS = {
    rule.HOLDS: "better than the reference",
    rule.REVERSED: "worse than the reference",
    rule.NO_DIFFERENCE: "differs by less than the margin",
    rule.FAILS: "not better by the margin; equal or worse is open",
    rule.UNDECIDED: "the interval is too wide for a word",
    rule.NOT_TESTED: "all scores lie at an end of the metric's range: train longer, or rank by another metric",
    rule.PREVIEW: "fewer than 4 seeds: no verdict",
}
"""Word -> its meaning for a trial of a sweep."""


def look_line(criterion: Criterion, search: Search, look: int) -> str:
    """Describe the seeds that a look adds, and the points that get them."""
    points = [point for point in search.only or () if point != criterion.reference]
    verb, before = "is" if len(points) == 1 else "are", criterion.looks[look - 1]
    return (
        f"look at {criterion.looks[look]} seeds: {_trials(points)} {verb} not decided yet at {before};"
        f" {seeds_in_words(search.space.seeds)} are added, also to the reference, trial {criterion.reference}"
    )


def table(found: Sequence[Judged], criterion: Criterion, ranking: Ranking) -> Table:
    """Build a table with a row for each point that is decided against the reference."""
    names = list(dict.fromkeys(name for one in found for name in one.result.values))
    title = (
        f"decided against trial {criterion.reference}, seed by seed, by the best validation {ranking.label} of each"
        f" run; margin {criterion.margin:g}"
    )
    heads = ["trial", *short_names(names), "seeds", "advantage", "interval", "word", "meaning"]
    shown = text_table(title, heads)
    for one in found:
        decision = one.decision
        values = [schema.show(one.result.values[name]) if name in one.result.values else "" for name in names]
        ends = "" if decision.low is None else f"{signed(decision.low)} to {signed(decision.high or 0.0)}"
        level = "" if decision.level is None else f" ({100 * decision.level:.1f} %)"
        texts = [str(decision.count), signed(decision.middle), f"{ends}{level}", decision.word, MEANINGS[decision.word]]
        add(shown, [str(one.result.point), *values, *texts])
    return shown


def rows(found: Sequence[Judged]) -> list[dict[str, Any]]:
    """Return a row for each point, for a DataFrame."""
    return [
        {
            "trial": one.result.point,
            **one.result.values,
            "word": one.decision.word,
            "advantage": one.decision.middle,
            "low": one.decision.low,
            "high": one.decision.high,
            "level": one.decision.level,
            "seeds": one.decision.count,
            "diverged": one.decision.diverged,
        }
        for one in found
    ]


def lines(found: Sequence[Judged], criterion: Criterion, results: Sequence[PointResult]) -> list[str]:
    """Describe what the table does not: several changes, divergence, false discoveries, seeds still needed."""
    written = list(criterion.changes)
    reference = next((result for result in results if result.point == criterion.reference), None)
    if reference is None:
        return [*written, f"nothing is decided: the reference, trial {criterion.reference}, has no result"]
    if reference.halved:
        return [*written, f"nothing is decided: the reference, trial {criterion.reference}, was stopped by a halving"]
    halved = [result.point for result in results if result.halved]
    written += [f"not tested, since stopped by a halving: {_trials(halved)}"] if halved else []
    several = [one.result.point for one in found if _changes(one.result, reference) > 1]
    if several:
        written.append(
            f"{_trials(several)} differ{'s' if len(several) == 1 else ''} from the reference in several settings, so a"
            " difference cannot be put down to one of them"
        )
    if criterion.shared:
        seeds = "every seed reads the same data, and the words are about this data"
        written.append(f"{seeds}; --data=own (in another --workdir) draws it anew for each seed")
    for one in found:
        if one.decision.diverged:
            written.append(
                f"trial {one.result.point}: at {counted(one.decision.diverged, 'seed')} it or the reference diverged,"
                " which counts as infinitely worse; the interval is that of the median"
            )
    written += _discovery_lines(found)
    for one in found:
        written += _needed(one, criterion, reference)
    return written


def _changes(result: PointResult, reference: PointResult) -> int:
    """Count the settings in which a point differs from the reference."""
    names = dict.fromkeys([*result.values, *reference.values])
    return sum(result.values.get(name) != reference.values.get(name) for name in names)


def _discovery_lines(found: Sequence[Judged]) -> list[str]:
    """Name the words that several comparisons with one reference leave standing."""
    words = [one for one in found if one.decision.word in (rule.HOLDS, rule.REVERSED)]
    if len(found) < 2 or not words:
        return []
    kept = discoveries([one.decision.p for one in found])
    standing = [one.result.point for one, keep in zip(found, kept, strict=True) if keep and one in words]
    of = f"of {len(found)} comparisons with one reference, the differences that stand if at most 5 % of them are false"
    return [f"{of} (Benjamini and Hochberg 1995): {_trials(standing)}"]


def _trials(points: Sequence[int]) -> str:
    """Name trials: "trial 2", "trials 2, 5", "none"."""
    return f"{'trial' if len(points) == 1 else 'trials'} {', '.join(map(str, points))}" if points else "none"


def _needed(one: Judged, criterion: Criterion, reference: PointResult) -> list[str]:
    """Return the line about the seeds that a point still needs, and what the next look costs here."""
    decision, seeds = one.decision, len(one.seeds)
    if decision.decided and decision.word != rule.PREVIEW:
        return []
    line = f"trial {one.result.point}: "
    if decision.level is not None:
        effect = f"{counted(decision.count, 'seed')} show an effect of {number(decision.least_effect)} or more. "
        line += effect + needed_line(decision)
    if decision.next_look is not None and seeds < decision.next_look:
        more = decision.next_look - seeds
        cost = more * (_seconds(one.result) + _seconds(reference))
        about = f", about {duration(cost)} here" if cost else ""
        how = "" if criterion.adding else ": add --decide to have them trained"
        line += f"{'' if line.endswith(': ') else ' '}The next look is at {decision.next_look} seeds{about}{how}."
    return [line]


def _seconds(result: PointResult) -> float:
    """Return the mean seconds of a seed of a point, by the working directories that are here; 0 where none is."""
    found = []
    for lane in result.lanes:
        workdir = Path(lane.get("workdir", ""))
        written = metrics.read(workdir) if lane.get("workdir") else []
        costs = read_costs(workdir) if written else None
        found += [written[-1]["seconds"] / (1 if costs is None else costs.lanes)] if written else []
    return sum(found) / len(found) if found else 0.0


def hint(results: Sequence[PointResult], ranking: Ranking) -> list[str]:
    """Return the line about --margin where trials have seeds enough for a word."""
    several = [result for result in results if len(result.lanes) >= rule.LOOKS[0]]
    if len(several) < 2:
        return []
    first = min(several, key=lambda result: result.point)
    words = ", ".join(f"{name}={value}" for name, value in overrides(first.values))
    return [
        f"--margin=..., the least difference in {ranking.metric} that matters, decides each trial against trial"
        f" {first.point} ({words})"
    ]
