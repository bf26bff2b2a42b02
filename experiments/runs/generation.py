"""Answers of a trained model to texts of the user: an answer, a continuation, filled gaps, or labels."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.runs.trained import Request, TrainedExperiment, print_warning
from experiments.tasks.task import Task
from transformer.decoding import STRATEGIES, Beam, DecodingConfig
from transformer.errors import problem
from transformer.nn.positions import POSITIONS


class Answer(NamedTuple):
    """An answer of a model."""

    text: str
    """The answer in words; of a language model, the text with what it wrote."""
    tokens: tuple[str, ...]
    """A label for each token that was generated, the end token included."""
    ids: tuple[int, ...]
    """The ids of these tokens."""
    score: float | None = None
    """The log-probability of these tokens by the model (nats); None where it is not known, as of filled gaps."""


class Label(NamedTuple):
    """The label that a classifier gives to a text."""

    label: str
    """The likeliest label."""
    probabilities: dict[str, float]
    """Label -> its probability, the likeliest first."""


class Texts(NamedTuple):
    """Texts to answer, checked, with the settings of their answers; made by `prepare`.

    Attributes:
        texts: none of which is blank, unless the task answers a blank one.
        numbers: index of each among all that were given, of which its draws are a function.
        request: the settings.
    """

    texts: list[str]
    numbers: list[int]
    request: Request


def predict(
    run: TrainedExperiment,
    texts: Sequence[str],
    given: Mapping[str, Any],
    seed: int | None,
    *,
    warn: Callable[[str], None] = print_warning,
) -> list[Answer] | list[Label]:
    """Generate the best answer to each text, or its label. For the arguments and errors, see `prepare`."""
    found = answers(run, prepare(run, texts, given, seed, warn=warn))
    return [answer if isinstance(answer, Label) else answer[0] for answer in found]


def prepare(
    run: TrainedExperiment,
    texts: Sequence[str],
    given: Mapping[str, Any],
    seed: int | None,
    *,
    num_return: int | None = None,
    lines: bool = False,
    warn: Callable[[str], None] = print_warning,
) -> Texts:
    """Check texts, and the settings with which they are to be answered.

    Args:
        given: settings of decoding in place of the run's, name -> value.
        seed: seed of sampling; None: the run's.
        num_return: number of answers to each text, the best first; None: the best one.
        lines: whether the texts are lines of a file, of which blank ones are left out.
        warn: called with the line about what is read as unknown.

    Raises:
        UserError: a text that the model cannot read, or a setting that is not read.
    """
    decoding = decoding_config(run, given, seed)
    check_num_return(decoding, num_return, run.experiment.task.classes is not None)
    numbers = [number for number, text in enumerate(texts) if text.strip() or not lines]
    chosen = [texts[number] for number in numbers]
    run.check(chosen, decoding.max_new_tokens, [number + 1 for number in numbers], warn)
    return Texts(chosen, numbers, Request(decoding, seed, num_return))


def answers(
    run: TrainedExperiment, asked: Texts, done: Callable[[int], None] = lambda count: None
) -> list[list[Answer]] | list[Label]:
    """Generate the answers to each text, the best first, or its label.

    Args:
        done: called with the number of texts that were answered, after each batch.
    """
    task = run.experiment.task
    if not asked.texts:
        return []
    if task.classes is not None:
        rows = run.evaluation().probabilities(run.params, asked.texts, one_shape=False, done=done)
        return [label_of(task.classes, row) for row in rows]
    found = run.write(asked.texts, asked.request, asked.numbers, done)
    both = zip(asked.texts, found, strict=True)
    return [[answer_of(task, text, *one) for one in written] for text, written in both]


def answer_of(task: Task, text: str, ids: np.ndarray, score: float) -> Answer:
    """Return the answer to a text from the tokens that were generated, up to and including the end token."""
    labels = task.token_labels(ids, task.tokenizers.target)
    known = None if math.isnan(score) else score
    return Answer(task.answer(text, ids), tuple(labels), tuple(int(i) for i in ids), known)


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


def check_num_return(decoding: DecodingConfig, num_return: int | None, is_classifier: bool) -> None:
    """Raise a UserError for several answers by a strategy that has one, or for more than its width."""
    if num_return is None:
        return
    if is_classifier:
        what = "--num_return is not read by a classifier, which writes no text"
        raise problem(what, got=num_return, do="Leave it out: --output has the probabilities of all labels.")
    if not isinstance(decoding.chosen(), Beam):
        what = f"--num_return is not read by --strategy={decoding.strategy}"
        raise problem(what, got=num_return, expected="it only with beam", do="Leave it out, or give --strategy=beam.")
    if num_return > decoding.width:
        what = "--num_return is more than the width of the beam"
        raise problem(what, got=num_return, expected=f"at most --width={decoding.width}", do="Raise --width.")


def with_decoding(run: TrainedExperiment, flags: Mapping[str, Any]) -> TrainedExperiment:
    """Return the run with settings of decoding in place of its own.

    Raises:
        UserError: as `decoding_config`; or a task whose scores are of no answers.
    """
    if not flags:
        return run
    task = run.experiment.task
    if task.classes is None and not task.generates:
        name, got = next(iter(flags.items()))
        what = f"--{name} is not read where task {str(task.settings.config.name)!r} is evaluated"
        raise problem(what, got=got, expected="it only where answers are compared with targets", do="Leave it out.")
    decoding, model = decoding_config(run, flags, None), run.experiment.config.model
    longest = task.max_sequence_length(decoding.max_new_tokens)
    if "max_new_tokens" in flags and POSITIONS.of(model, "position").is_bounded and longest > model.max_length:
        what = "--max_new_tokens makes sequences longer than the model's table of learned positions"
        got, expected = f"{flags['max_new_tokens']}, so up to {longest} tokens", f"at most {model.max_length} tokens"
        raise problem(what, got=got, expected=expected, do="Lower it.")
    config = dataclasses.replace(run.experiment.config, decoding=decoding)
    return dataclasses.replace(run, experiment=dataclasses.replace(run.experiment, config=config))
