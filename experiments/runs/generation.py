"""Answers of a trained model to texts of the user: an answer, a continuation, filled gaps, or labels."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.runs.open_run import Run, labels_in_words
from transformer.decoding import DecodingConfig
from transformer.decoding.strategies import STRATEGIES, settings_of
from transformer.errors import problem


def answer_lines(run: Run, lines: list[str], flags: Mapping[str, Any], seed: int | None) -> list[str]:
    """Generate the answer to each line of a file; a blank line has a blank answer. For the arguments, see below."""
    numbers = [number for number, line in enumerate(lines, start=1) if line.strip()]
    answers = answer_texts(run, [lines[number - 1] for number in numbers], flags, seed, numbers)
    by_number = dict(zip(numbers, answers, strict=True))
    return [by_number.get(number, "") for number in range(1, len(lines) + 1)]


def answer_texts(
    run: Run, texts: list[str], flags: Mapping[str, Any], seed: int | None, numbers: Sequence[int] | None = None
) -> list[str]:
    """Generate the answer to each text.

    Args:
        flags: settings of decoding given by flags, name -> value.
        seed: seed of sampling; None: the run's.
        numbers: number of each text, for messages; None: 1, 2, ...

    Raises:
        UserError: a text that the model cannot read, or a flag that is not read.
    """
    task, decoding = run.experiment.task, decoding_config(run, flags, seed)
    if not texts:
        return []
    run.check(texts, decoding.max_new_tokens, numbers)
    if task.classes is not None:
        probabilities = run.evaluation().probabilities(run.params, texts)
        return [labels_in_words(task.classes, row) for row in probabilities]
    ids = run.answers(texts, decoding, seed)
    return [task.answer(text, row) for text, row in zip(texts, ids, strict=True)]


def decoding_config(run: Run, flags: Mapping[str, Any], seed: int | None) -> DecodingConfig:
    """Replace the run's settings of decoding by those of flags; a setting of sampling alone selects sampling.

    Raises:
        UserError: a flag that is not read, or more tokens than the model can fill.
    """
    seeded = ["seed"] if seed is not None else []
    if run.experiment.task.classes is not None and (unread := [*flags, *seeded]):
        got = flags.get(unread[0], seed)
        raise problem(f"--{unread[0]} is not read by a classifier, which writes no text", got=got, do="Leave it out.")
    decoding = dataclasses.replace(run.experiment.config.decoding, **flags)
    sampled = [name for name in flags if name in settings_of(STRATEGIES["sampling"])]
    if sampled and "strategy" not in flags:
        decoding = dataclasses.replace(decoding, strategy="sampling")
    row = STRATEGIES[decoding.strategy]
    unread = [name for name in sampled if name not in settings_of(row)] + ([] if row.random else seeded)
    if unread:
        raise problem(
            f"--{unread[0]} is not read by --strategy={decoding.strategy}",
            got=flags.get(unread[0], seed),
            expected="it only with sampling",
            do="Leave it out, or sample instead.",
        )
    task, most = run.experiment.task, decoding.max_new_tokens
    if most is not None and task.fixed_answer_length and most > task.max_answer_length:
        raise problem(
            "--max_new_tokens is more than the mask slots that this model fills",
            got=most,
            expected=f"at most {task.max_answer_length}",
        )
    return decoding
