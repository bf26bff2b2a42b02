"""Early stopping: a function of the validation scores alone, so a run that is resumed stops at the same step.

Prechelt 1998, "Early stopping - but when?": training stops after `patience` evaluations in a row without a better one.
"""

import dataclasses
import math
from typing import Any

from transformer.errors import counted


@dataclasses.dataclass(frozen=True)
class EarlyStopping:
    """The best validation score so far, and the number of evaluations since. `to_record` goes into the checkpoint.

    Attributes:
        metric: the score's name.
        best: None before the first finite one.
        best_step: the step of that score.
        since: evaluations in a row without a better one.
        stopped: whether this ended training.
    """

    metric: str
    best: float | None = None
    best_step: int = 0
    since: int = 0
    stopped: bool = False

    def after(self, step: int, score: float, mode: str, patience: int | None) -> "EarlyStopping":
        """Count one more evaluation; an equal score is no better one, and neither is NaN.

        Args:
            step: updates done.
            score: the metric's value.
            mode: "max" or "min".
            patience: evaluations without a better one that stop training; None: no number does.
        """
        sign = 1.0 if mode == "max" else -1.0
        if math.isfinite(score) and (self.best is None or sign * score > sign * self.best):
            return EarlyStopping(self.metric, score, step)
        since = self.since + 1
        return dataclasses.replace(self, since=since, stopped=patience is not None and since >= patience)

    def __str__(self) -> str:
        best = "a number" if self.best is None else f"{self.best:.4g} of step {self.best_step}"
        evaluations = counted(self.since, "evaluation")
        return f"validation {self.metric} was not better than {best} in {evaluations} (training.patience)"

    def to_record(self) -> dict[str, Any]:
        """Convert to what JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any] | None, metric: str) -> "EarlyStopping":
        """Read the record of a checkpoint; begin anew without one, or with one of another metric that did not stop."""
        if record is None or (record["metric"] != metric and not record["stopped"]):
            return cls(metric)
        return cls(**record)
