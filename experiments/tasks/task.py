"""What a task is to the training loop and the command lines, which know neither its data nor the architecture."""

import abc
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Int

from experiments.data.batching import Batches, evaluation_batches
from experiments.data.examples import Splits
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.data.tokenizers.tokens import SpecialTokens
from experiments.tasks.collating import AttentionView
from experiments.tasks.config import TaskConfig
from transformer.errors import UserError, problem

Batch = dict[str, np.ndarray]


class Metric(NamedTuple):
    """A score by name: which way is better ("max" or "min"), and its unit in words."""

    mode: str
    unit: str


@dataclasses.dataclass(frozen=True)
class TaskSettings:
    """The settings by which a task is posed, from several sections of the config."""

    config: TaskConfig
    architecture: str
    seed: int = 0
    batch_size: int = 64
    batch_tokens: int | None = None
    accumulation: int = 1
    num_buckets: int = 1
    length_multiple: int = 1
    limit: int | None = None
    """The longest sequence that the model can hold (tokens); None: as long as the data needs."""
    too_long: str = "refuse"
    """What happens to an example beyond the limit: "refuse" or "cut"."""

    @property
    def cuts(self) -> bool:
        """True where examples beyond the limit are cut."""
        return self.limit is not None and self.too_long == "cut"

    @property
    def rows(self) -> dict[str, int | None]:
        """How large a batch is, for `Plan`."""
        if self.batch_tokens is None:
            return {"batch_size": self.batch_size}
        return {"batch_size": self.accumulation, "batch_tokens": self.batch_tokens}


@dataclasses.dataclass(frozen=True)
class Task(abc.ABC):
    """A task with its data. `metadata` (JSON) and the tokenizers are all that answering a text needs."""

    tokenizers: TokenizerPair
    splits: Splits
    settings: TaskSettings
    plan: Any
    """Has `batch(i)`, `shapes` and `padding`; None where the data was not read."""
    notes: tuple[str, ...]
    """What a person should know of how the data was posed, a line each."""

    @property
    @abc.abstractmethod
    def metrics(self) -> Mapping[str, Metric]:
        """The scores of an evaluation; the best checkpoint is kept by the first one unless a setting names another."""

    @property
    @abc.abstractmethod
    def names(self) -> Mapping[str, str]:
        """The names, in this task, of "loss" (nats per label) and "accuracy" (share of labels), and of what follows."""

    @property
    @abc.abstractmethod
    def metadata(self) -> dict[str, Any]:
        """What is known from the data and needed to answer a text, as JSON can hold it."""

    @abc.abstractmethod
    def max_sequence_length(self, answer_length: int | None = None) -> int:
        """Return the length that the model must hold (tokens), in training, evaluation and generation.

        Args:
            answer_length: most tokens that generation writes; None: `max_answer_length`.
        """

    @property
    @abc.abstractmethod
    def batches(self) -> Batches:
        """The training batch of each step."""

    @abc.abstractmethod
    def evaluation_batches(self, examples: Sequence, batch_size: int | None = None) -> Iterator[Batch]:
        """Batches of one shape over examples of a split in order; `loss_weights` are 0 where the last is filled up."""

    @abc.abstractmethod
    def attention_view(self, text: str, answer: Int[np.ndarray, "M"]) -> AttentionView:
        """Where the model looks while it answers a text."""

    # What follows has an answer for tasks that have no part in it.

    generates: ClassVar[bool] = False
    """Whether evaluations compare what the model writes with what is right."""
    extra_tokens: ClassVar[int] = 0
    """Ids that the task needs beyond those of the tokenizers."""
    end: ClassVar[int] = SpecialTokens.end
    """The token that ends an answer; -1: none does."""
    max_answer_length: ClassVar[int] = 0
    """Most tokens that an answer has, unless decoding.max_new_tokens says otherwise."""
    fixed_answer_length: ClassVar[bool] = False
    """Whether an answer cannot be longer than `max_answer_length`."""
    mask_marker: ClassVar[str | None] = None
    """What stands in a text for each place to guess; None: texts have no gaps."""

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The labels of a classifier, in the order of its logits."""
        return None

    @property
    def vocab_size(self) -> int:
        """V, as many ids as the tokenizers and the task need."""
        return self.tokenizers.size + self.extra_tokens

    @property
    def num_programs(self) -> int:
        """How many shapes training batches have: as many programs compile for `update`."""
        return len(self.plan.shapes)

    def training_batches(self, start_step: int = 0) -> Iterator[Batch]:
        """The batches of steps `start_step`, `start_step` + 1, ..., without end."""
        return self.batches.starting_at(start_step)

    def read(self, texts: Sequence[str]) -> list[Int[np.ndarray, "S"]]:
        """The tokens of a user's own texts as the model is to read them."""
        return [self.tokenizers.source.encode(text) for text in texts]

    def sequence_length(self, tokens: Int[np.ndarray, "S"], answer_length: int) -> int:
        """The longest sequence in the model while it writes `answer_length` tokens for a text of these tokens."""
        return len(tokens) + answer_length

    def prompts(self, texts: Sequence, batch_size: int | None = None, steps: int | None = None) -> Iterator[Batch]:
        """What generation starts from, for texts in order; `example_weights` (B) is 0 where the last is filled up.

        Args:
            steps: tokens that will be written; None: `max_answer_length`.
        """
        raise self.no_writer()

    def answer(self, text: str, ids: Int[np.ndarray, "M"]) -> str:
        """What is shown for a text and the tokens that were generated for it."""
        raise self.no_writer()

    def no_writer(self) -> UserError:
        """The error of asking for text where there is none."""
        return problem(f"task {self.settings.config.name!r} writes no text", do="Try experiments.evaluate.")

    def up_to_end(self, ids: Int[np.ndarray, "M"]) -> Int[np.ndarray, "M"]:
        """An answer's tokens, the end token the last of them if there is one."""
        ends = np.flatnonzero(np.asarray(ids) == self.end)
        return ids[: ends[0] + 1] if ends.size else ids

    def scores(self, totals: Mapping[str, float]) -> dict[str, float]:
        """The scores by name from sums over labels: nats, correct, tokens, bytes; NaN where there is no label."""
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
        """The metrics of training steps, with this task's names."""
        return {self.names.get(name, name): value for name, value in step.items()}

    def _rows(self, count: int, asked: int | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The indices and weights of evaluation batches over `count` examples."""
        return evaluation_batches(count, self._size(count, asked))

    def _size(self, count: int, asked: int | None) -> int:
        """Examples in a batch of `count` in all."""
        return max(1, min(asked or self.settings.batch_size, count))


TOKEN_UNITS = {
    "loss": Metric("min", "nats per {token}"),
    "accuracy": Metric("max", "of {token}s"),
    "perplexity": Metric("min", "per {token}"),
    "bits_per_byte": Metric("min", "bits per byte of UTF-8"),
}


def token_metrics(names: Mapping[str, str], token: str = "token") -> dict[str, Metric]:
    """The metrics of losses over tokens, for these names."""
    return {
        name: Metric(TOKEN_UNITS[key].mode, TOKEN_UNITS[key].unit.format(token=token)) for key, name in names.items()
    }
