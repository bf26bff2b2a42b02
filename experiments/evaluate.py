"""Scores a trained model on a split: the task's metrics, BLEU with its signature, confusions, mistakes."""

import dataclasses
import lzma
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments.command_line import REQUIRED, parse, run
from experiments.compilation import use_compilation_cache
from experiments.data.examples import Document
from experiments.pictures import font_for, save
from experiments.runs import Run, open_run
from experiments.training.bleu import bleu
from transformer.errors import problem
from transformer.inspection.plots import confusion
from transformer.schema import at_least, setting


@dataclasses.dataclass(frozen=True)
class EvaluateFlags:
    """Scores a trained model: python -m experiments.evaluate --workdir=runs/dates"""

    workdir: str = setting(REQUIRED, "the directory that it was trained in")
    split: str | None = setting(
        None, "what it is scored on; none: test, or validation without one", allowed=("train", "validation", "test")
    )
    checkpoint: str = setting("best", "best, last or a step")
    average_last: int | None = setting(
        None, "the mean of so many last checkpoints instead; none: training.average_last", check=at_least(1)
    )
    examples: int | None = setting(None, "only the first ones; none: all", check=at_least(1))
    mistakes: int = setting(5, "wrong answers to print", check=at_least(0))


def main(argv: Sequence[str]) -> None:
    flags, _ = parse(argv, EvaluateFlags, overridable=False)
    use_compilation_cache()
    opened = open_run(flags.workdir, flags.checkpoint, flags.average_last)
    task = opened.experiment.task
    split = flags.split or ("test" if task.splits.test else "validation")
    examples = getattr(task.splits, split)[: flags.examples]
    if not examples:
        raise problem(f"the {split} split is empty", do="Choose another --split.")
    evaluation = opened.evaluation()
    answers = evaluation.answers(opened.params, examples) if task.generates else None
    scores = evaluation.score(opened.params, examples, answers)
    console = Console(highlight=False)
    mean = f", mean of the last {opened.averaged} checkpoints" if opened.averaged > 1 else ""
    console.print(f"{split} split, {len(examples):,} examples, checkpoint of step {opened.step}{mean}")
    table = Table("metric", "value")
    for name, metric in task.metrics.items():
        table.add_row(name, f"{scores[name]:.4f} {metric.unit}")
    if split == "test" and task.splits.ceiling is not None:
        table.add_row("ceiling", f"{task.splits.ceiling:.4f} at most: some texts have several answers")
    if "causal_bits_per_byte" in scores:
        table.add_row("xz -9", f"{xz_bits_per_byte(examples):.4f} bits per byte of the same text")
    console.print(table)
    if answers is not None:
        show_answers(console, opened, examples, answers, flags.mistakes)
    if task.classes is not None:
        show_labels(console, opened, examples, flags.mistakes, split)


def xz_bits_per_byte(documents: Sequence[Document]) -> float:
    """What the compressor xz needs for the documents, one after another: a yardstick that has not been trained."""
    text = "".join(document.text for document in documents).encode("utf-8", "surrogatepass")
    return 8 * len(lzma.compress(text, preset=9)) / max(len(text), 1)


def show_answers(console: Console, opened: Run, pairs: Sequence, answers: np.ndarray, mistakes: int) -> None:
    """BLEU's signature, the groups that are hardest, and some mistakes."""
    task = opened.experiment.task
    if task.posing.config.bleu != "off":
        said = [task.answer(pair.source, row) for pair, row in zip(pairs, answers, strict=True)]
        value, signature = bleu(said, [pair.target for pair in pairs], task.posing.config.bleu)
        console.print(f"BLEU {value:.2f}, sacreBLEU {signature}", markup=False, soft_wrap=True)
    right = opened.evaluation().matches(answers, pairs)
    groups = np.array([pair.group for pair in pairs])
    if len(set(groups)) > 1:
        hardest = sorted((right[groups == group].mean(), group, (groups == group).sum()) for group in set(groups))
        shown = ", ".join(f"{name} {share:.0%} of {count}" for share, name, count in hardest[:5])
        console.print(f"hardest groups: {shown}", markup=False)
    for i in np.flatnonzero(~right)[:mistakes]:
        said, true = task.decode(answers[i]), pairs[i].target
        group = f" ({pairs[i].group})" if pairs[i].group else ""
        console.print(f"  {pairs[i].source!r}{group}: said {said!r}, right is {true!r}", markup=False)


def show_labels(console: Console, opened: Run, pairs: Sequence, mistakes: int, split: str) -> None:
    """The picture of confusions, the most frequent ones, and some mistakes."""
    classes = opened.experiment.task.classes
    said = opened.evaluation().probabilities(opened.params, [pair.source for pair in pairs]).argmax(axis=1)
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


if __name__ == "__main__":
    run(main)
