"""The results of a study: points ranked by their mean over seeds, the best one as flags, importances.

WORKDIR/results.jsonl has one JSON object a line for each trial: its varied settings, `seed`, `status`, `score` (the
best of the metric that selects checkpoints), the other scores, and its working directory.
"""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from experiments.comparing.statistics import Estimate, as_text, estimate
from experiments.storage.metrics import to_json
from experiments.storage.workdir import write_text_atomically
from experiments.sweeping.record import DIVERGED, HALVED
from experiments.sweeping.study import LANES, SweepStudy
from transformer import schema

MOST_ROWS = 20


@dataclasses.dataclass(frozen=True)
class PointResult:
    """A point that is done.

    Attributes:
        point: number of the point.
        values: setting -> value.
        lanes: the record of each seed, see `LaneRecord.outcome`.
        estimate: mean score over the seeds that did not diverge.
    """

    point: int
    values: dict[str, Any]
    lanes: list[dict[str, Any]]
    estimate: Estimate

    @property
    def diverged(self) -> int:
        return sum(lane["status"] == DIVERGED for lane in self.lanes)

    def validation(self, metric: str) -> Estimate:
        """Estimate a score of the validation split at the last evaluation, over the seeds that did not diverge."""
        return estimate(
            [
                math.nan if lane["status"] == DIVERGED else lane["validation"].get(metric, math.nan)
                for lane in self.lanes
            ]
        )

    @property
    def halved(self) -> bool:
        return all(lane["status"] == HALVED for lane in self.lanes)


def ranked(study: SweepStudy, mode: str) -> list[PointResult]:
    """Rank the points that are done, the best first: complete ones, then halved ones, then those with diverged lanes.

    Args:
        mode: "max" or "min".
    """
    found = [_result(study, point, trial) for point, trial in study.results().items()]
    sign = -1.0 if mode == "max" else 1.0

    def order(result: PointResult) -> tuple[Any, ...]:
        mean = sign * result.estimate.mean
        return result.diverged, result.halved, not math.isfinite(mean), mean, result.point

    return sorted(found, key=order)


def _result(study: SweepStudy, point: int, trial: FrozenTrial) -> PointResult:
    lanes = trial.user_attrs[LANES]
    scores = [math.nan if lane["score"] is None or lane["status"] == DIVERGED else lane["score"] for lane in lanes]
    values = study.space.settings_of(trial.params)
    return PointResult(point, values, lanes, estimate(scores))


def table(results: list[PointResult], metric: str, unit: str) -> Table:
    """Build the table of the best points, a row each."""
    names = list(dict.fromkeys(name for result in results for name in result.values))
    shown = Table("trial", *names, f"{metric} ({unit})", "diverged", "ended")
    for result in results[:MOST_ROWS]:
        values = [schema.show(_short(result.values[name])) if name in result.values else "" for name in names]
        ended = ", ".join(dict.fromkeys(lane["status"] for lane in result.lanes))
        diverged = f"{result.diverged} of {len(result.lanes)}" if result.diverged else ""
        shown.add_row(str(result.point), *values, as_text(result.estimate), diverged, ended)
    return shown


def best_flags(result: PointResult) -> str:
    """Return the settings of a point as flags that can be pasted."""
    return " ".join(f"--config.{name}={schema.show(value)}" for name, value in result.values.items())


def write_results(results: list[PointResult], path: Path) -> None:
    """Write results.jsonl, the best point first.

    Raises:
        OSError: it cannot be written; the error names the path.
    """
    lines = [
        json.dumps(to_json({**result.values, **{k: v for k, v in lane.items() if k != "curve"}}), ensure_ascii=False)
        for result in results
        for lane in result.lanes
    ]
    write_text_atomically(path, "".join(f"{line}\n" for line in lines))


def importances(study: SweepStudy) -> dict[str, float]:
    """Compute the share of the score's spread that each dimension explains, the largest first.

    PED-ANOVA, Watanabe et al. 2023 (https://arxiv.org/abs/2304.10255), as in Optuna.

    Returns:
        Name of a dimension -> its share; {} where the results are too few or all equal.
    """
    done = [t for t in study.results().values() if t.state == TrialState.COMPLETE and math.isfinite(t.value)]
    if len(done) < 4 or len({t.value for t in done}) < 2:
        return {}
    copy = optuna.create_study(direction=study.study.direction)
    copy.add_trials(done)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    return dict(optuna.importance.get_param_importances(copy, evaluator=evaluator))


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value
