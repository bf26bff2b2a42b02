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

    def after(self, step: int, score: float, mode: str, patience: int | None, every: int = 1) -> "EarlyStopping":
        """Count one more evaluation; an equal score is no better one, and neither is NaN.

        Args:
            step: updates done.
            score: the metric's value.
            mode: "max" or "min".
            patience: evaluations without a better one that stop training; None: no number does.
            every: interval of those that count (steps): that of a last step between two does not, so that a run which
                is made longer stops where one stops that had its length from the start.
        """
        if step % every:
            return self
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
    def from_record(cls, record: dict[str, Any] | None, metric: str, patience: int | None) -> "EarlyStopping":
        """Read the record of a checkpoint; begin anew without one, or with one of another metric that did not stop.

        Args:
            patience: that of this session, which may be larger than the one that stopped the run.
        """
        stopped = record is not None and patience is not None and record["since"] >= patience
        if record is None or (record["metric"] != metric and not stopped):
            return cls(metric)
        return cls(**{**record, "stopped": stopped})
