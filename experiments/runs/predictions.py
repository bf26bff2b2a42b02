"""The predictions of a model on a split, as JSON Lines: a line for each example, in the order of the split.

    {"index": 0, "input": "20 novembre 2026", "reference": "2026-11-20", "answer": "2026-11-20", "group": "fr",
     "correct": true, "scores": {"nats": 0.003, "tokens": 11, "correct_tokens": 11}}

nats              loss of the reference, given each token before it (natural logarithm, summed over its tokens)
tokens            tokens of the reference that count, the end token among them; correct_tokens: those that are the
                  most likely
probabilities     of a classifier: label -> probability
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.data.examples import Pair
from experiments.runs.trained import TrainedExperiment
from experiments.storage.workdir import written_atomically
from experiments.storage.writable import refuse_unwritable
from experiments.tasks.task import Task
from transformer.errors import problem

CHUNK = 4096
"""Examples that are predicted, and written, at once."""


class Predictions:
    """Predictions that are made chunk by chunk and, where there is a file, written chunk by chunk.

    Args:
        path: the file; None: there is none.
        flag: the flag that names it, for errors.

    Raises:
        UserError: a name that does not end in .jsonl, or nothing can be written there.
    """

    def __init__(self, path: str | None, flag: str = "--predictions") -> None:
        self.path, self.flag = None if path is None else Path(path), flag
        if self.path is not None and self.path.suffix != ".jsonl":
            do = "Name a file such as predictions.jsonl."
            raise problem(f"unknown ending of {flag}", got=repr(self.path.suffix), expected=".jsonl", do=do)
        if self.path is not None:
            refuse_unwritable(self.path, flag)

    def check(self, task: Task) -> None:
        """Raise a UserError where a file is asked for and the task predicts nothing."""
        if self.path is not None and not task.generates and task.classes is None:
            expected = "it only with text_to_text or classification"
            raise problem(f"{self.flag} is not read by {task.settings.config.name}", got=self.path, expected=expected)

    def make(self, run: TrainedExperiment, pairs: Sequence[Pair]) -> np.ndarray:
        """Predict all pairs: generated tokens I M, or probabilities I C of a classifier. Write the file, whole or not.

        Raises:
            OSError: it cannot be written any more; what was there before remains.
        """
        if self.path is None:
            return np.concatenate([found for found, _ in _predicted(run, pairs, scored=False)])
        kept = []
        with written_atomically(self.path) as file:
            for found, lines in _predicted(run, pairs, scored=True):
                kept.append(found)
                file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        return np.concatenate(kept)


def _predicted(
    run: TrainedExperiment, pairs: Sequence[Pair], *, scored: bool
) -> Iterator[tuple[np.ndarray, list[dict[str, Any]]]]:
    """Yield the predictions of each chunk, and its lines for the file where it is `scored`."""
    task, evaluation = run.experiment.task, run.evaluation()
    for first in range(0, len(pairs), CHUNK):
        chunk = pairs[first : first + CHUNK]
        if task.classes is None:
            found = evaluation.answers(run.params, chunk)
        else:
            found = evaluation.probabilities(run.params, [pair.source for pair in chunk])
        yield found, _lines(run, chunk, found, first) if scored else []


def _lines(run: TrainedExperiment, pairs: Sequence[Pair], found: np.ndarray, first: int) -> list[dict[str, Any]]:
    """Return the line of each pair of a chunk."""
    task, evaluation = run.experiment.task, run.evaluation()
    sums = evaluation.sums_of_examples(run.params, pairs)
    if task.classes is None:
        answers = [task.answer(pair.source, row) for pair, row in zip(pairs, found, strict=True)]
        right = evaluation.matches(found, pairs)
    else:
        answers = [task.classes[i] for i in found.argmax(axis=1)]
        right = np.array([answer == pair.target for answer, pair in zip(answers, pairs, strict=True)])
    lines = []
    for i, pair in enumerate(pairs):
        line = {"index": first + i, "input": pair.source, "reference": pair.target, "answer": answers[i]}
        line |= {"group": pair.group} if pair.group else {}
        scores = {"nats": float(sums["nats"][i]), "tokens": float(sums["tokens"][i])}
        line |= {"correct": bool(right[i]), "scores": {**scores, "correct_tokens": float(sums["correct"][i])}}
        if task.classes is not None:
            line["probabilities"] = {name: float(p) for name, p in zip(task.classes, found[i], strict=True)}
        lines.append(line)
    return lines
