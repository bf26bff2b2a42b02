"""The rows of a comparison for other programs: scores of runs, means over seeds, differences, and a decision.

All rows of runs side by side are one table: `kind` is "run", "mean" (of the seeds of a group) or "difference" (of a
group from the first one, paired by seed).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.comparing.comparison import Group, differing, group_runs, rows
from experiments.comparing.metric_units import BETTER, metric_of
from experiments.comparing.results import Result, units_of
from experiments.comparing.statistics import LEVEL, Estimate
from experiments.comparing.verdict import Verdict
from experiments.tasks.task import Metric

Row = dict[str, Any]
"""Name of a column -> its value."""


def comparison_rows(results: Sequence[Result]) -> list[Row]:
    """Return a row for each score of each run, then of each group of finished runs with several seeds."""
    units, changes = units_of(results), differing(results)
    found = []
    for i, result in enumerate(results):
        costs = result.costs
        own = {f"config.{change.name}": change.values[i] for change in changes}
        behind = {
            "finished": result.finished,
            "step": result.step,
            "parameters": None if costs is None else costs.parameters,
            "operations": None if costs is None else costs.operations,
            "seconds": result.seconds,
            "commit": result.commit,
            **own,
        }
        first = {"kind": "run", "name": result.name, "group": None, "seeds": 1, "seed": result.seed}
        for split, name in rows([result]):
            value = result.scores[split][name]
            found.append({**first, **_score(split, name, value, units), **behind})
    finished = [result for result in results if result.finished]
    groups = group_runs(finished) if finished else []
    if any(len(group.results) > 1 for group in groups):
        found += _group_rows(groups, finished, units)
    return found


def _group_rows(groups: Sequence[Group], finished: Sequence[Result], units: Mapping[str, Metric]) -> list[Row]:
    """Return the means of groups, and their differences from the first one."""
    found = []
    for number, group in enumerate(groups, 1):
        for split, name in rows(finished):
            means = {"mean": group.mean(split, name)}
            means |= {"difference": group.difference(groups[0], split, name)} if number > 1 else {}
            for kind, estimate in means.items():
                if estimate is not None:
                    settings = {f"config.{setting}": value for setting, value in group.settings.items()}
                    named = {"kind": kind, "name": f"group {number}", "group": number, "seeds": estimate.count}
                    score = _score(split, name, estimate.mean if estimate.count else None, units, estimate)
                    found.append({**named, "seed": None, **score, **settings})
    return found


def _score(
    split: str, name: str, value: float | None, units: Mapping[str, Metric], estimate: Estimate | None = None
) -> Row:
    """Return the columns of a score."""
    metric = metric_of(name, units)
    low, high = (None, None) if estimate is None or estimate.interval is None else estimate.interval
    return {
        "split": split,
        "metric": name,
        "value": value,
        "low": low,
        "high": high,
        "level": None if low is None else LEVEL,
        "diverged": None if estimate is None else estimate.diverged,
        "unit": None if metric is None else metric.unit,
        "better": None if metric is None else BETTER[metric.mode],
    }


def verdict_rows(verdict: Verdict) -> list[Row]:
    """Return the decision of A against B, as one row: positive values are advantages of A."""
    decision, question = verdict.decision, verdict.question
    finite = [value for value in decision.values if math.isfinite(value)]
    return [
        {
            "split": question.split,
            "metric": question.metric,
            "unit": verdict.metric.unit,
            "better": BETTER[verdict.metric.mode],
            "claim": decision.kind,
            "margin": question.margin,
            "word": decision.word,
            "advantage": decision.middle,
            "low": decision.low,
            "high": decision.high,
            "level": decision.level,
            "seeds": decision.count,
            "diverged": decision.count - len(finite),
            "paired": verdict.unpaired is None,
            "next_look": decision.next_look,
            "p": decision.p,
            "at": question.at,
            "A": ", ".join(run.name for run in verdict.ours.runs),
            "B": ", ".join(run.name for run in verdict.others.runs),
            "A_commit": _commits(verdict.ours.runs),
            "B_commit": _commits(verdict.others.runs),
            **{f"A.config.{change.name}": change.ours for change in verdict.changes},
            **{f"B.config.{change.name}": change.others for change in verdict.changes},
        }
    ]


def _commits(runs: Sequence[Result]) -> str | None:
    """Return the commits of runs, each once; None where none is known."""
    return ", ".join(dict.fromkeys(run.commit for run in runs if run.commit)) or None
