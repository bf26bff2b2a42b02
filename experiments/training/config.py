"""Settings of the training loop and of what it writes."""

import dataclasses

from transformer.read_by import Condition
from transformer.schema import above, at_least, fraction, setting

STOPPING = ("training.output.evaluate_every", "training.output.best")
"""Settings by which training.patience ends a run; with it, they may not differ on resume."""


@dataclasses.dataclass(frozen=True)
class OutputConfig:
    """What is written when. Nothing here changes what is computed, but STOPPING says when training.patience ends it."""

    log_every: int = setting(50, "steps between lines of metrics.jsonl", check=at_least(1), changes_result=False)
    evaluate_every: int = setting(500, "steps between evaluations", check=at_least(1), changes_result=False)
    best: str | None = setting(
        None,
        "validation metric that the best checkpoint is kept by; none: the task's first",
        changes_result=False,
    )
    checkpoint_seconds: float = setting(
        120.0,
        "seconds between checkpoints; the first comes within the first minute",
        check=above(0.0),
        changes_result=False,
    )
    keep_last: int = setting(2, "newest checkpoints kept, beside the best", check=at_least(1), changes_result=False)
    keep_every: int | None = setting(
        None,
        "steps between checkpoints that training.average_last averages; none: those of evaluations",
        check=at_least(1),
        changes_result=False,
    )
    tensorboard: bool = setting(True, "write event files", changes_result=False)

    @property
    def average_every(self) -> int:
        """Steps between the checkpoints that may be averaged."""
        return self.keep_every or self.evaluate_every


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How long, in what batches, and what is written when."""

    steps: int = setting(2_000, "updates", check=at_least(1))
    batch_size: int = setting(
        64,
        "examples per update",
        check=at_least(1),
        read_by=Condition(
            ("training.batch_tokens",),
            holds=lambda tokens: tokens is None,
            who=lambda tokens: f"training with training.batch_tokens = {tokens}",
            expected="training.batch_tokens none",
            do="Give one of them.",
        ),
    )
    batch_tokens: int | None = setting(
        None,
        "padded tokens of the longer side per update, in place of batch_size; none: batch_size counts",
        check=at_least(1),
    )
    accumulation: int = setting(1, "parts that a batch is computed in, one after another", check=at_least(1))
    label_smoothing: float | None = setting(
        None, "share of the target spread over all tokens; none: no", check=fraction
    )
    initial_scale: float = setting(1.0, "factor on the initial matrices and embeddings", check=above(0.0))
    ema_decay: float | None = setting(None, "decay of the averaged parameters; none: no average", check=fraction)
    average_last: int = setting(
        1,
        "checkpoints averaged for evaluation after training, the newest so many; 1: no",
        check=at_least(1),
        changes_result=False,
    )
    patience: int | None = setting(
        None,
        "evaluations in a row without a better score (output.best) that end training; none: all steps",
        check=at_least(1),
    )
    output: OutputConfig = setting(OutputConfig, "what is written when")
