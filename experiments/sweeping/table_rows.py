"""The rows of a sweep for other programs: one for each trial, the best first."""

from collections.abc import Sequence
from typing import Any

from experiments.comparing.metric_units import BETTER
from experiments.comparing.statistics import LEVEL
from experiments.sweeping.deciding import Criterion, judged
from experiments.sweeping.ranking import PointResult, Ranking
from experiments.sweeping.verdicts import rows as decision_rows


def sweep_rows(results: Sequence[PointResult], ranking: Ranking, criterion: Criterion | None) -> list[dict[str, Any]]:
    """Return a row for each trial: its rank, settings, mean best score over seeds, and, with a criterion, its word.

    The columns of the decision are of the advantage over the reference; the reference itself has none.
    """
    decided = (
        {} if criterion is None else {row["trial"]: row for row in decision_rows(judged(results, criterion, ranking))}
    )
    found = []
    for rank, result in enumerate(results, 1):
        low, high = result.estimate.interval or (None, None)
        row = {
            "rank": rank if result.complete else None,
            "trial": result.point,
            **{f"config.{name}": value for name, value in result.values.items()},
            "split": "validation",
            "metric": ranking.metric,
            "value": result.estimate.mean if result.estimate.count else None,
            "low": low,
            "high": high,
            "level": None if low is None else LEVEL,
            "seeds": len(result.lanes),
            "diverged": result.diverged,
            "unit": ranking.score.unit,
            "better": BETTER[ranking.mode],
            f"validation_{ranking.loss}": result.loss.mean if result.loss.count else None,
            "ended": ", ".join(dict.fromkeys(lane["status"] for lane in result.lanes)),
            "workdirs": ", ".join(str(lane["workdir"]) for lane in result.lanes),
        }
        if criterion is not None:
            own = decided.get(result.point, {})
            row |= {"reference": criterion.reference, "margin": criterion.margin, "word": own.get("word")}
            row |= {"advantage": own.get("advantage")}
            row |= {f"advantage_{name}": own.get(name) for name in ("low", "high", "level", "seeds", "diverged")}
        found.append(row)
    return found
