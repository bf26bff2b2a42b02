"""What a model gets wrong, printed: its hardest groups, its confusions, and examples of both."""

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


def show_answers(
    console: Console, evaluation: Evaluation, pairs: Sequence[Pair], answers: Int[np.ndarray, "I M"], mistakes: int
) -> None:
    """The groups that are hardest, and some mistakes.

    Args:
        answers: the tokens written for each pair.
        mistakes: how many are shown.
    """
    right = evaluation.matches(answers, pairs)
    groups = np.array([pair.group for pair in pairs])
    if len(set(groups)) > 1:
        hardest = sorted((right[groups == group].mean(), group, (groups == group).sum()) for group in set(groups))
        shown = ", ".join(f"{name} {share:.0%} of {count}" for share, name, count in hardest[:5])
        console.print(f"hardest groups: {shown}", markup=False)
    for i in np.flatnonzero(~right)[:mistakes]:
        said, true = evaluation.task.decode(answers[i]), pairs[i].target
        group = f" ({pairs[i].group})" if pairs[i].group else ""
        console.print(f"  {pairs[i].source!r}{group}: said {said!r}, right is {true!r}", markup=False)


def show_labels(
    console: Console, opened: Run, pairs: Sequence[Pair], said: Int[np.ndarray, "I"], mistakes: int, split: str
) -> None:
    """The picture of confusions, the most frequent ones, and some mistakes.

    Args:
        said: the class given to each text, by number.
        mistakes: how many are shown.
    """
    classes = opened.experiment.task.classes
    right = np.array([classes.index(pair.target) for pair in pairs])
    counts = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts, (right, said), 1)
    path = Path(opened.workdir) / "plots" / f"confusion_{split}.png"
    title = f"{split} split, step {opened.step}: {(said == right).mean():.1%} of {len(pairs):,}"
    save(confusion(counts, classes, title=title, font_family=font_for("".join(classes))), path)
    off = counts - np.diag(np.diag(counts))
    for at in np.argsort(-off, axis=None)[:5]:
        i, j = np.unravel_index(at, off.shape)
        if off[i, j]:
            console.print(f"  {classes[i]} taken for {classes[j]}: {off[i, j]} of {counts[i].sum()}", markup=False)
    for i in np.flatnonzero(said != right)[:mistakes]:
        console.print(f"  {pairs[i].source!r}: said {classes[said[i]]}, right is {pairs[i].target}", markup=False)
    console.print(f"picture: {path}", markup=False, soft_wrap=True)
