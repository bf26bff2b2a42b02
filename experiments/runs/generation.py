"""Answers of a trained model to texts of the user: an answer, a continuation, filled gaps, or labels."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.runs.open_run import labels_in_words
from experiments.runs.trained import TrainedExperiment, print_warning
from experiments.tasks.task import Task
from transformer.decoding import STRATEGIES, DecodingConfig
from transformer.errors import problem


class Answer(NamedTuple):
    """An answer of a model."""

    text: str
    """The answer in words; of a language model, the text with what it wrote."""
    tokens: tuple[str, ...]
    """A label for each token that was generated, the end token included."""
    ids: tuple[int, ...]
    """The ids of these tokens."""


class Label(NamedTuple):
    """The label that a classifier gives to a text."""

    label: str
    """The likeliest label."""
    probabilities: dict[str, float]
    """Label -> its probability, the likeliest first."""


def answer_lines(run: TrainedExperiment, lines: list[str], flags: Mapping[str, Any], seed: int | None) -> list[str]:
    """Generate the answer to each line of a file; a blank line has a blank answer. For the arguments, see below."""
    numbers = [number for number, line in enumerate(lines, start=1) if line.strip()]
    answers = answer_texts(run, [lines[number - 1] for number in numbers], flags, seed, numbers)
    by_number = dict(zip(numbers, answers, strict=True))
    return [by_number.get(number, "") for number in range(1, len(lines) + 1)]


def answer_texts(
    run: TrainedExperiment,
    texts: list[str],
    flags: Mapping[str, Any],
    seed: int | None,
    numbers: Sequence[int] | None = None,
) -> list[str]:
    """Generate the answer to each text, in words. For the arguments and errors, see `predict`."""
    found = predict(run, texts, flags, seed, numbers=numbers)
    return [answer.text if isinstance(answer, Answer) else labels_in_words(answer.probabilities) for answer in found]


def predict(
    run: TrainedExperiment,
    texts: Sequence[str],
    given: Mapping[str, Any],
    seed: int | None,
    *,
    numbers: Sequence[int] | None = None,
    warn: Callable[[str], None] = print_warning,
) -> list[Answer] | list[Label]:
    """Generate the answer to each text, or its label.

    Args:
        given: settings of decoding in place of the run's, name -> value.
        seed: seed of sampling; None: the run's.
        numbers: number of each text, for messages; None: 1, 2, ...
        warn: called with the line about what is read as unknown.

    Raises:
        UserError: a text that the model cannot read, or a setting that is not read.
    """
    task, decoding = run.experiment.task, decoding_config(run, given, seed)
    if not texts:
        return []
    run.check(texts, decoding.max_new_tokens, numbers, warn)
    if task.classes is not None:
        return [label_of(task.classes, row) for row in run.evaluation().probabilities(run.params, texts)]
    rows = run.answers(texts, decoding, seed)
    return [answer_of(task, text, ids) for text, ids in zip(texts, rows, strict=True)]


def answer_of(task: Task, text: str, ids: np.ndarray) -> Answer:
    """Return the answer to a text from the tokens that were generated, up to and including the end token."""
    labels = task.token_labels(ids, task.tokenizers.target)
    return Answer(task.answer(text, ids), tuple(labels), tuple(int(i) for i in ids))


def label_of(classes: Sequence[str], probabilities: np.ndarray) -> Label:
    """Return the likeliest label, and the probability of each, the likeliest first."""
    order = np.argsort(-probabilities)
    return Label(classes[order[0]], {classes[i]: float(probabilities[i]) for i in order})


def decoding_config(run: TrainedExperiment, flags: Mapping[str, Any], seed: int | None) -> DecodingConfig:
    """Replace the run's settings of decoding by those of flags; one that a single strategy reads selects it.

    Raises:
        UserError: a flag that is not read, or more tokens than the model can fill.
    """
    seeded = ["seed"] if seed is not None else []
    if run.experiment.task.classes is not None and (unread := [*flags, *seeded]):
        got = flags.get(unread[0], seed)
        raise problem(f"--{unread[0]} is not read by a classifier, which writes no text", got=got, do="Leave it out.")
    decoding = dataclasses.replace(run.experiment.config.decoding, **flags)
    own = {name for name in flags if any(name in row.reads for row in STRATEGIES.values())}
    if "strategy" not in flags and own - set(STRATEGIES.of(decoding, "strategy").reads):
        able = next((name for name, row in STRATEGIES.items() if own <= set(row.reads)), decoding.strategy)
        decoding = dataclasses.replace(decoding, strategy=able)
    unread = sorted(own - set(STRATEGIES.of(decoding, "strategy").reads))
    unread += [] if decoding.chosen().random else seeded
    if unread:
        readers = [name for name, row in STRATEGIES.items() if unread[0] in row.reads] or ["sampling"]
        raise problem(
            f"--{unread[0]} is not read by --strategy={decoding.strategy}",
            got=flags.get(unread[0], seed),
            expected=f"it only with {' or '.join(readers)}",
            do=f"Leave it out, or give --strategy={readers[0]}.",
        )
    task, most = run.experiment.task, decoding.max_new_tokens
    if most is not None and task.fixed_answer_length and most > task.max_answer_length:
        raise problem(
            "--max_new_tokens is more than the mask slots that this model fills",
            got=most,
            expected=f"at most {task.max_answer_length}",
        )
    return decoding


def with_decoding(run: TrainedExperiment, flags: Mapping[str, Any]) -> TrainedExperiment:
    """Return the run with settings of decoding in place of its own.

    Raises:
        UserError: as `decoding_config`.
    """
    if not flags:
        return run
    config = dataclasses.replace(run.experiment.config, decoding=decoding_config(run, flags, None))
    return dataclasses.replace(run, experiment=dataclasses.replace(run.experiment, config=config))
