"""Scores a trained model on a split: nats per token, token accuracy, exact match, the groups it finds hardest."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments.command_line import REQUIRED, parse, run
from experiments.compilation import use_compilation_cache
from experiments.runs import open_run
from experiments.training.evaluation import Evaluation
from transformer.schema import at_least, setting


@dataclasses.dataclass(frozen=True)
class EvaluateFlags:
    """Scores a trained model: python -m experiments.evaluate --workdir=runs/dates"""

    workdir: str = setting(REQUIRED, "the directory that it was trained in")
    split: str = setting("test", "what it is scored on", allowed=("train", "validation", "test"))
    checkpoint: str = setting("best", "best, last or a step")
    examples: int | None = setting(None, "only the first ones; none: all", check=at_least(1))
    mistakes: int = setting(5, "wrong answers to print", check=at_least(0))


def main(argv: Sequence[str]) -> None:
    flags, _ = parse(argv, EvaluateFlags, overridable=False)
    use_compilation_cache()
    opened = open_run(flags.workdir, flags.checkpoint)
    experiment, task = opened.experiment, opened.experiment.task
    pairs = getattr(task.splits, flags.split)[: flags.examples]
    evaluation = Evaluation(experiment.model, task, experiment.config.decoding)
    answers = evaluation.answers(opened.params, pairs)
    scores = evaluation.score(opened.params, pairs, answers)
    console = Console(highlight=False)
    console.print(f"{flags.split} split, {len(pairs):,} examples, checkpoint of step {opened.step}")
    table = Table("metric", "value")
    for name, unit in (("loss", " nats per token"), ("accuracy", " of tokens"), ("exact_match", " of answers")):
        table.add_row(name, f"{scores[name]:.4f}{unit}")
    console.print(table)
    right = evaluation.matches(answers, pairs)
    groups = np.array([pair.group for pair in pairs])
    hardest = sorted((right[groups == group].mean(), group, (groups == group).sum()) for group in set(groups))
    console.print(
        "hardest groups: " + ", ".join(f"{name} {share:.0%} of {count}" for share, name, count in hardest[:5])
    )
    for i in np.flatnonzero(~right)[: flags.mistakes]:
        said, true = task.decode(answers[i]), pairs[i].target
        console.print(f"  {pairs[i].source!r} ({pairs[i].group}): said {said!r}, right is {true!r}", markup=False)


if __name__ == "__main__":
    run(main)
