"""The interface of a task to the training loop and the command lines, which depend on neither its data nor its model.

    config --`TaskSettings`--> build(settings, splits, tokenizers)         a task with its data
    run's files ------------> reopen(settings, tokenizers, metadata)      a task that can answer texts

    batches, evaluation_batches    what training and evaluation read
    read, prompts, answer          a user's text: its tokens, the prompt, and what is printed of the tokens generated
    metrics, names, scores         sums over labels as named scores

`rows.TASKS` and `rows.OBJECTIVES` list the subclasses; one of a user's own is a subclass of one of these.
"""

import abc
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from jaxtyping import Int

from experiments.data.batching import Batches, evaluation_batches
from experiments.data.examples import Splits
from experiments.data.stored_json import Fields, whole
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.data.tokenizers.tokens import SpecialTokens, Tokenizer
from experiments.tasks.collating import AttentionView
from experiments.tasks.config import TaskConfig, row_of
from experiments.tasks.metrics import TextMetric, own_metrics, refuse_same_names
from transformer.errors import UserError, problem
from transformer.tables import Choice

Batch = dict[str, np.ndarray]


class Metric(NamedTuple):
    """A score: which way is better ("max" or "min"), its unit in words, its least and greatest value."""

    mode: str
    unit: str
    bounds: tuple[float, float] = (0.0, math.inf)


SHARE = (0.0, 1.0)
"""The bounds of a score that is a share."""


@dataclasses.dataclass(frozen=True)
class TaskSettings:
    """Settings that a task reads, from several sections of the config."""

    config: TaskConfig
    architecture: Choice
    seed: int = 0
    batch_size: int = 64
    batch_tokens: int | None = None
    accumulation: int = 1
    num_buckets: int = 1
    length_multiple: int = 1
    limit: int | None = None
    """Longest sequence that the model can hold (tokens); None: as long as the data needs."""
    too_long: str = "refuse"
    """Treatment of an example beyond the limit: "refuse" or "cut"."""

    @property
    def own(self) -> Any:
        """Own settings of a row from outside: `task.name_settings`, or `task.objective_settings`; None without any."""
        return row_of(self.config, self.architecture).settings

    @property
    def cuts(self) -> bool:
        """True where examples beyond the limit are cut."""
        return self.limit is not None and self.too_long == "cut"

    @property
    def rows(self) -> dict[str, int | None]:
        """Size of a batch, as the arguments of `Plan`."""
        if self.batch_tokens is None:
            return {"batch_size": self.batch_size}
        return {"batch_size": self.accumulation, "batch_tokens": self.batch_tokens}


A_LENGTH = whole(0, 10**7)
"""Shape of a length in task.json (tokens)."""


