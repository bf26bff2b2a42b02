"""The record of one lane beside its state: metrics, the best score so far, its status.

`export` writes a lane as an ordinary working directory, which `evaluate`, `generate` and a resumed `train` accept.
"""

import contextlib
import dataclasses
import math
from pathlib import Path
from typing import Any

import jax

from experiments import settings
from experiments.data.stored_json import Table, read_json
from experiments.runs.run_data import write_run_data
from experiments.storage.checkpoints import Checkpoints
from experiments.storage.metrics import Metrics
from experiments.storage.retention import Retention
from experiments.storage.workdir import open_workdir
from experiments.sweeping.groups import Trial, trial_name
from experiments.sweeping.study import POINT, SweepStudy, TakenTrial
from experiments.training.early_stopping import EarlyStopping
from experiments.training.evaluation import Evaluation
from experiments.training.loop import MetricsWindow
from transformer.errors import UserError, problem

CLAIMS = Table({"claims": [Table({"point": int, "values": dict, "trial": int})], "trials": [str]})
"""Shape of claims.json."""

RUNNING = "running"
FINISHED = "finished"
EARLY = "stopped early"
HALVED = "halved"
DIVERGED = "diverged"
TAKEN = "taken"
"""The status of a lane that another worker took while no worker trained it here."""


@dataclasses.dataclass
class LaneRecord:
    """The record of one trial that is trained as a lane.

    Attributes:
        trial: the trial.
        metrics: its metrics.jsonl.
        recent_metrics: metrics of the steps since the last line was written.
        early_stopping: early stopping by training.patience.
        status: RUNNING, or the reason of its end.
        step: updates done at its end.
        best: (step, score) of the best evaluation, the newest of equals.
        curve: (step, score) of every evaluation.
        evaluations: "best" and "last" -> the scores of the validation split.
        test: the scores of the test split, at the end.
    """

    trial: Trial
    metrics: Metrics
    recent_metrics: MetricsWindow
    early_stopping: EarlyStopping
    status: str = RUNNING
    step: int = 0
    best: tuple[int, float] | None = None
    curve: list[tuple[int, float]] = dataclasses.field(default_factory=list)
    evaluations: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    test: dict[str, float] = dataclasses.field(default_factory=dict)

    @classmethod
    def at(cls, trial: Trial, step: int = 0) -> "LaneRecord":
        """Create the record of a trial after `step` updates and its directory; remove metrics of later steps."""
        trial.workdir.mkdir(parents=True, exist_ok=True)
        output = trial.experiment.config.training.output
        metrics = Metrics(trial.workdir, output.tensorboard)
        metrics.cut_back(step)
        return cls(trial, metrics, MetricsWindow([]), EarlyStopping(output.best))

    @property
    def mode(self) -> str:
        """The direction in which the score is better: "max" or "min"."""
        return self.trial.experiment.task.metrics[self.early_stopping.metric].mode

    def log(self, step: int) -> None:
        """Write the line of metrics for the steps since the last one."""
        if self.recent_metrics.steps:
            self.metrics.write(step, "train", self.trial.experiment.task.named(self.recent_metrics.summary()))
            self.recent_metrics.steps = []

    def evaluate(self, step: int, evaluation: Evaluation, params: Any) -> bool:
        """Compute the scores of the validation split; return whether this is the best evaluation so far."""
        task, training = self.trial.experiment.task, self.trial.experiment.config.training
        scores = evaluation.score(params, task.splits.validation)
        self.metrics.write(step, "validation", scores)
        score = scores[self.early_stopping.metric]
        self.curve.append((step, score))
        patience, every = training.patience, training.output.evaluate_every
        self.early_stopping = self.early_stopping.after(step, score, self.mode, patience, every)
        sign = 1.0 if self.mode == "max" else -1.0
        best = math.isfinite(score) and (self.best is None or sign * score >= sign * self.best[1])
        self.best = (step, score) if best else self.best
        self.evaluations |= {"last": scores, **({"best": scores} if best else {})}
        return best

    def end(self, step: int, status: str, evaluation: Evaluation | None = None, params: Any = None) -> None:
        """Record the end of the lane; with an evaluation, compute the scores of the test split where there is one."""
        self.log(step)
        self.status, self.step = status, step
        task = self.trial.experiment.task
        if evaluation is not None and task.splits.test:
            self.test = evaluation.score(params, task.splits.test)
            self.metrics.write(step, "test", self.test)

    def outcome(self) -> dict[str, Any]:
        """Return the part that a study stores, as JSON can hold it.

        `score` is the best of `metric`, `validation_loss` the loss of that evaluation; None without a finite score.
        """
        return {
            "point": self.trial.point,
            "seed": self.trial.seed,
            "status": self.status,
            "step": self.step,
            "metric": self.early_stopping.metric,
            "score": None if self.best is None else self.best[1],
            "best_step": None if self.best is None else self.best[0],
            "validation_loss": self.evaluations.get("best", {}).get(self.trial.experiment.task.names["loss"]),
            "curve": self.curve,
            "validation": self.evaluations.get("last", {}),
            "test": self.test,
            "workdir": str(self.trial.workdir),
        }

    def to_record(self) -> dict[str, Any]:
        """Return the part that a checkpoint stores, as JSON can hold it; other keys would not continue older sweeps."""
        plain = ("status", "step", "best", "curve", "evaluations", "test")
        return {
            "window": self.recent_metrics.fetch(),
            "streak": self.early_stopping.to_record(),
            **{name: getattr(self, name) for name in plain},
        }

    @classmethod
    def from_record(cls, trial: Trial, record: dict[str, Any], step: int) -> "LaneRecord":
        """Read the record from a checkpoint of `step`."""
        lane = cls.at(trial, step)
        lane.recent_metrics = MetricsWindow(record["window"])
        patience = trial.experiment.config.training.patience
        lane.early_stopping = EarlyStopping.from_record(record["streak"], lane.early_stopping.metric, patience)
        lane.status, lane.step = record["status"], record["step"]
        lane.best = None if record["best"] is None else tuple(record["best"])
        lane.curve = [tuple(pair) for pair in record["curve"]]
        lane.evaluations, lane.test = record["evaluations"], record["test"]
        return lane


