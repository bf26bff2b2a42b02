"""The objectives of language modelling: each builds batches from windows, reads a user's text and answers it.

For the window x1 x2 x3 x4 of a stream, where x0 stands before it:

    causal   target  x0 x1 x2 x3             labels  x1 x2 x3 x4
    prefix   the same; x0 x1 attend both ways, and only x2 x3 x4 have a weight
    masked   source  x1 <mask> x3 x4         labels  x1 x2 x3 x4       (weight 1 on x2)
    span     source  x1 x2 <s0> <end>        labels  <s0> x3 x4 <end>  (target: the same behind <begin>)

The part that they share is in `language_modelling`.
"""

import dataclasses

import numpy as np
from jaxtyping import Int, Int32

from experiments.data.streams import Stream
from experiments.data.tokenizers.tokens import SpecialTokens, Tokenizer
from experiments.tasks import filling
from experiments.tasks.collating import AttentionView, Example, join
from experiments.tasks.corruption import Spans, mask_tokens
from experiments.tasks.language_modelling import LanguageModelling
from experiments.tasks.task import Batch


@dataclasses.dataclass(frozen=True)
class Causal(LanguageModelling):
    """Causal language modelling: each token from those before it in its document."""

    objective = "causal"
    score_names = (*LanguageModelling.score_names, "bits_per_byte")
    token = "token"
    side = "target"
    mask_marker = None
    continues = True
    starts_blank = True

    @property
    def max_answer_length(self) -> int:
        return max(self.settings.config.context // 2, 1)

    def sequence_length(self, tokens: Int[np.ndarray, "S"], answer_length: int) -> int:
        return len(tokens) + self.behind(answer_length)

    def behind(self, answer_length: int) -> int:
        return answer_length - 1

    def make_batch(
        self, stream: Stream, rows: np.ndarray, rng: np.random.Generator, *, evaluating: bool = False
    ) -> Batch:
        return {
            "target": stream.inputs[rows],
            "labels": stream.labels[rows],
            "loss_weights": np.ones(rows.shape, np.float32),
            **self.segments(stream, rows),
        }

    def read_one(self, text: str) -> Int32[np.ndarray, "S"]:
        return join(SpecialTokens.begin, self.tokenizers.source.encode(text))

    def answer(self, text: str, ids: Int[np.ndarray, "T"]) -> str:
        """Return the text with its continuation."""
        return text + self.tokenizers.source.decode_after(self.read_one(text), self.up_to_end(ids))

    def attention_view(self, text: str, answer: Int[np.ndarray, "T"]) -> AttentionView:
        """Find the self-attention within the text."""
        tokens = self.read_one(text)
        batch, whole = self.prompt(tokens), slice(len(tokens))
        del batch["target_lengths"]
        return AttentionView(batch, "decoder.*.self.weights", whole, whole, tokens, tokens)


@dataclasses.dataclass(frozen=True)
class Prefix(Causal):
    """Causal behind a prefix with attention both ways and no loss; it is half of the window in evaluations."""

    objective = "prefix"
    score_names = LanguageModelling.score_names

    def make_batch(
        self, stream: Stream, rows: np.ndarray, rng: np.random.Generator, *, evaluating: bool = False
    ) -> Batch:
        B, T = rows.shape
        lengths = np.full(B, T // 2) if evaluating else rng.integers(1, T, B)
        batch = super().make_batch(stream, rows, rng)
        # The last position of the prefix predicts the first token behind it.
        batch["loss_weights"] *= np.arange(T) >= lengths[:, None] - 1
        return {**batch, "prefix_lengths": lengths.astype(np.int32)}

    def prompt(self, tokens: Int32[np.ndarray, "S"]) -> Example:
        return {**super().prompt(tokens), "prefix_lengths": len(tokens)}


@dataclasses.dataclass(frozen=True)
class Masked(LanguageModelling):
    """Masked language modelling: hidden tokens from those around them."""

    objective = "masked"
    end = None
    fixed_answer_length = True
    max_answer_length = LanguageModelling.window_length  # every position of a window is predicted

    def make_batch(
        self, stream: Stream, rows: np.ndarray, rng: np.random.Generator, *, evaluating: bool = False
    ) -> Batch:
        labels = stream.labels[rows]
        source, weights = mask_tokens(labels, self.settings.config.mask_rate, self.tokenizers.size, rng)
        return {"source": source, "labels": labels, "loss_weights": weights, **self.segments(stream, rows)}

    def read_one(self, text: str) -> Int32[np.ndarray, "S"]:
        gap_ids = [SpecialTokens.mask] * self.settings.config.context
        return filling.read(text, self.tokenizers.source, gap_ids, ends=False)

    def prompt(self, tokens: Int32[np.ndarray, "S"]) -> Example:
        return {**super().prompt(tokens), "prefix_lengths": 0}  # the logits of every position are read

    def answer(self, text: str, ids: Int[np.ndarray, "T"]) -> str:
        """Return the text with its gaps filled."""
        return filling.fill_masks(text, ids, self.tokenizers.source, self.read_one(text))

    def attention_view(self, text: str, answer: Int[np.ndarray, "T"]) -> AttentionView:
        """Find the self-attention within the text."""
        tokens = self.read_one(text)
        whole = slice(len(tokens))
        return AttentionView({"source": tokens}, "encoder.*.self.weights", whole, whole, tokens, tokens)


@dataclasses.dataclass(frozen=True)
class Span(LanguageModelling):
    """Span corruption: hidden spans from what is left. Each segment starts with <begin>, apart from the one before."""

    objective = "span"
    padded = False  # as many tokens are hidden in every window

    @property
    def spans(self) -> Spans:
        """Corruption of windows."""
        config = self.settings.config
        return Spans.of(config.context, config.mask_rate, config.mean_span)

    @property
    def extra_tokens(self) -> int:
        """Number of sentinels."""
        return self.spans.count

    @property
    def max_answer_length(self) -> int:
        return self.spans.target_length

    @property
    def window_length(self) -> int:
        return max(self.spans.source_length, self.spans.target_length)

    def make_batch(
        self, stream: Stream, rows: np.ndarray, rng: np.random.Generator, *, evaluating: bool = False
    ) -> Batch:
        spans = self.spans
        hidden = spans.draw(len(rows), rng)
        source, labels, source_at, label_at = spans.corrupt(stream.labels[rows], hidden, self.tokenizers.size)
        target = np.pad(labels, ((0, 0), (1, 0)), constant_values=SpecialTokens.begin)[:, :-1]
        batch = {"source": source, "labels": labels, "loss_weights": np.ones(labels.shape, np.float32)}
        batch |= {"label_index": label_at} if evaluating else {}
        segments = self.segments(stream, rows)
        if not segments:
            return {**batch, "target": target}
        documents = segments["source_segments"]
        source_segments = np.take_along_axis(documents, source_at, axis=1)
        target_segments = np.take_along_axis(documents, label_at, axis=1)
        fresh = np.diff(target_segments, axis=1, prepend=0) != 0
        return {
            **batch,
            "target": np.where(fresh, SpecialTokens.begin, target).astype(np.int32),
            "source_segments": source_segments,
            "target_segments": target_segments,
        }

    def read_one(self, text: str) -> Int32[np.ndarray, "S"]:
        sentinels = range(self.tokenizers.size, self.tokenizers.size + self.extra_tokens)
        return filling.read(text, self.tokenizers.source, sentinels, ends=True)

    def token_labels(self, ids: Int[np.ndarray, "T"], tokenizer: Tokenizer) -> list[str]:
        """Return a label for each id; the sentinels are <s0>, <s1> and so on."""
        first = self.tokenizers.size
        sentinels = {first + i: f"<s{i}>" for i in range(self.extra_tokens)}
        return [
            sentinels.get(int(i)) or label for i, label in zip(ids, super().token_labels(ids, tokenizer), strict=True)
        ]

    def prompt(self, tokens: Int32[np.ndarray, "S"]) -> Example:
        return {**super().prompt(tokens), "target": join(SpecialTokens.begin), "target_lengths": 1}

    def answer(self, text: str, ids: Int[np.ndarray, "T"]) -> str:
        """Return the text with its gaps filled."""
        return filling.fill_spans(text, self.up_to_end(ids), self.tokenizers.source, self.tokenizers.size)

    def attention_view(self, text: str, answer: Int[np.ndarray, "T"]) -> AttentionView:
        """Find the cross-attention from each token of the answer to what is left of the text."""
        tokens, predicted = self.read_one(text), self.up_to_end(answer)
        batch = {"source": tokens, "target": join(SpecialTokens.begin, predicted[:-1])}
        return AttentionView(
            batch, "decoder.*.cross.weights", slice(len(predicted)), slice(len(tokens)), tokens, predicted
        )
