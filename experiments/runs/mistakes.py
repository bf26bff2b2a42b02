"""The mistakes of a model, printed: its hardest groups, its confusions, and examples of both."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int
from rich.console import Console

from experiments.data.examples import Pair
from experiments.runs.open_run import Run
from experiments.runs.pictures import font_for, save
from experiments.training.evaluation import Evaluation
from transformer.inspection.plots import confusion


def print_answer_mistakes(
    console: Console, evaluation: Evaluation, pairs: Sequence[Pair], answers: Int[np.ndarray, "I M"], count: int
) -> None:
    """Print the hardest groups, and some mistakes.

    Args:
        answers: generated tokens of each pair.
        count: number of mistakes to print.
    """
    correct = evaluation.matches(answers, pairs)
    groups = np.array([pair.group for pair in pairs])
    if len(set(groups)) > 1:
        hardest = sorted((correct[groups == group].mean(), group, (groups == group).sum()) for group in set(groups))
        shown = ", ".join(f"{name} {share:.0%} of {size}" for share, name, size in hardest[:5])
        console.print(f"hardest groups: {shown}", markup=False)
    for i in np.flatnonzero(~correct)[:count]:
        predicted, reference = evaluation.task.decode(answers[i]), pairs[i].target
        group = f" ({pairs[i].group})" if pairs[i].group else ""
        line = f"  {pairs[i].source!r}{group}: predicted {predicted!r}, reference {reference!r}"
        console.print(line, markup=False)


def print_label_mistakes(
    console: Console, run: Run, pairs: Sequence[Pair], predicted: Int[np.ndarray, "I"], count: int, split: str
) -> None:
    """Draw the picture of confusions, and print the most frequent ones and some wrong labels.

    Args:
        predicted: index of the class that the model gives to each text.
        count: number of wrong labels to print.
    """
    classes = run.experiment.task.classes
    labels = np.array([classes.index(pair.target) for pair in pairs])
    counts = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts, (labels, predicted), 1)
    path = Path(run.workdir) / "plots" / f"confusion_{split}.png"
    title = f"{split} split, step {run.step}: {(predicted == labels).mean():.1%} of {len(pairs):,}"
    save(confusion(counts, classes, title=title, font_family=font_for("".join(classes))), path)
    off_diagonal = counts - np.diag(np.diag(counts))
    for index in np.argsort(-off_diagonal, axis=None)[:5]:
        i, j = np.unravel_index(index, off_diagonal.shape)
        if off_diagonal[i, j]:
            line = f"  {classes[i]} predicted as {classes[j]}: {off_diagonal[i, j]} of {counts[i].sum()}"
            console.print(line, markup=False)
    for i in np.flatnonzero(predicted != labels)[:count]:
        line = f"  {pairs[i].source!r}: predicted {classes[predicted[i]]}, label {pairs[i].target}"
        console.print(line, markup=False)
    console.print(f"picture: {path}", markup=False, soft_wrap=True)