@dataclasses.dataclass(frozen=True)
class Task(abc.ABC):
    """A task with its data; `metadata` and the tokenizers are all that it needs to answer a text."""

    tokenizers: TokenizerPair
    splits: Splits
    settings: TaskSettings
    plan: Any
    """Order of the training batches, with `batch(i)`, `shapes` and `padding`; None where the data was not read."""
    notes: tuple[str, ...]
    """Remarks on the data for the user, a line each, such as how many examples are cut."""

    kind: ClassVar[str]
    """Kind of the data that it reads: TEXT, PAIRS or LABELS."""

    @classmethod
    @abc.abstractmethod
    def texts(cls, splits: Splits) -> tuple[list[str], list[str]]:
        """Return the training texts to which the tokenizers are fitted: of the sources and of the targets."""

    @classmethod
    @abc.abstractmethod
    def build(cls, settings: TaskSettings, splits: Splits, tokenizers: TokenizerPair) -> Self:
        """Build the task, planned from its data. Raises a UserError where data and settings do not fit each other."""

    @classmethod
    @abc.abstractmethod
    def reopen(cls, settings: TaskSettings, tokenizers: TokenizerPair, metadata: Mapping[str, Any]) -> Self:
        """Build the task without its data; it can answer texts."""

    @property
    @abc.abstractmethod
    def metrics(self) -> Mapping[str, Metric]:
        """Scores of an evaluation; the best checkpoint is kept by the first one unless a setting names another."""

    @property
    @abc.abstractmethod
    def names(self) -> Mapping[str, str]:
        """Names that this task gives to "loss" (nats per label), "accuracy" (share of labels) and its other scores."""

    @property
    @abc.abstractmethod
    def metadata(self) -> dict[str, Any]:
        """Metadata of the data that answering a text needs, as JSON can hold it; the keys are those of task.json."""

    @abc.abstractmethod
    def max_sequence_length(self, answer_length: int | None = None) -> int:
        """Compute the longest sequence that the model must hold (tokens), in training, evaluation and generation.

        Args:
            answer_length: most tokens that generation writes; None: `max_answer_length`.
        """

    @property
    @abc.abstractmethod
    def batches(self) -> Batches:
        """Training batches, one for each step."""

    @abc.abstractmethod
    def evaluation_batches(self, examples: Sequence, batch_size: int | None = None) -> Iterator[Batch]:
        """Yield batches of one shape over examples in order; `loss_weights` are 0 where the last one is filled up."""

    @abc.abstractmethod
    def attention_view(self, text: str, answer: Int[np.ndarray, "T"]) -> AttentionView:
        """Find the attention from an answer to its text."""

    # The members below have a default, for tasks to which they do not apply.

    def limited(self, limit: int) -> Self:
        """Return the task for a model that holds sequences of `limit` tokens, which is enough for its data."""
        return dataclasses.replace(self, settings=dataclasses.replace(self.settings, limit=limit))

    @classmethod
    def transform(cls, splits: Splits, settings: TaskSettings) -> Splits:
        """Transform the examples of the source, before tokenizers are fitted to them; a text of a user's is not.

        A function of its arguments alone: a run that is continued or opened calls it again.
        """
        return splits

    metadata_shape: ClassVar[Fields] = Fields({})
    """Shape of `metadata` in task.json."""
    generates: ClassVar[bool] = False
    """True where evaluations compare the answers that the model writes with the targets."""
    extra_tokens: ClassVar[int] = 0
    """Number of ids that the task needs beyond those of the tokenizers."""
    end: ClassVar[int | None] = SpecialTokens.end
    """Token that ends an answer; None: none does."""
    max_answer_length: ClassVar[int] = 0
    """Longest answer (tokens), unless decoding.max_new_tokens sets another limit."""
    fixed_answer_length: ClassVar[bool] = False
    """True where no answer can be longer than `max_answer_length`."""
    unit: ClassVar[str] = "examples"
    """Name of what a batch is made of, for lines and errors."""
    mask_marker: ClassVar[str | None] = None
    """Marker of each gap that a text leaves to be filled; None: texts have no gaps."""

    continues: ClassVar[bool] = False
    """True where an answer continues its text, so that its first token is not written as that of a text."""
    starts_blank: ClassVar[bool] = False
    """True where a blank text can be answered: the model begins from its start token."""

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Labels of a classifier, in the order of its logits; None for other tasks."""
        return None

    @property
    def own_metrics(self) -> dict[str, TextMetric]:
        """Metrics of answers or labels that task.metrics names, by the names of their scores; a task may add some."""
        return own_metrics(self.settings.config.metrics)

    def with_own(self, metrics: dict[str, Metric]) -> dict[str, Metric]:
        """Return metrics with those of a user's own behind them. Raises a UserError if two have one name."""
        own = self.own_metrics
        refuse_same_names(own, metrics)
        return metrics | {name: Metric(row.mode, row.unit, row.bounds) for name, row in own.items()}

    @property
    def vocab_size(self) -> int:
        """Number of ids that the tokenizers and the task need, V."""
        return self.tokenizers.size + self.extra_tokens

    @property
    def num_programs(self) -> int:
        """Number of shapes of training batches: as many programs compile for `update`."""
        return len(self.plan.shapes)

    @property
    def training_size(self) -> int:
        """Number of `unit`s in an epoch of training."""
        return len(self.splits.train)

    def size(self, examples: Sequence) -> int:
        """Count the `unit`s that an evaluation of these examples has."""
        return len(examples)

    def training_batches(self, start_step: int = 0) -> Iterator[Batch]:
        """Yield the batches of steps `start_step`, `start_step` + 1, ..., without end."""
        return self.batches.starting_at(start_step)

    def read(self, texts: Sequence[str]) -> list[Int[np.ndarray, "S"]]:
        """Encode a user's own texts as the model is to read them."""
        return [self.tokenizers.source.encode(text) for text in texts]

    def sequence_length(self, tokens: Int[np.ndarray, "S"], answer_length: int) -> int:
        """Compute the longest sequence in the model while it writes so many tokens for a text of these tokens."""
        return len(tokens) + answer_length

    def prompts(self, texts: Sequence, batch_size: int | None = None, steps: int | None = None) -> Iterator[Batch]:
        """Yield prompts for texts in order; `example_weights` (B) is 0 where the last batch is filled up.

        Args:
            steps: number of tokens that will be written; None: `max_answer_length`.
        """
        raise self.no_writer()

    def answer(self, text: str, ids: Int[np.ndarray, "T"]) -> str:
        """Decode the tokens that were generated for a text, as they are printed."""
        raise self.no_writer()

    def token_labels(self, ids: Int[np.ndarray, "T"], tokenizer: Tokenizer) -> list[str]:
        """Return a label for each id of a tokenizer or of the task itself, for the axes of a picture."""
        return tokenizer.tokens(ids)

    def no_writer(self) -> UserError:
        """Build the error for a task that writes no text."""
        return problem(f"task {str(self.settings.config.name)!r} writes no text", do="Try experiments.evaluate.")

    def up_to_end(self, ids: Int[np.ndarray, "T"]) -> Int[np.ndarray, "T"]:
        """Cut an answer behind its end token, if it has one."""
        if self.end is None:
            return ids
        ends = np.flatnonzero(np.asarray(ids) == self.end)
        return ids[: ends[0] + 1] if ends.size else ids

    def scores(self, totals: Mapping[str, float]) -> dict[str, float]:
        """Compute the scores from sums over labels: nats, correct, tokens, bytes; NaN where there is no label."""
        tokens = totals["tokens"] or math.nan
        loss = totals["nats"] / tokens
        values = {
            "loss": loss,
            "accuracy": totals["correct"] / tokens,
            "perplexity": math.exp(min(loss, 700.0)),
            "bits_per_byte": totals["nats"] / math.log(2) / totals["bytes"] if totals["bytes"] else math.nan,
        }
        return {name: values[key] for key, name in self.names.items()}

    def named(self, step: Mapping[str, float]) -> dict[str, float]:
        """Return the metrics of training steps under this task's names."""
        return {self.names.get(name, name): value for name, value in step.items()}

    def _rows(self, count: int, batch_size: int | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the indices and weights of evaluation batches over `count` examples."""
        return evaluation_batches(count, self._size(count, batch_size))

    def _size(self, count: int, batch_size: int | None) -> int:
        """Return the number of examples in a batch of evaluation."""
        return max(1, min(batch_size or self.settings.batch_size, count))


TOKEN_UNITS = {
    "loss": Metric("min", "nats per {token}"),
    "accuracy": Metric("max", "of {token}s", SHARE),
    "perplexity": Metric("min", "per {token}", (1.0, math.inf)),
    "bits_per_byte": Metric("min", "bits per byte of UTF-8"),
}


def token_metrics(names: Mapping[str, str], token: str = "token") -> dict[str, Metric]:
    """Build the metrics of losses over tokens, for these names."""
    return {
        name: TOKEN_UNITS[key]._replace(unit=TOKEN_UNITS[key].unit.format(token=token)) for key, name in names.items()
    }
