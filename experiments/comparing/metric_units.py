"""What a metric's name says of its unit and direction, where there is no task at hand: a table of endings.

A task knows its own (`Task.metrics`), but making one reads the data, which a run that is looked at later may have
outlived. `causal_loss` ends in `loss`, and so on.
"""

from experiments.tasks.task import TOKEN_UNITS, Metric, token_metrics

ENDINGS: dict[str, Metric] = {
    "exact_match": Metric("max", "of answers"),
    "bleu": Metric("max", "BLEU"),
    "label_loss": Metric("min", "nats per label"),
    "label_accuracy": Metric("max", "of labels"),
    **token_metrics({key: f"masked_{key}" for key in TOKEN_UNITS}, "hidden token"),
    **token_metrics({key: f"span_{key}" for key in TOKEN_UNITS}, "hidden token"),
    **token_metrics({key: key for key in TOKEN_UNITS}),
}
"""Ending of a name, whole words of it -> metric; the first that fits counts."""


def metric_of(name: str) -> Metric | None:
    """The metric that a name ends in; None: one that the table does not know."""
    return next((metric for ending, metric in ENDINGS.items() if f"_{name}".endswith(f"_{ending}")), None)
