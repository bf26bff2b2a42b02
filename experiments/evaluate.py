"""Scores a trained model on a split: the task's metrics, BLEU with its signature, confusions, mistakes."""

import dataclasses
import lzma
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from experiments.cli.compilation import use_compilation_cache
from experiments.cli.flags import REQUIRED, parse, run
from experiments.data.examples import Document
from experiments.runs.mistakes import show_answers, show_labels
from experiments.runs.open_run import open_run
from experiments.training.bleu import signature
from transformer.errors import problem
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
    if "bleu" in scores:
        how = signature(task.settings.config.bleu)
        console.print(f"BLEU {scores['bleu']:.2f}, sacreBLEU {how}", markup=False, soft_wrap=True)
    if answers is not None:
        show_answers(console, evaluation, examples, answers, flags.mistakes)
    if task.classes is not None:
        said = evaluation.probabilities(opened.params, [pair.source for pair in examples]).argmax(axis=1)
        show_labels(console, opened, examples, said, flags.mistakes, split)


def xz_bits_per_byte(documents: Sequence[Document]) -> float:
    """What the compressor xz needs for the documents, one after another: a yardstick that has not been trained."""
    text = "".join(document.text for document in documents).encode("utf-8", "surrogatepass")
    return 8 * len(lzma.compress(text, preset=9)) / max(len(text), 1)


if __name__ == "__main__":
    run(main)
