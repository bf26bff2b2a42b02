"""A study: the points of a search space, their results, and the workers that share them.

The points are put into the storage when the study is created, numbered: of a finite space all of them with their
values, otherwise the number requested, whose values Optuna's sampler draws when a worker takes them. A point is done
once one trial of it is complete or pruned. Trials of workers that have ended without a result fail, and their point is
queued again. So however workers end, every point is done once: the first complete trial counts.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from experiments.sweeping.attributes import (
    DONE,
    ERROR,
    LANES,
    POINT,
    POINTS,
    lanes_of,
    name_of,
    point_of,
)
from experiments.sweeping.space import Point, Range, Space
from experiments.sweeping.storage import fail_stale_trials

SAMPLERS: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed, constant_liar=True),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "qmc": lambda seed: optuna.samplers.QMCSampler(seed=seed, warn_independent_sampling=False),
}
"""Name -> sampler of a space that has ranges, or that is not tried in full."""


@dataclasses.dataclass(frozen=True)
class TakenTrial:
    """A trial that this worker has taken.

    Attributes:
        point: number of its point.
        values: values of the point's dimensions.
        trial: Optuna's id of the trial.
    """

    point: int
    values: Point
    trial: int


class Search(NamedTuple):
    """A search over a space.

    Attributes:
        space: the dimensions that are varied.
        sampler: a row of SAMPLERS, or "grid".
        points: the values of each point; {} where the sampler draws them.
        seed: seed of the sampler.
        named: whether a flag names the sampler; otherwise a study that exists keeps its own.
        only: numbers of the points that are trained, as where seeds are added to some; None: all.
    """

    space: Space
    sampler: str
    points: Sequence[Point]
    seed: int
    named: bool = True
    only: tuple[int, ...] | None = None


@dataclasses.dataclass(frozen=True)
class SweepStudy:
    """The study of a sweep in a storage."""

    study: optuna.Study
    storage: RDBStorage
    search: Search
    """The search over a space whose points it holds."""
    earlier: Mapping[int, tuple[dict[str, Any], list[dict[str, Any]]]] = dataclasses.field(default_factory=dict)
    """Number of a point -> its settings, and the records of the seeds that it had before this study added more."""

    @property
    def space(self) -> Space:
        return self.search.space

    @property
    def points(self) -> int:
        """The number of points, which another worker may have raised."""
        return self.study.user_attrs.get(POINTS, len(self.search.points))

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Return Optuna's trials in these states, or all, oldest first."""
        return self.study.get_trials(deepcopy=False, states=states or None)

    def by_point(self) -> dict[int, list[FrozenTrial]]:
        """Return the trials of each point by its number, oldest first."""
        numbers = range(self.points) if self.search.only is None else self.search.only
        found: dict[int, list[FrozenTrial]] = {number: [] for number in numbers}
        for trial in self.trials():
            found.setdefault(self.point_of(trial), []).append(trial)
        return found

    def point_of(self, trial: FrozenTrial) -> int:
        """Read the number of a trial's point."""
        return point_of(trial, self.points, name_of(self.study, self.storage, trial))

    def lanes_of(self, trial: FrozenTrial) -> list[dict[str, Any]]:
        """Read the records of the lanes of a trial that is done."""
        return lanes_of(trial, name_of(self.study, self.storage, trial))

    def results(self) -> dict[int, FrozenTrial]:
        """Return the trial that counts of each point that is done, by its number."""
        done = {point: [t for t in trials if t.state in DONE] for point, trials in self.by_point().items()}
        return {point: min(trials, key=lambda t: t.number) for point, trials in done.items() if trials}

    def outcomes(self) -> dict[int, tuple[dict[str, Any], list[dict[str, Any]]]]:
        """Return the settings of each point that is done, and the records of its seeds, earlier ones first."""
        found = dict(self.earlier)
        for point, trial in self.results().items():
            _, before = found.get(point, ({}, []))
            found[point] = self.space.settings_of(trial.params), [*before, *self.lanes_of(trial)]
        return found

    def left(self) -> int:
        """Count the points that are not done, including those that other workers train."""
        return sum(not _settled(trials) for trials in self.by_point().values())

    def take(self, most: int) -> list[TakenTrial]:
        """Take at most this many points that are free; first queue those of workers that count as dead again."""
        fail_stale_trials(self.study)
        self._queue_again()
        taken: list[TakenTrial] = []
        for trial in self.trials(TrialState.WAITING):
            if len(taken) == most:
                break
            new = self.take_waiting(trial)
            taken += [] if new is None else [new]
        return taken

    def id_of(self, trial: FrozenTrial) -> int:
        """Look up the id by which the storage knows a trial."""
        study = self.storage.get_study_id_from_name(self.study.study_name)
        return self.storage.get_trial_id_from_study_id_trial_number(study, trial.number)

    def take_waiting(self, trial: FrozenTrial) -> TakenTrial | None:
        """Try to take a waiting trial, and draw the values that it does not have.

        The first heartbeat is recorded before, so that the trial is found if this worker is killed here.

        Returns:
            None where another worker has it, another trial of its point came before, or drawing took so long that this
            worker counted as dead.
        """
        own = self.id_of(trial)
        with contextlib.suppress(UpdateFinishedTrialError):
            self.storage.record_heartbeat(own)
            return self._drawn(trial, own) if self.storage.set_trial_state_values(own, TrialState.RUNNING) else None
        return None

    def record_result(
        self, taken: TakenTrial, lanes: list[dict[str, Any]], score: float, pruned_at: int | None = None
    ) -> bool:
        """Record the result of a point.

        Args:
            lanes: the record of each of its seeds, as JSON can hold it.
            score: the value that the sampler learns from.
            pruned_at: the step at which the point was stopped, as one of the worse half; None: it was not stopped.

        Returns:
            False if this worker counted as dead and the trial was taken from it.
        """
        try:
            self.storage.set_trial_user_attr(taken.trial, LANES, lanes)
            self._describe(taken, lanes)
            if pruned_at is not None:
                self.storage.set_trial_intermediate_value(taken.trial, pruned_at, score)
            state = TrialState.COMPLETE if pruned_at is None else TrialState.PRUNED
            return self.storage.set_trial_state_values(taken.trial, state, [score])
        except UpdateFinishedTrialError:
            return False

    def _describe(self, taken: TakenTrial, lanes: Sequence[Mapping[str, Any]]) -> None:
        """Store the means over seeds of a point's curve and scores where Optuna's own programs draw them."""
        for step, score in mean_curve(lanes):
            self.storage.set_trial_intermediate_value(taken.trial, step, score)
        for name, score in mean_scores(lanes).items():
            self.storage.set_trial_user_attr(taken.trial, name, score)

    def recorded_lanes(self, taken: TakenTrial) -> list[dict[str, Any]]:
        """Return the records of seeds that `record_lanes` has stored."""
        trial = self.storage.get_trial(taken.trial)
        return self.lanes_of(trial) if LANES in trial.user_attrs else []

    def record_lanes(self, taken: TakenTrial, lanes: list[dict[str, Any]]) -> None:
        """Store the records of some seeds of a point until those of the others exist."""
        with contextlib.suppress(UpdateFinishedTrialError):
            self.storage.set_trial_user_attr(taken.trial, LANES, lanes)

    def give_back(self, taken: TakenTrial) -> None:
        """Return a point that was taken and not begun to the queue."""
        with contextlib.suppress(UpdateFinishedTrialError):
            self.storage.set_trial_state_values(taken.trial, TrialState.FAIL)

    def fail(self, taken: TakenTrial, why: str) -> None:
        """Record that a point cannot be trained; it is not tried again."""
        with contextlib.suppress(UpdateFinishedTrialError):
            self.storage.set_trial_user_attr(taken.trial, ERROR, why)
            self.storage.set_trial_state_values(taken.trial, TrialState.FAIL)

    def _drawn(self, trial: FrozenTrial, own: int) -> TakenTrial | None:
        """Draw the values of a trial that was taken; None where another trial of its point came before."""
        point = self.point_of(trial)
        others = [t for t in self.by_point()[point] if t.number != trial.number]
        if _settled(others) or any(t.state == TrialState.RUNNING and t.number < trial.number for t in others):
            self.storage.set_trial_state_values(own, TrialState.FAIL)
            return None
        if self.search.sampler != "grid":
            seed = np.random.SeedSequence((self.search.seed, point)).generate_state(1)[0]
            self.study.sampler = SAMPLERS[self.search.sampler](int(seed))
        return TakenTrial(point, _suggested(optuna.Trial(self.study, own), self.space), own)

    def _queue_again(self) -> None:
        """Queue the points that are neither done nor taken nor waiting; new ones by the worker that has raised them."""
        for point, trials in self.by_point().items():
            known = bool(trials) or point < len(self.search.points)
            if known and not _settled(trials) and not any(not t.state.is_finished() for t in trials):
                values = max((trial.params for trial in trials), key=len, default=None)  # one was lost while it drew
                values = self.search.points[point] if values is None else values
                self.study.enqueue_trial(values, user_attrs={POINT: point})


