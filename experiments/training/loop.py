"""The training loop: everything with a side effect around the pure `update`.

A run is a function of its config: killed at any moment and started again, it continues from the newest checkpoint and
ends with the same bits. So everything between two checkpoints is in the state, or recomputed, or (the metrics since
the last line was written, the evaluations without a better score) in the checkpoint's record.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from experiments.parallel.agreement import Agreement
from experiments.parallel.processes import processes
from experiments.storage.checkpoints import Checkpoints
from experiments.storage.metrics import Metrics
from experiments.training.early_stopping import EarlyStopping
from experiments.training.evaluation import Evaluation
from experiments.training.experiment import Experiment
from experiments.training.progress import Progress
from experiments.training.signals import StopRequest
from experiments.training.update import State

FIRST_CHECKPOINT_SECONDS = 20.0
"""Longest training time before the first checkpoint, so that a run can be continued from early on."""

Step = dict[str, Any]

OF_STEPS = ("gradient_norm", "learning_rate", "tokens")
"""Metrics of a step that are no means over its tokens."""


class NotFiniteError(Exception):
    """Error for a loss or gradient that is not finite; the message names the step, and what to change."""


@dataclasses.dataclass
class MetricsWindow:
    """The metrics of the steps since the last line was written: device arrays until `fetch`."""

    steps: list[Step]

    def add(self, metrics: Step) -> None:
        self.steps.append(metrics)

    def fetch(self) -> list[dict[str, float]]:
        """Wait for the steps, and convert their metrics to numbers."""
        self.steps = [{name: float(value) for name, value in step.items()} for step in self.steps]
        return self.steps

    def summary(self) -> dict[str, float]:
        """Average losses and accuracies over tokens, the gradient norm over steps; keep the last learning rate."""
        steps = self.fetch()
        tokens = sum(step["tokens"] for step in steps)
        over_tokens = {
            name: sum(step[name] * step["tokens"] for step in steps) / max(tokens, 1.0)
            for name in sorted(steps[0], key=lambda name: (name != "loss", name))
            if name not in OF_STEPS
        }
        return {
            **over_tokens,
            "gradient_norm": sum(step["gradient_norm"] for step in steps) / len(steps),
            **{name: steps[-1][name] for name in ("learning_rate",) if name in steps[-1]},
            "tokens": tokens,
        }


def restore_or_start(
    experiment: Experiment, checkpoints: Checkpoints, metrics: Metrics, first: State | None = None
) -> tuple[State, MetricsWindow, EarlyStopping]:
    """Restore the newest state that can be read, and cut the written metrics back to it; or take the first state.

    Args:
        first: the state to start from; None: the experiment's initial one.
    """
    best = checkpoints.best_metric
    if checkpoints.latest_step() is None:
        metrics.cut_back(0)
        first = experiment.started() if first is None else first
        return first, MetricsWindow([]), EarlyStopping(best)
    step, state, extra = checkpoints.restore(experiment.state_shapes)
    metrics.cut_back(step)
    patience = experiment.config.training.patience
    early_stopping = EarlyStopping.from_record(extra.get("early_stopping"), best, patience)
    return state, MetricsWindow(extra["window"]), early_stopping


class Loop:
    """Training loop: updates, and at their intervals metrics, evaluations and checkpoints.

    Args:
        experiment: model, task and config.
        config_dict: the resolved config, stored with each checkpoint.
        stop: read between steps.
        print_line: called with each line for the user.
        evaluation: computes the scores of examples; None: the experiment's own.
    """

    def __init__(
        self,
        experiment: Experiment,
        config_dict: dict,
        checkpoints: Checkpoints,
        metrics: Metrics,
        stop: StopRequest,
        print_line: Callable[[str], None],
        evaluation: Evaluation | None = None,
    ):
        self.experiment, self.config_dict = experiment, config_dict
        self.training = experiment.config.training
        self.checkpoints, self.metrics, self.stop, self.print_line = checkpoints, metrics, stop, print_line
        config = experiment.config
        placement = experiment.placement
        self.evaluation = evaluation or Evaluation(
            experiment.model, experiment.task, config.decoding, config.seed, placement=placement
        )
        self._processes = processes()
        self._agreement = None if placement is None or self._processes.count == 1 else Agreement(placement.mesh, 2)
        self._parts = 1 if placement is None else placement.share[1]
        self._agreed_stop: int | None = None
        self.early_stopping = EarlyStopping(checkpoints.best_metric)
        self._saved_at = time.monotonic()
        self._saved_step: int | None = None

    @property
    def stopped(self) -> int | None:
        """The number of the signal that stopped the training, in whichever process; None: none did."""
        return self.stop.received if self._agreement is None else self._agreed_stop

    def _asked(self, step: int) -> tuple[bool, bool]:
        """Return whether a stop is asked for, of any process, and whether a checkpoint is due after this step.

        Of several processes the first one decides what is due, and all have its answer one step later: an answer from
        before the newest checkpoint no longer counts.
        """
        due = self._checkpoint_is_due()
        if self._agreement is None:
            return self.stop.received is not None, due
        stop, due = self._agreement.of(self.stop.received or 0, int(due and self._processes.first))
        self._agreed_stop = self._agreed_stop or stop or None
        return self._agreed_stop is not None, bool(due) and (self._saved_step is None or step - 1 > self._saved_step)

    def run(
        self, state: State, recent_metrics: MetricsWindow, early_stopping: EarlyStopping, progress: Progress
    ) -> State:
        """Train from `state` to the last step, out of patience, or until a stop request; save the returned state.

        Raises:
            NotFiniteError: a loss or gradient is not finite. Nothing after it is saved.
        """
        update = self.experiment.update()
        first, last = int(state.step), self.training.steps
        self.early_stopping = early_stopping
        if first >= last or early_stopping.stopped:
            return state
        before: Step | None = None
        for step, batch in enumerate(self.experiment.training_batches(first), start=first + 1):
            state, metrics = update(state, self.experiment.put(batch), self.experiment.hyperparameters)
            recent_metrics.add(metrics)
            if before is not None:  # one step behind, so that the device always has work
                self._check(step - 1, before)
                evaluated = (step - 1) % self.training.output.evaluate_every == 0
                progress.update(
                    step - 1, loss=float(before["loss"]), evaluated=evaluated, **batch_size_of(batch, self._parts)
                )
            before = metrics
            if self._boundary(step, state, recent_metrics):
                progress.update(step, loss=float(metrics["loss"]), evaluated=True, **batch_size_of(batch, self._parts))
                break
        return state

    def _boundary(self, step: int, state: State, recent_metrics: MetricsWindow) -> bool:
        """Write, evaluate and save what is due after a step; return whether to stop."""
        output, last = self.training.output, step == self.training.steps
        if step % output.log_every == 0 or last:
            self._write_metrics(step, recent_metrics)
        scores = None
        if (step % output.evaluate_every == 0 or last) and self.experiment.task.splits.validation:
            self._check_all(step, recent_metrics)
            scores = self._evaluate(step, state)
            self.print_line(
                f"step {step}: validation " + ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
            )
            best, mode = self.checkpoints.best_metric, self.checkpoints.best_mode
            if best in scores:  # if not, saving raises
                patience, every = self.training.patience, output.evaluate_every
                self.early_stopping = self.early_stopping.after(step, scores[best], mode, patience, every)
            if self.early_stopping.stopped and not last:
                self.print_line(f"Stopping at step {step} of {self.training.steps}: {self.early_stopping}")
            last = last or self.early_stopping.stopped
        if last:
            if recent_metrics.steps:
                self._write_metrics(step, recent_metrics)
            self._test(step, state)
        stopping, due = self._asked(step)
        kept = output.keep_every is not None and step % output.keep_every == 0
        if last or scores is not None or stopping or kept or due:
            self._save(step, state, recent_metrics, scores)
        return stopping or last

    def _write_metrics(self, step: int, recent_metrics: MetricsWindow) -> None:
        self._check_all(step, recent_metrics)
        self.metrics.write(step, "train", self.experiment.task.named(recent_metrics.summary()))
        recent_metrics.steps = []

    def _evaluate(self, step: int, state: State) -> dict[str, float]:
        """Compute and write the scores of the validation split."""
        scores = self.evaluation.score(state.evaluated_params, self.experiment.task.splits.validation)
        self.metrics.write(step, "validation", scores)
        return scores

    def _test(self, step: int, state: State) -> None:
        """Compute and write the scores of the test split, at the end."""
        if self.experiment.task.splits.test:
            scores = self.evaluation.score(state.evaluated_params, self.experiment.task.splits.test)
            self.metrics.write(step, "test", scores)

    def _checkpoint_is_due(self) -> bool:
        interval = self.training.output.checkpoint_seconds
        wait = interval if self._saved_step is not None else min(interval, FIRST_CHECKPOINT_SECONDS)
        return time.monotonic() - self._saved_at >= wait

    def _save(self, step: int, state: State, recent_metrics: MetricsWindow, scores: dict[str, float] | None) -> None:
        self._check_all(step, recent_metrics)
        self.metrics.flush()
        record = {"window": recent_metrics.fetch(), "early_stopping": self.early_stopping.to_record()}
        self.checkpoints.save(step, state, {"config": self.config_dict, **record}, scores)
        self._saved_at, self._saved_step = time.monotonic(), step

    def _check_all(self, step: int, recent_metrics: MetricsWindow) -> None:
        """Wait for the recent steps, and raise NotFiniteError if one of them is not finite."""
        steps = recent_metrics.fetch()
        for number, metrics in enumerate(steps, start=step - len(steps) + 1):
            self._check(number, metrics)

    def _check(self, step: int, metrics: Step) -> None:
        bad = [name for name in ("loss", "gradient_norm") if not math.isfinite(float(metrics[name]))]
        if not bad:
            return
        self.metrics.write(step, "train", self.experiment.task.named(of_divergence(metrics)))
        self.checkpoints.wait()
        safe = self.checkpoints.latest_step()
        kept = f"The last good checkpoint is of step {safe}" if safe is not None else "There is no checkpoint yet"
        rate = f" (learning rate {float(metrics['learning_rate']):.3g})" if "learning_rate" in metrics else ""
        raise NotFiniteError(
            f"step {step}: not finite: {' and '.join(name.replace('_', ' ') for name in bad)}"
            f"{rate}. {kept}. Try a lower optimizer.learning_rate, "
            "a longer optimizer.warmup_steps or a lower optimizer.clip_norm, in another --workdir."
        )


def of_divergence(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a step that is not finite, for a line of metrics of its own: the last of a run."""
    return {name: float(metrics[name]) for name in ("loss", "gradient_norm")}


def batch_size_of(batch: dict[str, np.ndarray], parts: int = 1) -> dict[str, Any]:
    """Return the number of examples of a batch, that of its tokens without padding, and the shapes of its arrays.

    Args:
        parts: number of processes that have such a part of the batch each.
    """
    tokens = 0
    for side in ("source", "target"):
        if side in batch:
            tokens += int(batch[f"{side}_lengths"].sum()) if f"{side}_lengths" in batch else batch[side].size
    return {
        "examples": len(next(iter(batch.values()))) * parts,
        "tokens": tokens * parts,
        "shape": tuple(x.shape for x in batch.values()),
    }
