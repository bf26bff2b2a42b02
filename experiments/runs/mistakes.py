"""The mistakes of a model, printed: its hardest groups, its confusions, and examples of both."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int
from rich.console import Console

from experiments.data.examples import Pair
from experiments.runs.label_scores import LabelScores, confusion_counts, label_scores, label_table, macro_f1
from experiments.runs.pictures import attempt, font_for, readable_tokens, save
from experiments.runs.trained import TrainedExperiment
from experiments.training.evaluation import Evaluation
from experiments.training.progress import print_line
from experiments.training.tables import print_table
from transformer.errors import counted
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
        print_line(console, groups_line(correct, groups))
    for i in np.flatnonzero(~correct)[:count]:
        predicted, reference = evaluation.task.answer(pairs[i].source, answers[i]), pairs[i].target
        group = f" ({pairs[i].group})" if pairs[i].group else ""
        print_line(console, f"  {pairs[i].source!r}{group}: predicted {predicted!r}, reference {reference!r}")


def groups_line(correct: Bool[np.ndarray, "I"], groups: np.ndarray, most: int = 5) -> str:
    """Write a line about the groups with the smallest shares of correct answers; groups of one share are tied.

    Args:
        groups: name of each example's group.
        most: number of groups that are named.
    """
    shares = {group: correct[groups == group].mean() for group in sorted(set(groups.tolist()))}
    if len(set(shares.values())) == 1:
        return f"no group is harder than another: all {len(shares)} at {correct.mean():.0%}"
    hardest = sorted(shares, key=shares.__getitem__)
    shown = ", ".join(f"{group} {shares[group]:.0%} of {(groups == group).sum()}" for group in hardest[:most])
    last = shares[hardest[:most][-1]]
    tied = sum(shares[group] == last for group in hardest[most:])
    return f"hardest groups: {shown}" + (f", and {tied} more at {last:.0%}" if tied else "")


def print_label_mistakes(
    console: Console,
    run: TrainedExperiment,
    pairs: Sequence[Pair],
    predicted: Int[np.ndarray, "I"],
    count: int,
    split: str,
) -> list[LabelScores]:
    """Print the scores by label, the most frequent confusions and some wrong labels; draw the picture of all.

    Args:
        predicted: index of the class that the model gives to each text.
        count: number of wrong labels to print.

    Returns:
        The scores of each label.
    """
    classes = run.experiment.task.classes
    labels = np.array([classes.index(pair.target) for pair in pairs])
    counts = confusion_counts(labels, predicted, len(classes))
    found = label_scores(counts, classes)
    print_line(console, f"macro-F1 {macro_f1(found):.4f}, the mean of the F1 of {counted(len(found), 'label')}")
    print_table(console, label_table(found))
    for line in confusion_lines(counts, classes):
        print_line(console, line)
    for i in np.flatnonzero(predicted != labels)[:count]:
        print_line(console, f"  {pairs[i].source!r}: predicted {classes[predicted[i]]}, label {pairs[i].target}")
    path = Path(run.workdir) / "plots" / f"confusion_{split}.png"
    title = f"{split} split, step {run.step}: {(predicted == labels).mean():.1%} of {len(pairs):,}"

    def draw() -> None:
        save(confusion(counts, readable_tokens(classes), title=title, font_family=font_for("".join(classes))), path)

    if attempt(draw, path):
        print_line(console, f"picture: {path}")
    return found


def confusion_lines(counts_CC: Int[np.ndarray, "C C"], classes: Sequence[str], most: int = 5) -> list[str]:
    """Write a line for each of the most frequent confusions, and one about those that are as frequent as the last."""
    wrong_CC = counts_CC - np.diag(np.diag(counts_CC))
    order = np.argsort(-wrong_CC, axis=None, kind="stable")[: min(most, np.count_nonzero(wrong_CC))]
    frequent = [np.unravel_index(index, wrong_CC.shape) for index in order]
    lines = [f"  {classes[i]} predicted as {classes[j]}: {wrong_CC[i, j]} of {counts_CC[i].sum()}" for i, j in frequent]
    if not lines:
        return []
    least = wrong_CC[frequent[-1]]
    tied = (wrong_CC == least).sum() - sum(wrong_CC[pair] == least for pair in frequent)
    return lines + ([f"  and {tied:,} more as frequent as the last"] if tied else [])