def mean_curve(lanes: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """Return (step, mean score over seeds) of each evaluation that all seeds have, where it is finite."""
    curves = [dict(lane.get("curve", ())) for lane in lanes]
    steps = sorted(set.intersection(*map(set, curves))) if curves else []
    means = [(step, float(np.mean([curve[step] for curve in curves]))) for step in steps]
    return [(step, mean) for step, mean in means if math.isfinite(mean)]


def mean_scores(lanes: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return "SPLIT NAME" -> mean over seeds of the last score, where all have it and it is finite."""
    found = {}
    for split in ("validation", "test"):
        scores = [lane.get(split, {}) for lane in lanes]
        for name in scores[0] if scores else ():
            values = [own.get(name, math.nan) for own in scores]
            mean = float(np.mean([math.nan if value is None else value for value in values]))
            found |= {f"{split} {name}": mean} if math.isfinite(mean) else {}
    return found


def _settled(trials: Sequence[FrozenTrial]) -> bool:
    """Return whether a point needs no more work."""
    return any(t.state in DONE or ERROR in t.user_attrs for t in trials)


def _suggested(trial: optuna.Trial, space: Space) -> Point:
    """Return the values that the sampler, or the grid, has for a trial."""
    point: Point = {}
    for dimension in space.dimensions:
        if not space.active(dimension, point):
            continue
        values, name = dimension.values, dimension.name
        if not isinstance(values, Range):
            point[name] = trial.suggest_categorical(name, dimension.choices)
        elif isinstance(values.low, int):
            point[name] = trial.suggest_int(name, values.low, values.high, log=values.log)
        else:
            point[name] = trial.suggest_float(name, values.low, values.high, log=values.log)
    return point
