"""The training loop of lanes: trials of one group, from their first step to the end of each.

What `training.loop` does for one run it does for each lane, at the same steps, with the same numbers: metrics,
evaluations, the best state, early stopping. The states of all lanes are checkpointed together:

    DIR/checkpoints/STEP    {"last", "best"}: states with a leading R; and the record of each lane

Lanes that have ended (by divergence, early stopping or successive halving) leave the program once a smaller one holds
the others: half as many, or after a halving. Successive halving stops the worse half of the points at each rung, with a
factor of 2 among the points of one program: Jamieson and Talwalkar 2016, https://arxiv.org/abs/1502.07943.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.runs.init_from import first_states
from experiments.storage.checkpoints import Checkpoints, Restored
from experiments.sweeping.attributes import EARLY, FINISHED, HALVED, RUNNING, TAKEN
from experiments.sweeping.groups import Trial
from experiments.sweeping.lanes import Programs, mean_loss, padded, place, row, stacked
from experiments.sweeping.ranking import rungs, worse_half
from experiments.sweeping.record import LaneRecord, check_records
from experiments.training.evaluation import Evaluation
from experiments.training.loop import batch_size_of
from experiments.training.progress import Progress
from experiments.training.signals import StopRequest
from transformer.errors import counted


@dataclasses.dataclass(frozen=True)
class LanesResult:
    """The result of `LanesRun.run`: the record of each lane, and its states on the host."""

    lanes: list[LaneRecord]
    last: Any
    """The states of the lanes at their end, with a leading R."""
    best: Any
    """The states of the best evaluation of each."""


class LanesRun:
    """Training of the trials of one group, side by side.

    Args:
        trials: trials that differ in settings of `groups.FREE` alone.
        directory: directory of their common checkpoints.
        programs: programs of the group; the caller keeps them, so that no size is compiled twice.
        shared: whether all lanes learn from the data of the first.
        halvings: number of times that the worse half of the points stops.
        stop: read between steps.
        print_line: prints a line.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        directory: Path,
        programs: Programs,
        *,
        shared: bool,
        halvings: int = 0,
        stop: StopRequest | None = None,
        print_line: Callable[[str], None] = print,
    ):
        self.trials, self.programs, self.shared = list(trials), programs, shared
        self.training = trials[0].experiment.config.training
        self.rungs = rungs(self.training.steps, self.training.output.evaluate_every, halvings)
        self.stop, self.print_line = stop or StopRequest(), print_line
        self.checkpoints = Checkpoints(directory / "checkpoints", 1, self.training.output.best, print_line=print_line)
        self.active: list[int] = []
        self.pending: list[Any] = []
        self.lane_trials = np.zeros(0, np.int64)
        self._evaluations: dict[tuple[int, int | None], Evaluation] = {}
        self._saved_at = time.monotonic()

    def run(self, step: int, progress: Progress) -> LanesResult:
        """Train from a step until every lane has ended or a stop is requested; what is returned is saved too."""
        with self.checkpoints:
            iterators, before = self._batch_iterators(step), None
            self._load()
            while self.active and self.stop.received is None:
                batch = self._batch(iterators)
                self.states, self.running, metrics = self.programs(
                    self.states, self.running, batch, self.hyperparameters
                )
                if before is not None:  # one step behind, so that the devices always have work
                    evaluated = step % self.training.output.evaluate_every == 0
                    self._show(progress, step, before, batch, evaluated)
                step, before = step + 1, (metrics["loss"], self.running)
                self.pending.append(metrics)
                self._after_step(step)
            if before is not None:
                self._show(progress, step, before, batch, evaluated=True)
            self._copy_to_host(step)
            self._save(step)
        return self._closed()

    def _show(self, progress: Progress, step: int, of_step: tuple[Any, Any], batch: Any, evaluated: bool) -> None:
        """Show the mean loss of a step's running lanes, and count the batch whose update has begun since.

        Args:
            of_step: losses of the step, and the lanes that it was computed for.
        """
        size = batch_size_of(batch)
        size["shape"] = (len(self.lane_trials), size["shape"])  # each number of lanes has programs of its own
        progress.update(step, loss=mean_loss(*of_step), evaluated=evaluated, **size)

    def restore_or_start(self, trained_here: Callable[[Trial], bool] = lambda trial: True) -> int:
        """Set the lanes' records and states on the host, from the checkpoint where there is one.

        Args:
            trained_here: whether a trial is still to be trained by this worker.

        Returns:
            The step that training continues from.
        """
        step = self._restore()
        for lane in self.lanes:
            if lane.status == RUNNING and not trained_here(lane.trial):
                lane.status = TAKEN
        return step

    def _restore(self) -> int:
        if self.checkpoints.latest_step() is None:
            first = first_states(self.trials[0].experiment, self.trials[0].origin)
            self.last = stacked([first(trial.experiment.hyperparameters) for trial in self.trials])
            self.best = jax.tree.map(np.copy, self.last)
            self.lanes = [LaneRecord.at(trial) for trial in self.trials]
            return 0
        return self._restore_from(self._saved())

    def restore_ended(self) -> LanesResult | None:
        """Restore lanes that have all ended; return None, and write nothing, where one has not or none is saved.

        Raises:
            UserError: the checkpoint cannot be read, or is of other lanes.
        """
        with self.checkpoints:
            saved = None if self.checkpoints.latest_step() is None else self._saved()
        if saved is None or any(record["status"] == RUNNING for record in saved.extra["lanes"]):
            return None
        self._restore_from(saved)
        return self._closed()

    def _saved(self) -> Restored:
        """Read the newest checkpoint."""
        example = jax.eval_shape(self.trials[0].experiment.initial_state, self.trials[0].experiment.hyperparameters)
        many = jax.tree.map(lambda x: jax.ShapeDtypeStruct((len(self.trials), *x.shape), x.dtype), example)
        saved = self.checkpoints.restore({"last": many, "best": many})
        check_records(saved.extra, len(self.trials), self.checkpoints.directory)
        return saved

    def _restore_from(self, saved: Restored) -> int:
        self.last, self.best = (jax.tree.map(np.array, saved.state[name]) for name in ("last", "best"))
        records = zip(self.trials, saved.extra["lanes"], strict=True)
        self.lanes = [LaneRecord.from_record(trial, record, saved.step) for trial, record in records]
        return saved.step

    def _closed(self) -> LanesResult:
        """Close the metrics of the lanes; return what became of them."""
        for lane in self.lanes:
            lane.metrics.close()
        return LanesResult(self.lanes, self.last, self.best)

    def _load(self, worthwhile: Callable[[int, int], bool] = lambda new, old: True) -> None:
        """Copy the lanes that are running from the host to the devices, for the smallest program that holds them.

        Args:
            worthwhile: (new number of lanes, old one) -> whether to change programs; otherwise lanes that have ended
                keep their place.
        """
        self.active = [i for i, lane in enumerate(self.lanes) if lane.status == RUNNING]
        if not self.active:
            return
        mesh, count = self.programs.mesh, len(self.active)
        size = padded(count, mesh.size)
        if len(self.lane_trials) and not worthwhile(size, len(self.lane_trials)):
            self.running = place(np.asarray(self.running) & np.isin(self.lane_trials, self.active), mesh)
            return
        self.lane_trials = np.array(self.active + self.active[:1] * (size - count))
        hyperparameters = stacked([self.trials[i].experiment.hyperparameters for i in self.lane_trials])
        self.hyperparameters = place(hyperparameters, mesh)
        self.states = place(jax.tree.map(lambda x: x[self.lane_trials], self.last), mesh)
        self.running = place(np.arange(size) < count, mesh)

    def _batch_iterators(self, step: int) -> dict[int, Iterator[Any]]:
        """Return the batches of each seed of the data, from a step on."""
        trials = self.trials[:1] if self.shared else self.trials
        tasks = {trial.experiment.config.data_seed: trial.experiment.task for trial in trials}
        return {seed: task.training_batches(step) for seed, task in tasks.items()}

    def _batch(self, iterators: dict[int, Iterator[Any]]) -> Any:
        """Return the batch of all lanes, or one for each with a leading R."""
        batches = {seed: next(iterator) for seed, iterator in iterators.items()}
        if self.shared:
            return next(iter(batches.values()))
        return stacked([batches[self.trials[i].experiment.config.data_seed] for i in self.lane_trials])

    def _after_step(self, step: int) -> None:
        """Log, evaluate, halve and save where it is due after a step, for each lane as `Loop` does it."""
        output, last = self.training.output, step == self.training.steps
        if step % output.log_every == 0 or last:
            self._fetch(step)
            for i in self.active:
                self.lanes[i].log(step)
        evaluated = step % output.evaluate_every == 0 or last
        if evaluated:
            self._copy_to_host(step)
            for i in self.active:
                self._evaluate(i, step, last)
            if step in self.rungs:
                self._halve(step)
            self._load(lambda new, old: new < old and (step in self.rungs or 2 * new <= old))
        if evaluated or self.stop.received is not None or self._checkpoint_is_due():
            if not evaluated:
                self._copy_to_host(step)
            self._save(step)

    def _fetch(self, step: int) -> None:
        """Wait for the steps since the last call, add their metrics to each lane, and end lanes that diverged."""
        fetched = [jax.device_get(metrics) for metrics in self.pending]
        self.pending = []
        for i in list(self.active):
            at = self._lane_of(i)
            for number, metrics in enumerate(fetched, start=step - len(fetched) + 1):
                values = {name: float(column[at]) for name, column in metrics.items()}
                if not (math.isfinite(values["loss"]) and math.isfinite(values["gradient_norm"])):
                    self.active.remove(i)
                    _assign(self.last, i, jax.device_get(row(self.states, at)))
                    self.lanes[i].diverge(number, values)
                    self.print_line(
                        f"{self.trials[i]} has diverged: its loss or gradient is not finite at step {number}"
                    )
                    break
                self.lanes[i].recent_metrics.add(values)

    def _evaluate(self, i: int, step: int, last: bool) -> None:
        lane, params = self.lanes[i], row(self.last, i).evaluated_params
        evaluation = self._evaluation(lane.trial)
        if lane.evaluate(step, evaluation, params):
            _assign(self.best, i, row(self.last, i))
        stopped = lane.early_stopping.stopped and not last
        if stopped:
            self.print_line(f"{lane.trial} stops at step {step}: {lane.early_stopping}")
        if last or stopped:
            lane.end(step, EARLY if stopped else FINISHED, evaluation, params)

    def _halve(self, step: int) -> None:
        """End the worse half of the points that are running."""
        worse, count = worse_half(self.lanes)
        for lane in self.lanes:
            if lane.status == RUNNING and lane.trial.point in worse:
                lane.end(step, HALVED)
        if worse:
            self.print_line(f"step {step}: {len(worse)} of {counted(count, 'trial')} stop, the worse half")

    def _evaluation(self, trial: Trial) -> Evaluation:
        """Return the programs of evaluation, shared by trials of the same data (and seed, if decoding is random)."""
        experiment, config = trial.experiment, trial.experiment.config
        key = id(experiment.task), config.seed if config.decoding.chosen().random else None
        if key not in self._evaluations:
            self._evaluations[key] = Evaluation(experiment.model, experiment.task, config.decoding, config.seed)
        return self._evaluations[key]

    def _copy_to_host(self, step: int) -> None:
        """Copy the states of the lanes to the host, after ending those that diverged."""
        self._fetch(step)
        states = jax.device_get(self.states) if self.active else None
        for i in self.active:
            _assign(self.last, i, row(states, self._lane_of(i)))

    def _lane_of(self, i: int) -> int:
        """Return the lane of the program that trains a trial; lanes that only fill the program come after."""
        return int(np.flatnonzero(self.lane_trials == i)[0])

    def _checkpoint_is_due(self) -> bool:
        return time.monotonic() - self._saved_at >= self.training.output.checkpoint_seconds

    def _save(self, step: int) -> None:
        for lane in self.lanes:
            lane.metrics.flush()
        copied = jax.tree.map(np.copy, {"last": self.last, "best": self.best})  # the background still reads it
        self.checkpoints.save(step, copied, {"lanes": [lane.to_record() for lane in self.lanes]})
        self._saved_at = time.monotonic()


def _assign(lanes: Any, i: int, state: Any) -> None:
    """Write one lane of a tree on the host."""
    for leaf, value in zip(jax.tree.leaves(lanes), jax.tree.leaves(state), strict=True):
        leaf[i] = value
