"""Scores of a classifier by label: precision, recall and F1 of each, and the mean F1 of all (macro-F1).

    precision = right / predicted        recall = right / examples        F1 = 2 right / (predicted + examples)

A label that is neither predicted nor the label of an example is in no mean; van Rijsbergen 1979, "Information
retrieval", chapter 7. The intervals of precision and recall are Wilson's.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from rich.table import Table

from experiments.comparing.statistics import Value, number, share_of
from experiments.training.tables import add, text_table

MOST_PRINTED = 20
"""Most labels of which a line is printed: those with the lowest F1."""


class LabelScores(NamedTuple):
    """The scores of one label."""

    label: str
    precision: Value | None
    """Share of right ones among those predicted, which it counts; None where it is never predicted."""
    recall: Value | None
    """Share of right ones among its examples, which it counts; None where it has no example."""
    f1: float
    """0 where no prediction of it is right."""


def label_scores(counts_CC: Int[np.ndarray, "C C"], classes: Sequence[str]) -> list[LabelScores]:
    """Compute the scores of each label that is predicted or has an example.

    Args:
        counts_CC: number of examples by (label, predicted label).
    """
    found = []
    for i, label in enumerate(classes):
        right, predicted, examples = (int(x) for x in (counts_CC[i, i], counts_CC[:, i].sum(), counts_CC[i].sum()))
        if predicted or examples:
            precision, recall = (share_of(right, n) if n else None for n in (predicted, examples))
            found.append(LabelScores(label, precision, recall, 2 * right / (predicted + examples)))
    return found


def macro_f1(scores: Sequence[LabelScores]) -> float:
    """Compute the mean F1 of labels."""
    return float(np.mean([score.f1 for score in scores]))


def label_table(scores: Sequence[LabelScores]) -> Table:
    """Build a table of labels; of more than MOST_PRINTED, those with the lowest F1."""
    worst = sorted(range(len(scores)), key=lambda i: scores[i].f1)[:MOST_PRINTED]
    title = None if len(scores) <= MOST_PRINTED else f"the {MOST_PRINTED} of {len(scores)} labels with the lowest F1"
    table = text_table(title, ["label", "examples", "precision", "recall", "F1"])
    for score in (scores[i] for i in sorted(worst)):
        shares = ["-" if x is None else number(x.value) for x in (score.precision, score.recall)]
        add(table, [score.label, f"{score.recall.count if score.recall else 0:,}", *shares, number(score.f1)])
    return table


def confusion_counts(labels: Int[np.ndarray, "I"], predicted: Int[np.ndarray, "I"], classes: int) -> np.ndarray:
    """Count examples by (label, predicted label), C C."""
    counts_CC = np.zeros((classes, classes), np.int64)
    np.add.at(counts_CC, (labels, predicted), 1)
    return counts_CC
