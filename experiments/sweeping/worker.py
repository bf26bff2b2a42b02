"""One worker on a study: takes points, trains them as lanes and records their results, until every point is done.

    WORKDIR/trials/POINT-seedSEED    an ordinary working directory for each trial: metrics, and what `keep` asks for
    WORKDIR/lanes/NAME               trials that are trained together: their common checkpoints, and
        claims.json, lock            the list of them, and the lock of the worker that trains them

A worker that starts in the same working directory continues lanes whose worker has ended, from their checkpoint.
Elsewhere their points are trained again from the start, once their worker has missed its heartbeats.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from experiments.costs.summary import Costs, costs_of, write_costs
from experiments.storage.units import write_units
from experiments.storage.workdir_checks import LANES, TRIALS
from experiments.sweeping.attributes import HALVED, TAKEN
from experiments.sweeping.groups import Experiments, Trial, group_key, grouped, lanes_for, trial_name
from experiments.sweeping.keeping import export, export_config, remove_checkpoints, remove_lanes, remove_rest
from experiments.sweeping.lanes import MOST_LANES, Programs, lanes_mesh, row
from experiments.sweeping.ranking import Ranking, best, ranked, search_value
from experiments.sweeping.record import LaneRecord, read_claims, write_claims
from experiments.sweeping.runner import LanesResult, LanesRun
from experiments.sweeping.storage import Heartbeat, locked
from experiments.sweeping.study import SweepStudy, TakenTrial
from experiments.training.reporter import Reporter
from experiments.training.signals import StopRequest
from transformer.errors import UserError, counted


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of a worker.

    Attributes:
        workdir: working directory of the sweep.
        lanes: trials at once; None: as many as memory holds, at most MOST_LANES.
        mode: "map" or "vmap".
        shared: all lanes learn from the data of one seed.
        halvings: number of times that the worse half of the points that are trained together stops.
        keep: trials whose checkpoints are written: a row of `keeping.KEEP`.
        devices: the platform and its devices, in words.
        ranking: the scores that points are ranked by.
        force: train though the memory is too small.
        prefix: beginning of the names of its folders in WORKDIR/lanes, where a sweep has several studies.
    """

    workdir: Path
    lanes: int | None
    mode: str
    shared: bool
    halvings: int
    keep: str
    devices: str
    ranking: Ranking
    force: bool = False
    prefix: str = ""


