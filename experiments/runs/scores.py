"""The scores of a trained model on a split, printed and as rows; sacreBLEU's with signatures, and mistakes."""

import lzma
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from experiments.cli.terminal import terminal
from experiments.comparing.metric_units import BETTER
from experiments.comparing.statistics import LEVEL, Value
from experiments.data.examples import Document
from experiments.runs import scoring
from experiments.runs.label_scores import LabelScores, macro_f1
from experiments.runs.mistakes import print_answer_mistakes, print_label_mistakes
from experiments.runs.predictions import Predictions
from experiments.runs.scoring import held_out
from experiments.runs.trained import TrainedExperiment
from experiments.storage.workdir import read_record
from experiments.tasks.task import SHARE, Metric
from experiments.training.corpus_scores import CORPUS_SCORES, signature
from experiments.training.progress import print_line
from experiments.training.tables import add, print_table, text_table
from transformer.errors import problem

MISTAKES = 5
"""Number of mistakes to print, unless a flag gives another."""


class Files(NamedTuple):
    """The files that are written beside the scores that are printed."""

    rows: bool = False
    """True where rows are made for a file, which takes another pass for the intervals."""
    predictions: Predictions = Predictions(None)


def print_scores(
    run: TrainedExperiment, split: str | None, most: int | None, mistakes: int | None, files: Files
) -> list[dict[str, Any]]:
    """Compute and print the scores of a run.

    Args:
        split: "train", "validation" or "test"; None: test, or validation where there is no test split.
        most: number of examples, the first of the split; None: all.
        mistakes: number of mistakes to print; None: MISTAKES.
        files: what is written beside.

    Returns:
        A row for each score, see `rows`; none where `files` has no rows.

    Raises:
        UserError: the split is empty, or mistakes or predictions are asked for of a task that has none.
    """
    task = run.experiment.task
    files.predictions.check(task)
    if mistakes is not None and not task.generates and task.classes is None:
        expected = "it only with text_to_text or classification"
        raise problem(f"--mistakes is not read by {task.settings.config.name}", got=mistakes, expected=expected)
    mistakes = MISTAKES if mistakes is None else mistakes
    split, examples = held_out(task, split, most)
    evaluation = run.evaluation()
    predicted = files.predictions.make(run, examples) if task.generates or task.classes is not None else None
    answers = predicted if task.generates else None
    values = scoring.evaluate(run, examples, answers) if files.rows else {}
    scores = {name: v.value for name, v in values.items()} or evaluation.score(run.params, examples, answers)
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
    labels = []
    if task.classes is not None:
        labels = print_label_mistakes(console, run, examples, predicted.argmax(axis=1), mistakes, split)
    if files.predictions.path is not None:
        print_line(console, f"predictions: {files.predictions.path}")
    return rows(run, split, values, labels) if files.rows else []


def rows(
    run: TrainedExperiment, split: str, values: Mapping[str, Value], labels: Sequence[LabelScores]
) -> list[dict[str, Any]]:
    """Return a row for each score of a split, then macro-F1, then precision, recall and F1 of each label."""
    task, record = run.experiment.task, read_record(run.workdir)
    git = record.get("git") or {}
    behind = {"step": run.step, "averaged": run.averaged, "workdir": str(run.workdir), "commit": git.get("commit")}

    def row(name: str, value: Value, metric: Metric, label: str | None = None) -> dict[str, Any]:
        ends = {"low": value.low, "high": value.high, "level": None if value.low is None else LEVEL}
        own = {"split": split, "metric": name, "label": label, "value": value.value, **ends}
        return {**own, "count": value.count, "unit": metric.unit, "better": BETTER[metric.mode], **behind}

    share = Metric("max", "share", SHARE)
    found = [row(name, value, task.metrics[name]) for name, value in values.items()]
    if not labels:
        return found
    count = next(iter(values.values())).count
    found.append(row("macro_f1", Value(macro_f1(labels), None, None, count), share))
    for each in labels:
        none = Value(math.nan, None, None, 0)
        found.append(row("precision", each.precision or none, share, each.label))
        found.append(row("recall", each.recall or none, share, each.label))
        examples = each.recall.count if each.recall else 0
        found.append(row("f1", Value(each.f1, None, None, examples), share, each.label))
    return found


def xz_bits_per_byte(documents: Sequence[Document]) -> float:
    """Compress the documents, one after another, with xz: a baseline without training (bits per byte)."""
    text = "".join(document.text for document in documents).encode("utf-8", "surrogatepass")
    return 8 * len(lzma.compress(text, preset=9)) / max(len(text), 1)
