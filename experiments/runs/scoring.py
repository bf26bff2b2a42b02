"""The scores of a trained model on a split, each with the interval that the split's examples leave."""

import math
from collections.abc import Sequence

import numpy as np

from experiments.comparing.statistics import Value, ratio_of, share_of
from experiments.runs.trained import TrainedExperiment
from experiments.tasks.task import SHARE, Task
from transformer.errors import problem

SPLITS = ("train", "validation", "test")


def held_out(task: Task, split: str | None, most: int | None) -> tuple[str, Sequence]:
    """Choose the examples of an evaluation; return the name of their split, and the examples.

    Args:
        split: one of SPLITS; None: test, or validation where there is no test split.
        most: number of examples, the first of the split; None: all.

    Raises:
        UserError: the split is empty.
    """
    split = split or ("test" if task.splits.test else "validation")
    examples = getattr(task.splits, split)[:most]
    if not examples:
        there = [name for name in SPLITS if getattr(task.splits, name)]
        do = "Choose another --split."
        raise problem(f"the {split} split is empty", got="no example", expected=f"one of {', '.join(there)}", do=do)
    return split, examples


def evaluate(run: TrainedExperiment, examples: Sequence, answers: np.ndarray | None = None) -> dict[str, Value]:
    """Compute the scores of some examples, in the order of the task's metrics.

    Args:
        answers: the generated answers, where they were made before.

    Exact match and the accuracy of labels are shares of independent examples, with Wilson's interval. Losses, the
    accuracy of tokens, perplexity and bits per byte are means over tokens, whose interval is over texts (of language
    modelling: over windows, as if neighbours were independent). BLEU and chrF have no interval.
    """
    task, evaluation = run.experiment.task, run.evaluation()
    if task.generates and answers is None:
        answers = evaluation.answers(run.params, examples)
    scores = evaluation.score(run.params, examples, answers)
    sums = evaluation.sums_of_examples(run.params, examples)
    values = {task.names[name]: value for name, value in _of_tokens(task, sums).items() if name in task.names}
    if answers is not None:
        values["exact_match"] = share_of(int(evaluation.matches(answers, examples).sum()), len(examples))
    without = Value(math.nan, None, None, len(examples))
    return {name: values.get(name, without)._replace(value=scores[name]) for name in task.metrics}


def _of_tokens(task: Task, sums: dict[str, np.ndarray]) -> dict[str, Value]:
    """Estimate the scores that come from sums over labels, by the names that `Task.names` renames."""
    loss = ratio_of(sums["nats"], sums["tokens"], bounds=(0.0, math.inf))
    ends = [None if end is None else math.exp(min(end, 700.0)) for end in (loss.low, loss.high)]
    correct = round(float(sums["correct"].sum())), len(sums["correct"])
    is_share = task.classes is not None
    return {
        "loss": loss,
        "accuracy": share_of(*correct) if is_share else ratio_of(sums["correct"], sums["tokens"], bounds=SHARE),
        "perplexity": Value(math.exp(min(loss.value, 700.0)), *ends, loss.count),
        "bits_per_byte": ratio_of(sums["nats"] / math.log(2), sums["bytes"], bounds=(0.0, math.inf)),
    }
