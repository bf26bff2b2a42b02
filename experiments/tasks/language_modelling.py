"""Language modelling on windows of a stream of documents: the part that the classes of `objectives` share.

    causal   decoder_only   each token from those before it
    prefix   decoder_only   the same behind a prefix of random length that attends both ways (task.bidirectional_prefix)
    masked   encoder_only   hidden tokens from those around them
    span     seq2seq        hidden spans from what is left

Their losses measure different things, so their names differ; `continuation` is the same for all architectures.
"""

import abc
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Int, Int32

from experiments.data.batching import Batches, rows_of_batch
from experiments.data.examples import TEXT, Document, Splits
from experiments.data.request_sizes import padded_length
from experiments.data.streams import Stream, Windows
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.tasks.collating import Example, collate
from experiments.tasks.filling import MASK_MARKER
from experiments.tasks.task import Batch, Metric, Task, TaskSettings, token_metrics
from transformer.errors import problem

EVALUATION = 2**64
"""First entry of the seeds of evaluations, the words 0, 0, 1; a run's seed is one word of 32 bits, followed by 1."""


@dataclasses.dataclass(frozen=True)
class LanguageModelling(Task):
    """The task of one run, by one objective; made by `build`, or without data by `reopen`.

    Attributes:
        stream: training documents; None without data.
    """

    stream: Stream | None

    kind = TEXT
    objective: ClassVar[str]
    """Name of the objective, with which the names of the metrics begin."""
    score_names: ClassVar[tuple[str, ...]] = ("loss", "accuracy", "perplexity")
    """Scores of the objective; bits per byte only where all of the text is predicted."""
    token: ClassVar[str] = "hidden token"
    """Name of a label, for the units of the metrics."""
    side: ClassVar[str] = "source"
    """Key of the batch under which a text is read: "source" or "target"."""
    unit = "windows"
    padded: ClassVar[bool] = True
    """True where a window may reach beyond the end of the documents."""
    mask_marker = MASK_MARKER

    @abc.abstractmethod
    def make_batch(
        self, stream: Stream, rows: np.ndarray, rng: np.random.Generator, *, evaluating: bool = False
    ) -> Batch:
        """Build the batch of the windows at these positions (B T) of a stream; pure but for the generator.

        Args:
            evaluating: adds `label_index`, the index in its window from which each label is taken, if not its own.
        """

    @abc.abstractmethod
    def read_one(self, text: str) -> Int32[np.ndarray, "S"]:
        """Encode one text of a user."""

    @classmethod
    def texts(cls, splits: Splits) -> tuple[list[str], list[str]]:
        """Return the training texts to which the tokenizers are fitted."""
        return [document.text for document in splits.train], []

    @classmethod
    def build(cls, settings: TaskSettings, splits: Splits, tokenizers: TokenizerPair) -> Self:
        """Build the task, planned from the length of its text.

        Raises:
            UserError: the text is shorter than a batch; a window makes a sequence longer than the model's limit; a
                held-out split is shorter than a window, where windows have no padding.
        """
        stream = Stream.of(tokenizers.source.encode_all(cls.texts(splits)[0]))
        context, by_tokens = settings.config.context, settings.batch_tokens is not None
        batch_size = rows_of_batch((context,), **settings.rows)
        plan = Windows(len(stream), context, batch_size, settings.seed, by_tokens=by_tokens)
        task = cls(tokenizers, splits, settings, plan, (), stream)
        task._check_longest()
        for split, what in ((splits.validation, "validation"), (splits.test, "test")):
            if split and not task.padded:
                texts = [document.text for document in split]
                task._check_one_window(int(tokenizers.source.lengths(texts).sum()) + len(texts), what)
        return task

    @classmethod
    def reopen(cls, settings: TaskSettings, tokenizers: TokenizerPair, metadata: Mapping[str, Any]) -> Self:
        """Build the task without its data; it can answer texts."""
        return cls(tokenizers, Splits([], [], []), settings, None, (), None)

    @property
    def names(self) -> Mapping[str, str]:
        return {name: f"{self.objective}_{name}" for name in self.score_names}

    @property
    def metrics(self) -> Mapping[str, Metric]:
        return token_metrics(self.names, self.token)

    @property
    def metadata(self) -> dict[str, Any]:
        return {}

    @property
    def window_length(self) -> int:
        """Longest sequence that a window becomes (tokens)."""
        return self.settings.config.context

    def max_sequence_length(self, answer_length: int | None = None) -> int:
        return max(self.window_length, answer_length or 0)

    def sequence_length(self, tokens: Int[np.ndarray, "S"], answer_length: int) -> int:
        return max(len(tokens), self.max_answer_length)

    def behind(self, answer_length: int) -> int:
        """Count the tokens of an answer that the model reads behind its text, in the same sequence."""
        return 0

    @property
    def training_size(self) -> int:
        return self.plan.windows_per_epoch

    def size(self, examples: Sequence[Document]) -> int:
        tokens = int(self.tokenizers.source.lengths([document.text for document in examples]).sum())
        return -(-(tokens + len(examples)) // self.settings.config.context)

    def segments(self, stream: Stream, rows: np.ndarray) -> Batch:
        """Return the document of each token, where a stream has several that do not attend to each other."""
        packed = self.settings.config.segments and stream.documents[-1] > 1
        return {f"{self.side}_segments": stream.segments(rows)} if packed else {}

    @property
    def batches(self) -> Batches:
        stream, context = self.stream, self.settings.config.context

        def make(starts: np.ndarray, i: int) -> Batch:
            rng = np.random.default_rng((self.settings.seed, 1, i))
            return self.make_batch(stream, stream.rows(starts, context), rng)

        return Batches(self.plan, make, by_example=False)  # an objective may draw for a batch

    def evaluation_batches(self, examples: Sequence[Document], batch_size: int | None = None) -> Iterator[Batch]:
        """Yield windows that follow each other over all documents; the same tokens are hidden at every evaluation.

        Raises:
            UserError: the documents together are shorter than a window, where windows have no padding.
        """
        stream = Stream.of(self.tokenizers.source.encode_all([document.text for document in examples]))
        context = self.settings.config.context
        count = -(-len(stream) // context)
        if count and not self.padded:
            self._check_one_window(len(stream), "given")
        for windows, weights in self._rows(count, batch_size):
            starts = windows * context
            if not self.padded:  # the last window goes back over the one before
                starts = np.minimum(starts, len(stream) - context)
            batch = self._batch_of_windows(stream, stream.rows(starts, context), windows)
            lengths = np.clip(len(stream) - starts, 0, context).astype(np.int32)
            index = batch.pop("label_index", np.arange(context))
            fresh = windows * context - starts  # labels of the window before are not counted twice
            batch["loss_weights"] *= (index >= fresh[:, None]) & (index < lengths[:, None])
            if self.padded:
                batch[f"{self.side}_lengths"] = lengths
            batch["loss_weights"] *= weights[:, None]
            yield {**batch, "example_weights": weights}

    def _batch_of_windows(self, stream: Stream, rows: np.ndarray, windows: np.ndarray) -> Batch:
        """Build each window with a generator of its own, so that batching does not change which tokens are hidden."""
        parts = [
            self.make_batch(stream, row[None], np.random.default_rng((EVALUATION, number)), evaluating=True)
            for row, number in zip(rows, windows.tolist(), strict=True)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _check_longest(self) -> None:
        """Raise a UserError for windows whose sequences the model cannot hold."""
        limit, longest = self.settings.limit, self.window_length
        if limit is not None and longest > limit:
            raise problem(
                f"windows of task.context {self.settings.config.context} make sequences that are longer than the "
                "model's limit",
                got=longest,
                expected=f"at most model.max_length = {limit}",
            )

    def _check_one_window(self, length: int, what: str) -> None:
        """Raise a UserError for documents that are too short to hide spans in."""
        context = self.settings.config.context
        if length < context:
            raise problem(
                f"the {what} documents together are shorter than one window",
                got=f"{length:,} tokens, the end of each included",
                expected=f"at least task.context = {context}",
                do="Lower task.context, or take more text.",
            )

    def read(self, texts: Sequence[str]) -> list[Int[np.ndarray, "S"]]:
        """Encode prompts to continue, or texts whose gaps, each written <mask>, are to be filled.

        Raises:
            UserError: a text without a gap, for the objectives that fill them; or with more than there are sentinels.
        """
        return [self.read_one(text) for text in texts]

    def prompts(self, texts: Sequence[str], batch_size: int | None = None, steps: int | None = None) -> Iterator[Batch]:
        """Yield prompts in batches of one shape, one of few (`request_sizes`).

        Raises:
            UserError: see `read`; a text with gaps that is longer than the answer.
        """
        tokens = self.read(texts)
        answer_length, longest = steps or self.max_answer_length, max(map(len, tokens))
        if self.fixed_answer_length and longest > answer_length:
            raise problem(
                "a text to fill is longer than what is guessed",
                got=f"{longest} tokens",
                expected=f"at most {answer_length}, the least of task.context and decoding.max_new_tokens",
                do="Shorten it.",
            )
        most = None if self.settings.limit is None else self.settings.limit - self.behind(answer_length)
        padded = padded_length(longest, self.window_length, most)
        for rows, weights in self._rows(len(texts), batch_size):
            framed = [self.prompt(tokens[i]) for i in rows]
            yield {**collate(framed, {"target": 1, self.side: padded}), "example_weights": weights}

    def prompt(self, tokens: Int32[np.ndarray, "S"]) -> Example:
        """Build the prompt of a text of these tokens."""
        return {self.side: tokens, f"{self.side}_lengths": len(tokens)}