def export_config(trial: Trial, devices: str) -> None:
    """Write config.json of a trial whose checkpoints are not kept; a trial that another worker writes is left as it is.

    Args:
        devices: the platform and its devices, in words.
    """
    workdir, data = trial.workdir, trial.experiment.task.splits.fingerprint
    if not (workdir / "checkpoints").exists():
        (workdir / "config.json").unlink(missing_ok=True)  # of another study
    config = settings.to_json_dict(trial.experiment.config)
    with contextlib.suppress(UserError):
        open_workdir(workdir, config, differences=settings.differences, devices=devices, data=data).close()


def export(lane: LaneRecord, last: Any, best: Any, devices: str) -> None:
    """Write config, tokenizers and checkpoints of a trial beside its metrics, which exist already.

    Args:
        lane: a lane that has ended.
        last: its state at the end.
        best: its state at `lane.best`.
        devices: the platform and its devices, in words.

    Raises:
        UserError, OSError: the directory cannot be written, or holds another run.
    """
    experiment, workdir = lane.trial.experiment, lane.trial.workdir
    config, task = settings.to_json_dict(experiment.config), experiment.task
    best_metric = lane.early_stopping.metric
    with (
        open_workdir(workdir, config, differences=settings.differences, devices=devices, data=task.splits.fingerprint),
        Checkpoints(
            workdir / "checkpoints",
            Retention.of(experiment.config.training),
            best_metric,
            lane.mode,
        ) as checkpoints,
    ):
        write_run_data(workdir, task)
        record = {
            "config": config,
            "window": lane.recent_metrics.fetch(),
            "early_stopping": lane.early_stopping.to_record(),
        }
        if lane.best is not None and lane.best[0] != lane.step:
            checkpoints.save(lane.best[0], jax.device_put(best), record, lane.evaluations["best"])
        evaluated = lane.step in dict(lane.curve)
        checkpoints.save(lane.step, jax.device_put(last), record, lane.evaluations["last"] if evaluated else None)


def read_claims(path: Path, study: SweepStudy) -> tuple[list[TakenTrial], list[str]]:
    """Read claims.json of lanes: the points that their worker has taken, and the names of the trials, in order.

    Raises:
        UserError: the file is damaged, or of another study.
    """
    do = f"Delete {path.parent}: its trials are trained again from the start."
    record = read_json(path, CLAIMS, do=do)
    taken = [TakenTrial(claim["point"], claim["values"], claim["trial"]) for claim in record["claims"]]
    names = {trial_name(one.point, seed) for one in taken for seed in study.space.seeds}
    of_study = {(trial.user_attrs.get(POINT), study.id_of(trial)) for trial in study.trials()}
    if not {(one.point, one.trial) for one in taken} <= of_study or not set(record["trials"]) <= names:
        raise problem(f"{path} is of another study", do=do)
    return taken, record["trials"]
