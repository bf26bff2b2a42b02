"""The scores of a trained model on a split, printed: the task's metrics, sacreBLEU's with signatures, and mistakes."""

import lzma
from collections.abc import Sequence

from experiments.cli.terminal import terminal
from experiments.data.examples import Document
from experiments.runs.mistakes import print_answer_mistakes, print_label_mistakes
from experiments.runs.scoring import held_out
from experiments.runs.trained import TrainedExperiment
from experiments.training.corpus_scores import CORPUS_SCORES, signature
from experiments.training.progress import print_line
from experiments.training.tables import add, print_table, text_table
from transformer.errors import problem

MISTAKES = 5
"""Number of mistakes to print, unless a flag gives another."""


def print_scores(run: TrainedExperiment, split: str | None, most: int | None, mistakes: int | None) -> None:
    """Compute and print the scores of a run.

    Args:
        split: "train", "validation" or "test"; None: test, or validation where there is no test split.
        most: number of examples, the first of the split; None: all.
        mistakes: number of mistakes to print; None: MISTAKES.

    Raises:
        UserError: the split is empty, or mistakes are asked for of a task that has none.
    """
    task = run.experiment.task
    if mistakes is not None and not task.generates and task.classes is None:
        expected = "it only with text_to_text or classification"
        raise problem(f"--mistakes is not read by {task.settings.config.name}", got=mistakes, expected=expected)
    mistakes = MISTAKES if mistakes is None else mistakes
    split, examples = held_out(task, split, most)
    evaluation = run.evaluation()
    answers = evaluation.answers(run.params, examples) if task.generates else None
    scores = evaluation.score(run.params, examples, answers)
    console, count = terminal(), task.size(examples)
    size = f"{count:,} {task.unit if count != 1 else task.unit.removesuffix('s')}"
    mean = f", mean of the last {run.averaged} checkpoints" if run.averaged > 1 else ""
    print_line(console, f"{split} split, {size}, checkpoint of step {run.step}{mean}")
    table = text_table(None, ["metric", "value"])
    for name, metric in task.metrics.items():
        add(table, [name, f"{scores[name]:.4f} {metric.unit}"])
    if split == "test" and task.splits.ceiling is not None:
        add(table, ["ceiling", f"{task.splits.ceiling:.4f} at most: some texts have several answers"])
    if "causal_bits_per_byte" in scores:
        add(table, ["xz -9", f"{xz_bits_per_byte(examples):.4f} bits per byte of the same text"])
    print_table(console, table)
    for name, row in CORPUS_SCORES.items():
        if name in scores:
            line = f"{row.title} {scores[name]:.2f}, sacreBLEU {signature(name, task.settings.config.bleu)}"
            print_line(console, line)
    if answers is not None:
        print_answer_mistakes(console, evaluation, examples, answers, mistakes)
    if task.classes is not None:
        predicted = evaluation.probabilities(run.params, [pair.source for pair in examples]).argmax(axis=1)
        print_label_mistakes(console, run, examples, predicted, mistakes, split)


def xz_bits_per_byte(documents: Sequence[Document]) -> float:
    """Compress the documents, one after another, with xz: a baseline without training (bits per byte)."""
    text = "".join(document.text for document in documents).encode("utf-8", "surrogatepass")
    return 8 * len(lzma.compress(text, preset=9)) / max(len(text), 1)
