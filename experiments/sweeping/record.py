"""The record of one lane beside its state: metrics, the best score so far, its status; and its stored forms."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from experiments.data.stored_json import Checked, Fields, flaw, read_json, unreadable
from experiments.runs.tracking import open_metrics
from experiments.storage.metrics import Metrics
from experiments.storage.retention import order
from experiments.storage.workdir import write_text_atomically
from experiments.sweeping.attributes import DIVERGED, NUMBERS, PAIR, RUNNING, STATUS
from experiments.sweeping.groups import Trial, trial_name
from experiments.sweeping.study import SweepStudy, TakenTrial
from experiments.training.early_stopping import EarlyStopping
from experiments.training.evaluation import Evaluation
from experiments.training.loop import MetricsWindow, of_divergence
from transformer.errors import counted, problem
from transformer.schema import Check

CLAIMS = Fields({"claims": [Fields({"point": int, "values": dict, "trial": int})], "trials": [str]})
"""Shape of claims.json."""

RECORDS = Fields(
    {
        "lanes": [
            Fields(
                {
                    "window": [NUMBERS],
                    "streak": (dict, None),
                    "status": Checked(str, Check(lambda status: status in STATUS, f"one of {', '.join(STATUS)}")),
                    "step": int,
                    "best": (PAIR, None),
                    "curve": [PAIR],
                    "evaluations": Fields({}, others=NUMBERS),
                    "test": NUMBERS,
                }
            )
        ]
    }
)
"""Shape of what a checkpoint of lanes stores beside their states, see `LaneRecord.to_record`."""


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
        best: (step, score) of the best evaluation, see `retention.order`.
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
        metrics = open_metrics(trial.workdir, trial.experiment.config)
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
        loss = task.names["loss"]
        own = order(score, scores.get(loss), self.mode)
        before = None if self.best is None else order(self.best[1], self.evaluations["best"].get(loss), self.mode)
        best = own[0] < math.inf and (before is None or own < before)
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

    def diverge(self, step: int, values: Mapping[str, float]) -> None:
        """Record the end of the lane before a step that is not finite, whose line is the last of its metrics."""
        self.end(step - 1, DIVERGED)
        self.metrics.write(step, "train", self.trial.experiment.task.named(of_divergence(values)))

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


def check_records(extra: Mapping[str, Any], lanes: int, directory: Path) -> None:
    """Raise a UserError unless a checkpoint in this directory holds the records of so many lanes."""
    why = flaw(extra, RECORDS, surrogates=True, finite=False)
    if why is None and len(extra["lanes"]) != lanes:
        why = f"it is of {counted(len(extra['lanes']), 'lane')}, expected {lanes:,}"
    if why is not None:
        raise unreadable(directory, why, f"Delete {directory.parent}: its trials are trained again from the start.")


def write_claims(path: Path, claims: Sequence[TakenTrial], trials: Sequence[Trial]) -> None:
    """Write claims.json of lanes: the points that their worker has taken, and the names of the trials, in order."""
    record = {"claims": [dataclasses.asdict(one) for one in claims], "trials": [trial.name for trial in trials]}
    write_text_atomically(path, json.dumps(record))


def read_claims(path: Path, study: SweepStudy) -> tuple[list[TakenTrial], list[str]]:
    """Read what `write_claims` has written.

    Raises:
        UserError: the file is damaged, or of another study.
    """
    do = f"Delete {path.parent}: its trials are trained again from the start."
    record = read_json(path, CLAIMS, do=do)
    taken = [TakenTrial(claim["point"], claim["values"], claim["trial"]) for claim in record["claims"]]
    names = {trial_name(one.point, seed) for one in taken for seed in study.space.seeds}
    known = {study.id_of(trial): trial for trial in study.trials()}
    own = all(one.trial in known and _is_of(one, known[one.trial], study) for one in taken)
    if not own or not set(record["trials"]) <= names:
        raise problem(f"{path} is of another study", do=do)
    return taken, record["trials"]


def _is_of(one: TakenTrial, trial: FrozenTrial, study: SweepStudy) -> bool:
    """Return whether a trial is the one that was taken; studies of earlier versions may lack its values."""
    return one.point == study.point_of(trial) and trial.params in ({}, one.values)