class Worker:
    """A worker on a study.

    Args:
        study: the points.
        experiments: the cache of experiments.
        resolve: (values of a point, seed) -> the resolved config.
        options: its options.
        heartbeat: records heartbeats of the trials that this worker has taken.
        stop: read between steps.
        reporter: where lines and the progress go.
    """

    def __init__(
        self,
        study: SweepStudy,
        experiments: Experiments,
        resolve: Callable[[dict[str, Any], int], Any],
        options: Options,
        heartbeat: Heartbeat,
        stop: StopRequest,
        reporter: Reporter,
    ):
        self.study, self.resolve, self.options, self.heartbeat = study, resolve, options, heartbeat
        self.stop, self.reporter = stop, reporter
        self.experiments = experiments
        self.mesh = lanes_mesh()
        self.compiled = 0
        self._programs: dict[tuple[Any, ...], Programs] = {}
        self._costs: dict[tuple[Any, ...], Costs] = {}

    def run(self) -> None:
        """Work until every point is done, by any worker, or until requested to stop.

        Raises:
            UserError, OSError: see `LanesRun`; what was saved before is kept.
        """
        seeds = len(self.study.space.seeds)
        most = max((self.options.lanes or MOST_LANES) // seeds, 1)
        waiting_for = None
        while self.stop.received is None:
            for directory in sorted((self.options.workdir / LANES).glob(f"{self.options.prefix}[0-9]*")):
                self._continue_lanes(directory)
            if self.stop.received is not None:
                return
            if taken := self.study.take(most):
                waiting_for = None
                self._train_from_start(taken)
            elif left := self.study.left():
                if waiting_for != left:
                    self.reporter.event(f"waiting for {counted(left, 'trial')} of other workers")
                waiting_for = left
                time.sleep(1.0)
            else:
                return

    def _train_from_start(self, taken: Sequence[TakenTrial]) -> None:
        """Train points from their first step, group by group."""
        self.heartbeat.trials |= {one.trial for one in taken}
        trials: list[Trial] = []
        for one in taken:
            try:
                trials += self._trials(one)
            except UserError as error:
                self.reporter.event(f"trial {one.point} cannot be trained: {error}")
                self.study.fail(one, str(error))
        by_point = {one.point: one for one in taken}
        begun: set[int] = set()
        for group in grouped(trials, shared=self.options.shared):
            for part in self._parts_or_fail(group, by_point):
                points = dict.fromkeys(trial.point for trial in part)
                name = f"{self.options.prefix}{part[0].name}-{len(part)}-{by_point[part[0].point].trial}"
                directory = self.options.workdir / LANES / name
                if self.stop.received is not None:
                    break
                directory.mkdir(parents=True, exist_ok=True)
                with locked(directory, wait=True) as is_locked:  # another worker may look into it for a moment
                    if is_locked:
                        begun |= set(points)
                        own = [by_point[point] for point in points]
                        write_claims(directory / "claims.json", own, part)
                        self._train(directory, own, part)
        for one in taken:
            if one.point not in begun:  # the request to stop came before
                self.study.give_back(one)

    def _parts_or_fail(self, group: list[Trial], by_point: Mapping[int, TakenTrial]) -> list[list[Trial]]:
        """Divide a group as `_parts`; where no lane fits, record that its points cannot be trained, and return none.

        Raises:
            UserError: so many lanes as a flag asks for do not fit; the points are given back.
        """
        points = [by_point[point] for point in dict.fromkeys(trial.point for trial in group)]
        try:
            return list(self._parts(group))
        except UserError as error:
            if self.options.lanes is not None:
                for one in by_point.values():
                    self.study.give_back(one)
                raise
            for one in points:
                self.reporter.event(f"trial {one.point} cannot be trained: {error}")
                self.study.fail(one, str(error))
            return []

    def _trials(self, taken: TakenTrial) -> list[Trial]:
        """Build the trial of each seed of a point."""
        found = []
        for seed in self.study.space.seeds:
            config = self.resolve(self.study.space.settings_of(taken.values), seed)
            workdir = self.options.workdir / TRIALS / trial_name(taken.point, seed)
            found.append(Trial(taken.point, seed, self.experiments.of(config), workdir, self.experiments.origin))
        return found

    def _parts(self, group: list[Trial]) -> Iterator[list[Trial]]:
        """Divide a group into parts that fit in memory, with the seeds of a point together where they fit."""
        shared, force = self.options.shared, self.options.force
        most = lanes_for(self._programs_of(group[0]), group, self.options.lanes, shared=shared, force=force)
        parts = math.ceil(len(group) / most)
        size = math.ceil(len(group) / parts)
        for first in range(0, len(group), size):
            yield group[first : first + size]

    def _programs_of(self, trial: Trial) -> Programs:
        """Return the programs of a trial's group."""
        key = group_key(trial.experiment, shared=self.options.shared)
        if key not in self._programs:
            update, options = trial.experiment.update_of_one(), self.options
            self._programs[key] = Programs(update, options.mode, self.mesh, shared=options.shared, count=self._count)
        return self._programs[key]

    def _costs_of(self, trial: Trial) -> Costs:
        """Count the parameters and operations of a trial, once for its group."""
        key = group_key(trial.experiment, shared=True)
        if key not in self._costs:
            self._costs[key] = costs_of(trial.experiment)
        return self._costs[key]

    def _count(self, lanes: int, *_: Any) -> None:
        self.compiled += 1

    def _continue_lanes(self, directory: Path) -> None:
        """Train lanes whose worker has ended, from their checkpoint."""
        with locked(directory) as is_locked:
            if not is_locked or not (directory / "claims.json").exists():
                return remove_rest(directory) if is_locked else None
            before, names = read_claims(directory / "claims.json", self.study)
            again = {one.point: found for one in before if (found := self._take_again(one)) is not None}
            by_name = {trial.name: trial for one in before for trial in self._trials(one)}
            trials = [by_name[name] for name in names]
            if not again:
                return self._keep_ended(directory, trials)
            self.reporter.event(f"going on with {counted(len(again), 'trial')} of a worker that has ended")
            self.heartbeat.trials |= {one.trial for one in again.values()}
            write_claims(directory / "claims.json", [again.get(one.point, one) for one in before], trials)
            self._train(directory, list(again.values()), trials)

    def _keep_ended(self, directory: Path, trials: list[Trial]) -> None:
        """Do what a worker did not that ended after it recorded results: write checkpoints of its lanes."""
        try:
            result = self._lanes(directory, trials).restore_ended()
        except UserError as error:
            self.reporter.event(f"no checkpoint is kept of {', '.join(trial.name for trial in trials)}: {error}")
        else:
            if result is not None:
                self._keep(result)
        remove_lanes(directory)

    def _take_again(self, taken: TakenTrial) -> TakenTrial | None:
        """Take a trial of a worker that has ended; return None if another worker has taken it before."""
        storage = self.study.storage
        storage.record_heartbeat(taken.trial)
        if storage.get_trial(taken.trial).state == TrialState.RUNNING:
            return taken
        waiting = (t for t in self.study.by_point()[taken.point] if t.state == TrialState.WAITING)
        return next(filter(None, map(self.study.take_waiting, waiting)), None)

    def _train(self, directory: Path, taken: Sequence[TakenTrial], trials: list[Trial]) -> None:
        """Train lanes in a directory that is locked, record their results, and write checkpoints.

        A worker that is killed in between leaves the directory, whose checkpoint the next one writes from.
        """
        lanes, points = self._lanes(directory, trials), {one.point for one in taken}
        first = lanes.restore_or_start(lambda trial: trial.point in points)
        with self.reporter.progress(trials[0].experiment.config.training.steps, first) as shown:
            result = lanes.run(first, shown)
        if self.stop.received is None:
            for one in taken:
                self._record(one, [lane for lane in result.lanes if lane.trial.point == one.point])
            self._keep(result)
            remove_lanes(directory)

    def _lanes(self, directory: Path, trials: list[Trial]) -> LanesRun:
        return LanesRun(
            trials,
            directory,
            self._programs_of(trials[0]),
            shared=self.options.shared,
            halvings=self.options.halvings,
            stop=self.stop,
            print_line=self.reporter.event,
        )

    def _record(self, taken: TakenTrial, lanes: Sequence[LaneRecord]) -> None:
        """Record the lanes of a point, and its result once all of its seeds have ended."""
        outcomes = [*self.study.recorded_lanes(taken), *(lane.outcome() for lane in lanes)]
        records = list({outcome["seed"]: outcome for outcome in outcomes}.values())
        if len(records) < len(self.study.space.seeds):  # the other seeds are in another part
            self.study.record_lanes(taken, records)
            return
        score = search_value(records, self.options.ranking)
        halved = all(record["status"] == HALVED for record in records)
        if not self.study.record_result(taken, records, score, lanes[0].step if halved else None):
            self.reporter.event(
                f"trial {taken.point}: this worker counted as dead, so another one trained the trial again, and the"
                " result of that one counts"
            )
        self.heartbeat.trials.discard(taken.trial)

    def _keep(self, result: LanesResult) -> None:
        """Write checkpoints of trials, and remove those of trials that are not the best any more."""
        first, options = best(ranked(self.study, self.options.ranking)), self.options
        point = None if first is None else first.point
        for i, lane in enumerate(result.lanes):
            if lane.status == TAKEN:
                continue
            if options.keep == "all" or (options.keep == "best" and lane.trial.point == point):
                export(lane, row(result.last, i), row(result.best, i), options.devices)
            else:
                export_config(lane.trial, options.devices)
            write_units(lane.trial.workdir, lane.trial.experiment.config.task, lane.trial.experiment.task.metrics)
            write_costs(lane.trial.workdir, self._costs_of(lane.trial)._replace(lanes=len(result.lanes)))
        if options.keep == "best":
            remove_checkpoints(options.workdir / TRIALS, None if point is None else trial_name(point, ""))
