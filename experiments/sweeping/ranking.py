"""The order of a sweep's points: by the mean of the best score over seeds; ties by the validation loss of that score.

One order holds for the table, the checkpoint that is kept, halvings and the search algorithm. A search algorithm reads
one number a point, so `search_value` adds a part of 1e-9 at most by which the loss breaks ties; scores that differ by
more keep their order.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.comparing.statistics import Bounds, Estimate, estimate
from experiments.storage.retention import order
from experiments.sweeping.attributes import DIVERGED, HALVED, RUNNING
from experiments.sweeping.record import LaneRecord
from experiments.sweeping.study import SweepStudy
from experiments.tasks.task import Metric, Task
from transformer.errors import counted, problem

TIE = 1e-9
"""The largest part of a score, or of 1 where the score is smaller, that the loss adds to break ties."""


class Ranking(NamedTuple):
    """The scores that points are ranked by.

    Attributes:
        metric: name of the validation metric that selects checkpoints, training.output.best.
        loss: name of the validation loss, which breaks ties.
        score: direction, unit and bounds of the metric.
        loss_unit: unit of the loss.
    """

    metric: str
    loss: str
    score: Metric
    loss_unit: str

    @classmethod
    def of(cls, task: Task, metric: str) -> "Ranking":
        """Look up the scores of a task."""
        loss = task.names["loss"]
        return cls(metric, loss, task.metrics[metric], task.metrics[loss].unit)

    @property
    def mode(self) -> str:
        """The direction in which the metric is better: "max" or "min"."""
        return self.score.mode

    @property
    def label(self) -> str:
        """The metric's name and unit."""
        return f"{self.metric} ({self.score.unit})"


@dataclasses.dataclass(frozen=True)
class PointResult:
    """A point that is done.

    Attributes:
        point: number of the point.
        values: setting -> value.
        lanes: the record of each seed, see `LaneRecord.outcome`.
        estimate: mean score over the seeds that have one.
        loss: mean validation loss over them, at the evaluation of the score.
    """

    point: int
    values: dict[str, Any]
    lanes: list[dict[str, Any]]
    estimate: Estimate
    loss: Estimate

    @property
    def diverged(self) -> int:
        return sum(lane["status"] == DIVERGED for lane in self.lanes)

    @property
    def halved(self) -> bool:
        return all(lane["status"] == HALVED for lane in self.lanes)

    @property
    def complete(self) -> bool:
        """True where every seed was trained to its end and has a score, so that the point may be the best."""
        return not self.halved and self.estimate.diverged == 0 and self.estimate.count > 0

    def validation(self, metric: str, bounds: Bounds) -> Estimate:
        """Estimate a score of the validation split at the last evaluation, over the seeds that did not diverge."""
        values = [math.nan if _diverged(lane) else lane["validation"].get(metric, math.nan) for lane in self.lanes]
        return estimate(values, bounds=bounds)


def ranked(study: SweepStudy, ranking: Ranking) -> list[PointResult]:
    """Rank the points that are done, the best first: complete ones, then halved ones, then those that lack a score."""
    found = [_result(point, values, lanes, ranking) for point, (values, lanes) in study.outcomes().items()]

    def place(result: PointResult) -> tuple[Any, ...]:
        return (
            result.estimate.diverged,
            result.halved,
            *order(result.estimate.mean, None if result.loss.diverged else result.loss.mean, ranking.mode),
            result.point,
        )

    return sorted(found, key=place)


def best(results: Sequence[PointResult]) -> PointResult | None:
    """Return the best of ranked points; None where none is complete."""
    return results[0] if results and results[0].complete else None


def best_lane(result: PointResult, ranking: Ranking) -> dict[str, Any] | None:
    """Return the record of the seed with the best score of a point; None where no seed has one."""
    lanes = [lane for lane in result.lanes if lane["score"] is not None and not _diverged(lane)]
    return min(lanes, key=lambda lane: order(lane["score"], _loss(lane, ranking), ranking.mode), default=None)


def search_value(records: Sequence[dict[str, Any]], ranking: Ranking) -> float:
    """Compute the value that the search algorithm learns from.

    Returns:
        The mean over seeds of the best score, made worse by at most TIE by the loss; the worst possible value where a
        lane diverged or has no score.
    """
    sign = -1.0 if ranking.mode == "max" else 1.0
    if any(_diverged(record) or record["score"] is None for record in records):
        return sign * math.inf
    mean = float(np.mean([record["score"] for record in records]))
    if not math.isfinite(mean):
        return sign * math.inf
    loss = float(np.mean([_loss(record, ranking) for record in records]))
    share = loss / (1.0 + loss) if math.isfinite(loss) else 1.0
    return mean + sign * TIE * max(1.0, abs(mean)) * share


def rungs(steps: int, evaluate_every: int, halvings: int) -> list[int]:
    """Return the steps at which the worse half stops: steps / 2^halvings, ..., steps / 2, each at its next evaluation.

    Raises:
        UserError: two of them fall on one evaluation, or on the last step.
    """
    exact = [steps / 2**k for k in range(halvings, 0, -1)]
    found = [math.ceil(at / evaluate_every) * evaluate_every for at in exact]
    if len({*found, steps}) <= len(found) or any(at > steps for at in found):
        raise problem(
            "the halvings fall between too few evaluations",
            got=f"{counted(halvings, 'halving')} of {counted(steps, 'step')}, an evaluation every {evaluate_every}",
            expected="an evaluation for each",
            do="Lower training.output.evaluate_every, or --halvings.",
        )
    return found


def worse_half(lanes: Sequence[LaneRecord]) -> tuple[set[int], int]:
    """Choose the points that stop, by the mean of the last scores of their lanes, ties by that of their last losses.

    Returns:
        The points that stop, and the number of all points.
    """
    running = [lane for lane in lanes if lane.status == RUNNING]
    points: dict[int, list[LaneRecord]] = {}
    for lane in running:
        points.setdefault(lane.trial.point, []).append(lane)

    def place(point: int) -> tuple[float, float, int]:
        own = points[point]
        ranking = Ranking.of(own[0].trial.experiment.task, own[0].early_stopping.metric)
        losses = [lane.evaluations["last"].get(ranking.loss, math.nan) for lane in own]
        mean = float(np.mean([lane.curve[-1][1] for lane in own]))
        return *order(mean, float(np.mean(losses)), ranking.mode), point

    in_order = sorted(points, key=place)
    return set(in_order[math.ceil(len(in_order) / 2) :]), len(in_order)


def _result(point: int, values: dict[str, Any], lanes: list[dict[str, Any]], ranking: Ranking) -> PointResult:
    known = [has_score(lane) for lane in lanes]
    scores = [lane["score"] if is_known else math.nan for lane, is_known in zip(lanes, known, strict=True)]
    losses = [_loss(lane, ranking) if is_known else math.nan for lane, is_known in zip(lanes, known, strict=True)]
    return PointResult(
        point, values, lanes, estimate(scores, bounds=ranking.score.bounds), estimate(losses, bounds=(0.0, math.inf))
    )


def _loss(record: dict[str, Any], ranking: Ranking) -> float:
    """Return the validation loss at the best evaluation; older studies have that of the last one alone."""
    loss = record.get("validation_loss")
    loss = record["validation"].get(ranking.loss) if loss is None else loss
    return math.nan if loss is None else float(loss)


def has_score(record: dict[str, Any]) -> bool:
    """Return whether a seed was trained without divergence and has a score."""
    return record["score"] is not None and not _diverged(record)


def _diverged(record: dict[str, Any]) -> bool:
    return record["status"] == DIVERGED
