"""Settings of the training loop and of its output."""

import dataclasses

from transformer.read_by import unless
from transformer.schema import at_least, fraction, setting

STOPPING = ("training.output.evaluate_every", "training.output.best")
"""Settings that decide when training.patience ends a run; with it, they may not differ on resume."""


@dataclasses.dataclass(frozen=True)
class OutputConfig:
    """Logging, evaluation and checkpoints. None changes what is computed, except when patience ends it."""

    log_every: int = setting(
        50,
        "steps between training lines of metrics.jsonl, each a mean over the steps since the last one, with dropout on",
        check=at_least(1),
        changes_result=False,
    )
    evaluate_every: int = setting(
        500, "steps between evaluations of the validation split", check=at_least(1), changes_result=False
    )
    best: str | None = setting(
        None,
        "validation metric that selects the best checkpoint; none: the task's first",
        changes_result=False,
    )
    checkpoint_seconds: float = setting(
        120.0,
        "interval between checkpoints (seconds); the first one comes within the first minute",
        check=at_least(0.001, 1e9),
        changes_result=False,
    )
    keep_last: int = setting(
        2, "number of newest checkpoints kept, in addition to the best", check=at_least(1), changes_result=False
    )
    keep_every: int | None = setting(
        None,
        "steps between checkpoints that training.average_last averages; none: training.output.evaluate_every",
        check=at_least(1),
        changes_result=False,
    )
    tensorboard: bool = setting(True, "event files for TensorBoard, in addition to metrics.jsonl", changes_result=False)
    trackers: tuple[str, ...] = setting(
        (),
        "further programs that get the config, the metrics and the pictures: mlflow, wandb (Weights & Biases, offline)",
        allowed=("mlflow", "wandb"),
        changes_result=False,
    )

    @property
    def average_every(self) -> int:
        """Steps between the checkpoints that may be averaged."""
        return self.keep_every or self.evaluate_every


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Length of training, size of batches, averages, and output."""

    steps: int = setting(2_000, "number of training steps (parameter updates)", check=at_least(1))
    batch_size: int = setting(
        64,
        "examples per update",
        check=at_least(1),
        read_by=unless("training.batch_tokens"),
    )
    batch_tokens: int | None = setting(
        None,
        "tokens per update, padding included, of the longer side; none: training.batch_size examples",
        check=at_least(1),
    )
    accumulation: int = setting(
        1, "gradient accumulation: number of parts that a batch is computed in", check=at_least(1)
    )
    label_smoothing: float | None = setting(
        None, "share of each label's probability that is spread over all tokens; none: no smoothing", check=fraction
    )
    initial_scale: float = setting(
        1.0, "factor on the initial values of matrices and embeddings", check=at_least(1e-6, 1e6)
    )
    ema_decay: float | None = setting(
        None, "decay of the moving average of the parameters; none: no average", check=fraction
    )
    average_last: int = setting(
        1,
        "number of newest checkpoints averaged for evaluation after training; 1: no averaging",
        check=at_least(1),
        changes_result=False,
    )
    patience: int | None = setting(
        None,
        "number of evaluations in a row without a better training.output.best that end training; none: all steps",
        check=at_least(1),
    )
    output: OutputConfig = setting(OutputConfig, "logging, evaluation and checkpoints")
