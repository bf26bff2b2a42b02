"""Language modelling on windows of a stream of documents: what its objectives share; `objectives` has a class of each.

    causal   decoder_only   each token from those before it
    prefix   decoder_only   the same behind a prefix of random length that sees both ways (task.bidirectional_prefix)
    masked   encoder_only   hidden tokens from those around them
    span     seq2seq        hidden spans from what is left

Their losses are of different things, so their names differ; `continuation` is the objective that is the same for all.
"""

import abc
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Int, Int32

from experiments.data.batching import Batches, rows_of_batch
from experiments.data.examples import TEXT, Document, Splits
from experiments.data.streams import Stream, Windows
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.tasks.collating import Example, collate
from experiments.tasks.filling import MASK_MARKER
from experiments.tasks.task import Batch, Metric, Task, TaskSettings, token_metrics
from transformer.errors import problem

EVALUATION = 2**64
"""The stream of randomness of evaluations. A seed is one word of 32 bits, followed by 1; this is 0, 0, 1."""


@dataclasses.dataclass(frozen=True)
class LanguageModelling(Task):
    """The task of one run, by one objective; made by `build`, or without data by `reopen`."""

    stream: Stream | None
    """Of the training documents."""

    kind = TEXT
    objective: ClassVar[str]
    """Its name, with which those of the metrics begin."""
    kept: ClassVar[tuple[str, ...]] = ("loss", "accuracy", "perplexity")
    """The scores; bits per byte only where all of the text is said."""
    token: ClassVar[str] = "hidden token"
    """What a label is, in words."""
    side: ClassVar[str] = "source"
    """The batch's key of what a text is read as."""
    padded: ClassVar[bool] = True
    """Whether a window may reach beyond the end of the documents."""
    mask_marker = MASK_MARKER

    @abc.abstractmethod
    def pose(self, stream: Stream, rows: np.ndarray, rng: np.random.Generator, *, evaluating: bool = False) -> Batch:
        """The windows at these places (B T) of a stream as a batch; pure but for the generator.

        Args:
            evaluating: adds `label_places`, where in its window each label is from, if that is not its own place.
        """

    @abc.abstractmethod
    def read_one(self, text: str) -> Int32[np.ndarray, "S"]:
        """The tokens of a user's own text."""

    @classmethod
    def texts(cls, splits: Splits) -> tuple[list[str], list[str]]:
        """The training texts that the tokenizers are fitted to."""
        return [document.text for document in splits.train], []

    @classmethod
    def build(cls, settings: TaskSettings, splits: Splits, tokenizers: TokenizerPair) -> Self:
        """The task, planned from the length of its text.

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
                task._check_whole(int(tokenizers.source.lengths(texts).sum()) + len(texts), what)
        return task

    @classmethod
    def reopen(cls, settings: TaskSettings, tokenizers: TokenizerPair, metadata: Mapping[str, Any]) -> Self:
        """The task without its data."""
        return cls(tokenizers, Splits([], [], []), settings, None, (), None)

    @property
    def names(self) -> Mapping[str, str]:
        return {name: f"{self.objective}_{name}" for name in self.kept}

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

    def segments(self, stream: Stream, rows: np.ndarray) -> Batch:
        """The document of each token of these windows, where a stream has several and they do not see each other."""
        packed = self.settings.config.segments and stream.documents[-1] > 1
        return {f"{self.side}_segments": stream.segments(rows)} if packed else {}

    @property
    def batches(self) -> Batches:
        stream, context = self.stream, self.settings.config.context

        def make(starts: np.ndarray, i: int) -> Batch:
            rng = np.random.default_rng((self.settings.seed, 1, i))
            return self.pose(stream, stream.rows(starts, context), rng)

        return Batches(self.plan, make)

    def evaluation_batches(self, examples: Sequence[Document], batch_size: int | None = None) -> Iterator[Batch]:
        """Windows that follow each other over all documents; what is hidden is the same at every evaluation.

        Raises:
            UserError: the documents together are shorter than a window, where windows have no padding.
        """
        stream = Stream.of(self.tokenizers.source.encode_all([document.text for document in examples]))
        context = self.settings.config.context
        count = -(-len(stream) // context)
        if count and not self.padded:
            self._check_whole(len(stream), "given")
        for windows, weights in self._rows(count, batch_size):
            starts = windows * context
            if not self.padded:  # the last window goes back over the one before
                starts = np.minimum(starts, len(stream) - context)
            batch = self._evaluated(stream, stream.rows(starts, context), windows)
            lengths = np.clip(len(stream) - starts, 0, context).astype(np.int32)
            places = batch.pop("label_places", np.arange(context))
            fresh = windows * context - starts  # what the window before has said already is not counted
            batch["loss_weights"] *= (places >= fresh[:, None]) & (places < lengths[:, None])
            if self.padded:
                batch[f"{self.side}_lengths"] = lengths
            batch["loss_weights"] *= weights[:, None]
            yield {**batch, "example_weights": weights}

    def _evaluated(self, stream: Stream, rows: np.ndarray, windows: np.ndarray) -> Batch:
        """Windows, each posed by a generator of its own: what is hidden does not depend on how they are batched."""
        parts = [
            self.pose(stream, row[None], np.random.default_rng((EVALUATION, number)), evaluating=True)
            for row, number in zip(rows, windows.tolist(), strict=True)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _check_longest(self) -> None:
        """Raises a UserError for windows whose sequences the model cannot hold."""
        limit, longest = self.settings.limit, self.window_length
        if limit is not None and longest > limit:
            raise problem(
                f"windows of task.context {self.settings.config.context} make sequences that are longer than the "
                "model's limit",
                got=longest,
                expected=f"at most model.max_length = {limit}",
            )

    def _check_whole(self, length: int, what: str) -> None:
        """Raises a UserError for documents that are too short to hide spans in."""
        context = self.settings.config.context
        if length < context:
            raise problem(
                f"the {what} documents together are shorter than one window",
                got=f"{length:,} tokens, the end of each included",
                expected=f"at least task.context = {context}",
                do="Lower task.context, or take more text.",
            )

    def read(self, texts: Sequence[str]) -> list[Int[np.ndarray, "S"]]:
        """A prompt to continue; or a text whose gaps, each written <mask>, are to be filled.

        Raises:
            UserError: a text without a gap, for the objectives that fill them; or with more than there are sentinels.
        """
        return [self.read_one(text) for text in texts]

    def prompts(self, texts: Sequence[str], batch_size: int | None = None, steps: int | None = None) -> Iterator[Batch]:
        """All batches have one shape, the same for prompts up to half a window that fit the model with their answer.

        Raises:
            UserError: see `read`; a text with gaps that is longer than what is guessed.
        """
        tokens = self.read(texts)
        guessed, most = steps or self.max_answer_length, max(map(len, tokens))
        if self.fixed_answer_length and most > guessed:
            raise problem(
                "a text to fill is longer than what is guessed",
                got=f"{most} tokens",
                expected=f"at most {guessed}, the least of task.context and decoding.max_new_tokens",
                do="Shorten it.",
            )
        room = self.window_length
        if self.mask_marker is None:  # the answer stands behind the text
            room -= max(self.max_answer_length, steps or 0)
        room = max(room, *map(len, tokens))
        for rows, weights in self._rows(len(texts), batch_size):
            framed = [self.prompt(tokens[i]) for i in rows]
            yield {**collate(framed, {"target": 1, self.side: room}), "example_weights": weights}

    def prompt(self, tokens: Int32[np.ndarray, "S"]) -> Example:
        """What generation starts from, for a text of these tokens."""
        return {self.side: tokens, f"{self.side}_lengths": len(tokens)}
