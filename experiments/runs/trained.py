"""An experiment with trained parameters: what answers texts and has scores."""

import dataclasses
import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.costs.needed import refuse_answers
from experiments.data.tokenizers.tokens import visible
from experiments.tasks.task import Task
from experiments.training.evaluation import Evaluation
from experiments.training.experiment import Experiment
from transformer.decoding import DecodingConfig
from transformer.errors import UserError, problem, shorten
from transformer.nn.positions import POSITIONS

LONGEST = 16
"""Maximum ratio of a user's text to the longest of the data; memory grows with the square of the length."""


def print_warning(line: str) -> None:
    """Print what may be a mistake beside the answers, which may go to a file."""
    print(f"warning: {line}", file=sys.stderr)


class Request(NamedTuple):
    """Settings with which texts are answered.

    Attributes:
        decoding: settings of decoding; None: the run's.
        seed: seed of sampling; None: the run's.
        num_return: number of answers of a beam to each text, the best first; None: the best one.
    """

    decoding: DecodingConfig | None = None
    seed: int | None = None
    num_return: int | None = None


OWN = Request()
"""The run's own settings, and the best answer."""


class Written(NamedTuple):
    """An answer as a model writes it.

    Attributes:
        ids: token ids, up to and including the end token.
        score: log-probability of these tokens by the model (nats).
    """

    ids: np.ndarray
    score: float


@dataclasses.dataclass(frozen=True)
class TrainedExperiment:
    """An experiment with trained parameters (the average where there is one)."""

    experiment: Experiment
    params: Any
    step: int
    workdir: Path
    averaged: int = 1
    """The number of checkpoints that the parameters are the mean of."""

    @functools.cached_property
    def _evaluations(self) -> dict[Request, Evaluation]:
        """The programs that are compiled."""
        return {}

    def evaluation(self, request: Request = OWN) -> Evaluation:
        """Build the programs of scores and generation, with the run's own settings of decoding or with others.

        The same settings have the same programs, which compile once.
        """
        config, model, task = self.experiment.config, self.experiment.model, self.experiment.task
        seed = config.seed if request.seed is None else request.seed
        request = Request(request.decoding or config.decoding, seed, request.num_return)
        if request not in self._evaluations:
            self._evaluations[request] = Evaluation(model, task, *request)
        return self._evaluations[request]

    def answers(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Generate the token ids of the best answer to each text, up to and including its end token.

        Raises:
            UserError: they cannot fit in the memory.
        """
        return [written[0].ids for written in self.write(texts)]

    def write(
        self,
        texts: Sequence[str],
        request: Request = OWN,
        numbers: Sequence[int] | None = None,
        done: Callable[[int], None] = lambda count: None,
    ) -> list[list[Written]]:
        """Generate the answers to each text, the best first. For `numbers` and `done`, see `Evaluation.generated`.

        Raises:
            UserError: they cannot fit in the memory.
        """
        task = self.experiment.task
        refuse_answers(self.experiment, request.decoding or self.experiment.config.decoding, len(texts))
        found = self.evaluation(request).generated(self.params, texts, numbers=numbers, done=done)
        tokens = found.tokens.reshape(len(texts), -1, found.tokens.shape[-1])
        scores = found.scores.reshape(len(texts), -1)
        return [
            [Written(task.up_to_end(ids), float(score)) for ids, score in zip(*answers, strict=True)]
            for answers in zip(tokens, scores, strict=True)
        ]

    def stream(self, text: str, request: Request = OWN, number: int = 0) -> Iterator[int] | None:
        """Generate the answer to one text, a token at a time; None where it is not written from its first to its last.

        Raises:
            UserError: it cannot fit in the memory.
        """
        refuse_answers(self.experiment, request.decoding or self.experiment.config.decoding, 1)
        evaluation = self.evaluation(request)
        return evaluation.stream(self.params, text, number) if evaluation.streams else None

    def check(
        self,
        texts: Sequence[str],
        answer: int | None = None,
        numbers: Sequence[int] | None = None,
        warn: Callable[[str], None] = print_warning,
    ) -> None:
        """Raise a UserError for a text that the model cannot read; warn of what is read as unknown.

        Args:
            answer: maximum length of the answer (tokens); None: by the run's settings.
            numbers: number of each text, for messages; None: 1, 2, ...
            warn: called with the line about what is read as unknown.
        """
        task, config = self.experiment.task, self.experiment.config.model
        answer = answer or self.experiment.config.decoding.max_new_tokens or task.max_answer_length
        numbers = range(1, len(texts) + 1) if numbers is None else numbers
        if unknown := unknown_line(task, texts):
            warn(unknown)
        for number, text in zip(numbers, texts, strict=True):
            if not text.strip() and not task.starts_blank:
                raise problem(f"text {number} is empty", expected="at least one character that is no space")
        for number, text in zip(numbers, texts, strict=True):
            try:
                (tokens,) = task.read([text])
            except UserError as error:
                raise UserError(f"in text {number}: {error}") from error
            length = task.sequence_length(tokens, answer)
            if length > LONGEST * task.max_sequence_length():
                raise problem(
                    f"text {number} is far longer than anything in training",
                    got=f"{length} tokens with its answer",
                    expected=f"at most {LONGEST * task.max_sequence_length()}, {LONGEST} times the longest of the data",
                    do="Shorten it, or write fewer new tokens.",
                )
            if POSITIONS.of(config, "position").is_bounded and length > config.max_length:
                raise problem(
                    f"text {number} is longer than the model's table of learned positions",
                    got=f"{length} tokens with its answer",
                    expected=f"at most model.max_length = {config.max_length}",
                    do="Shorten it, or write fewer new tokens.",
                )


def unknown_line(task: Task, texts: Sequence[str], most: int = 20) -> str | None:
    """Write a line about the characters, words or parts of texts that are read as unknown; None where all are known.

    Args:
        most: number of them that are named.
    """
    tokenizer, unknown = task.tokenizers.source, set()
    for text in texts:
        pieces = [text] if task.mask_marker is None else tokenizer.around_gaps(text.split(task.mask_marker))
        unknown = unknown.union(*map(tokenizer.unknown_parts, pieces))
    if not unknown:
        return None
    named = [shorten(visible(part) or "'' (an empty word, beside a space)", 40) for part in sorted(unknown)[:most]]
    if tokenizer.unit == "characters":
        return f"these characters were in no training text and are read as unknown: {' '.join(named)}"
    others = f" and {len(unknown) - most:,} others" if len(unknown) > most else ""
    return f"these {tokenizer.unit} are not in the vocabulary and are read as unknown: {', '.join(named)}{others}"
