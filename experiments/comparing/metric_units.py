"""The unit, direction and bounds of a metric by the ending of its name: `causal_loss` ends in `loss`, and so on.

A task has its own table (`Task.metrics`), but building one reads the data, which may be gone when runs are compared;
of scores from outside, the run has a file (`storage.units`).
"""

from collections.abc import Mapping

from experiments.comparing.statistics import UNBOUNDED, Bounds
from experiments.tasks.metrics import METRICS
from experiments.tasks.task import SHARE, TOKEN_UNITS, Metric, token_metrics

ENDINGS: dict[str, Metric] = {
    "exact_match": Metric("max", "of answers", SHARE),
    "bleu": Metric("max", "BLEU", (0.0, 100.0)),
    "chrf": Metric("max", "chrF", (0.0, 100.0)),
    "label_loss": Metric("min", "nats per label"),
    "label_accuracy": Metric("max", "of labels", SHARE),
    **token_metrics({key: f"masked_{key}" for key in TOKEN_UNITS}, "hidden token"),
    **token_metrics({key: f"span_{key}" for key in TOKEN_UNITS}, "hidden token"),
    **token_metrics({key: key for key in TOKEN_UNITS}),
}
"""Ending of a name, in whole words -> metric; the first that matches counts."""

BETTER = {"max": "higher", "min": "lower"}
"""Direction of a metric -> the word for its better values."""


def metric_of(name: str, own: Mapping[str, Metric]) -> Metric | None:
    """Return the metric of a name, or that which it ends in; None where there is none.

    Args:
        own: metrics of a run, as `storage.units` has them of one with scores from outside.
    """
    if name in own:
        return own[name]
    if name in METRICS:
        row = METRICS[name]
        return Metric(row.mode, row.unit, row.bounds)
    return next((metric for ending, metric in ENDINGS.items() if f"_{name}".endswith(f"_{ending}")), None)


def bounds_of(name: str, own: Mapping[str, Metric]) -> Bounds:
    """Return the least and the greatest value of a metric; infinities where there is none of this name."""
    metric = metric_of(name, own)
    return UNBOUNDED if metric is None else metric.bounds
