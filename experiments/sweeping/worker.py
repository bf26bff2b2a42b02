"""One worker on a study: takes points, trains them as lanes, tells what became of them, until every point is done.

    WORKDIR/trials/POINT-seedSEED    an ordinary working directory for each trial: metrics, and what `keep` asks for
    WORKDIR/lanes/NAME               trials that are trained together: their common checkpoints, and
        claims.json, lock            which they are, and the lock of the worker that trains them

A worker that starts in the same working directory goes on with lanes whose worker has died, from their checkpoint.
Elsewhere their points are trained anew, once their heartbeat has been missed.
"""

import contextlib
import dataclasses
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import TrialState

from experiments.storage.workdir import write_text_atomically
from experiments.sweeping.groups import Experiments, Trial, group_key, grouped, lanes_for, trial_name
from experiments.sweeping.lanes import Programs, lanes_mesh, row
from experiments.sweeping.record import DIVERGED, HALVED, TAKEN, LaneRecord, export
from experiments.sweeping.runner import Ended, LanesRun
from experiments.sweeping.storage import Heartbeat, locked
from experiments.sweeping.study import Claim, Study
from experiments.training.progress import Progress
from experiments.training.signals import StopRequest
from transformer.errors import UserError

MOST_LANES = 32
"""Trials at once, where memory holds them and no flag says otherwise."""

KEEP = ("best", "all", "none")


@dataclasses.dataclass(frozen=True)
class Options:
    """How a worker works.

    Attributes:
        workdir: of the sweep.
        lanes: trials at once; None: as many as memory holds, at most MOST_LANES.
        mode: "map" or "vmap".
        shared: all lanes learn from the data of one seed.
        halvings: how often the worse half of the points that are trained together stops.
        keep: what is written out of the trials that have ended: a row of KEEP.
        devices: in words.
    """

    workdir: Path
    lanes: int | None
    mode: str
    shared: bool
    halvings: int
    keep: str
    devices: str


class Worker:
    """Works on a study.

    Args:
        study: the points.
        experiments: those that were set up already, and those to come.
        resolve: (values of a point, seed) -> the resolved config.
        options: how.
        heartbeat: for the trials that it holds.
        stop: read between steps.
        say: prints a line.
        progress: (steps in all, steps done) -> a context that gives a Progress.
    """

    def __init__(
        self,
        study: Study,
        experiments: Experiments,
        resolve: Callable[[dict[str, Any], int], Any],
        options: Options,
        heartbeat: Heartbeat,
        stop: StopRequest,
        say: Callable[[str], None],
        progress: Callable[[int, int], contextlib.AbstractContextManager[Progress]],
    ):
        self.study, self.resolve, self.options, self.heartbeat = study, resolve, options, heartbeat
        self.stop, self.say, self.progress = stop, say, progress
        self.experiments = experiments
        self.mesh = lanes_mesh()
        self.compiled = 0
        self._programs: dict[tuple[Any, ...], Programs] = {}

    def run(self) -> None:
        """Until every point is done, by whomever, or until asked to stop.

        Raises:
            UserError, OSError: see `LanesRun`; what is safe is kept.
        """
        seeds = len(self.study.space.seeds)
        most = max((self.options.lanes or MOST_LANES) // seeds, 1)
        waited = None
        while self.stop.received is None:
            for directory in sorted((self.options.workdir / "lanes").glob("*")):
                self._go_on(directory)
            if self.stop.received is not None:
                return
            if claims := self.study.claim(most):
                waited = None
                self._begin(claims)
            elif left := self.study.left():
                if waited != left:
                    self.say(f"waiting for {left} trials of other workers")
                waited = left
                time.sleep(1.0)
            else:
                return

    def _begin(self, claims: Sequence[Claim]) -> None:
        """Trains points from their first step, group by group."""
        self.heartbeat.held |= {claim.trial for claim in claims}
        trials: list[Trial] = []
        for claim in claims:
            try:
                trials += self._trials(claim)
            except UserError as error:
                self.say(f"trial {claim.point} cannot be trained: {error}")
                self.study.fail(claim, str(error))
        by_point = {claim.point: claim for claim in claims}
        begun: set[int] = set()
        for group in grouped(trials, shared=self.options.shared):
            for part in self._parts(group):
                points = dict.fromkeys(trial.point for trial in part)
                name = f"{part[0].name}-{len(part)}-{by_point[part[0].point].trial}"
                directory = self.options.workdir / "lanes" / name
                if self.stop.received is not None:
                    break
                directory.mkdir(parents=True, exist_ok=True)
                begun |= set(points)
                with locked(directory) as mine:
                    if mine:
                        self._train(directory, [by_point[point] for point in points], part)
        for claim in claims:
            if claim.point not in begun:  # asked to stop before
                self.study.give_back(claim)

    def _trials(self, claim: Claim) -> list[Trial]:
        """One for each seed."""
        found = []
        for seed in self.study.space.seeds:
            config = self.resolve(self.study.space.settings_of(claim.values), seed)
            workdir = self.options.workdir / "trials" / trial_name(claim.point, seed)
            found.append(Trial(claim.point, seed, self.experiments.of(config), workdir))
        return found

    def _parts(self, group: list[Trial]) -> Iterator[list[Trial]]:
        """A group in parts that fit in memory, the seeds of a point together where they do."""
        most = lanes_for(self._of_group(group[0]), group, self.options.lanes, shared=self.options.shared)
        parts = math.ceil(len(group) / most)
        size = math.ceil(len(group) / parts)
        for first in range(0, len(group), size):
            yield group[first : first + size]

    def _of_group(self, trial: Trial) -> Programs:
        key = group_key(trial.experiment, shared=self.options.shared)
        if key not in self._programs:
            update, options = trial.experiment.update_of_one(), self.options
            self._programs[key] = Programs(update, options.mode, self.mesh, shared=options.shared, count=self._count)
        return self._programs[key]

    def _count(self, lanes: int, *_: Any) -> None:
        self.compiled += 1

    def _go_on(self, directory: Path) -> None:
        """Trains lanes whose worker has died, from their checkpoint."""
        with locked(directory) as mine:
            if not mine or not (directory / "claims.json").exists():
                return
            record = json.loads((directory / "claims.json").read_text(encoding="utf-8"))
            before = [Claim(**claim) for claim in record["claims"]]
            claims = [claim for claim in map(self._again, before) if claim is not None]
            if not claims:
                shutil.rmtree(directory)
                return
            self.say(f"going on with {len(claims)} trials of a worker that has ended")
            self.heartbeat.held |= {claim.trial for claim in claims}
            trials = {trial.name: trial for claim in before for trial in self._trials(claim)}
            self._train(directory, claims, [trials[name] for name in record["trials"]])

    def _again(self, claim: Claim) -> Claim | None:
        """A claim of a worker that has died, if nobody else has taken it up."""
        storage = self.study.storage
        storage.record_heartbeat(claim.trial)
        if storage.get_trial(claim.trial).state == TrialState.RUNNING:
            return claim
        for trial in self.study.by_point()[claim.point]:
            if trial.state == TrialState.WAITING and self.study.take(trial._trial_id):
                return dataclasses.replace(claim, trial=trial._trial_id)
        return None

    def _train(self, directory: Path, claims: Sequence[Claim], trials: list[Trial]) -> None:
        """Trains lanes in a directory that is locked, and tells what became of them."""
        record = {"claims": [dataclasses.asdict(claim) for claim in claims], "trials": [t.name for t in trials]}
        write_text_atomically(directory / "claims.json", json.dumps(record))
        lanes = LanesRun(
            trials,
            directory,
            self._of_group(trials[0]),
            shared=self.options.shared,
            halvings=self.options.halvings,
            stop=self.stop,
            say=self.say,
        )
        mine = {claim.point for claim in claims}
        first = lanes.restore_or_start(lambda trial: trial.point in mine)
        with self.progress(trials[0].experiment.config.training.steps, first) as shown:
            ended = lanes.run(first, shown)
        if self.stop.received is None:
            for claim in claims:
                self._tell(claim, [lane for lane in ended.lanes if lane.trial.point == claim.point])
            self._keep(claims, ended)
            shutil.rmtree(directory)

    def _tell(self, claim: Claim, lanes: Sequence[LaneRecord]) -> None:
        outcomes = [*self.study.trial_lanes(claim), *(lane.outcome() for lane in lanes)]
        records = list({outcome["seed"]: outcome for outcome in outcomes}.values())
        if len(records) < len(self.study.space.seeds):  # the other seeds are in another part
            self.study.note(claim, records)
            return
        score = mean_score(records, lanes[0].mode)
        halved = all(record["status"] == HALVED for record in records)
        if not self.study.tell(claim, records, score, lanes[0].step if halved else None):
            self.say(f"trial {claim.point}: others took this worker for dead and trained it anew; theirs counts")
        self.heartbeat.held.discard(claim.trial)

    def _keep(self, claims: Sequence[Claim], ended: Ended) -> None:
        """Writes out trials, and removes those written out before that are not the best any more."""
        best = self.study.best_point()
        for i, lane in enumerate(ended.lanes):
            wanted = self.options.keep == "all" or (self.options.keep == "best" and lane.trial.point == best)
            if wanted and lane.status != TAKEN:
                export(lane, row(ended.last, i), row(ended.best, i), self.options.devices)
        if self.options.keep == "best":
            for checkpoints in (self.options.workdir / "trials").glob("*/checkpoints"):
                if not checkpoints.parent.name.startswith(f"{best:04d}-"):
                    with locked(checkpoints.parent) as mine:  # not while another worker writes there
                        if mine:
                            shutil.rmtree(checkpoints)


def mean_score(records: Sequence[dict[str, Any]], mode: str) -> float:
    """What a sampler learns from: the mean over seeds of the best score; the worst there is where a lane diverged."""
    worst = -math.inf if mode == "max" else math.inf
    if any(record["status"] == DIVERGED or record["score"] is None for record in records):
        return worst
    mean = float(np.mean([record["score"] for record in records]))
    return mean if math.isfinite(mean) else worst
