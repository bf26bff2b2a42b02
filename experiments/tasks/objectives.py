"""The objectives of language modelling: how each poses windows, reads a user's text and answers it.

What they share, and the list of them, is in `language_modelling`.
"""

import dataclasses

import numpy as np
from jaxtyping import Int, Int32

from experiments.data.streams import Stream
from experiments.data.tokenizers.tokens import SpecialTokens
from experiments.tasks import filling
from experiments.tasks.collating import AttentionView, Example, join
from experiments.tasks.corruption import Spans, mask_tokens
from experiments.tasks.language_modelling import LanguageModelling
from experiments.tasks.task import Batch


@dataclasses.dataclass(frozen=True)
class Causal(LanguageModelling):
    """Each token from those before it in its document."""

    objective = "causal"
    kept = (*LanguageModelling.kept, "bits_per_byte")
    token = "token"
    side = "target"
    mask_marker = None

    @property
    def max_answer_length(self) -> int:
        return max(self.settings.config.context // 2, 1)

    def sequence_length(self, tokens: Int[np.ndarray, "S"], answer_length: int) -> int:
        return len(tokens) + answer_length - 1

    def pose(self, stream: Stream, rows: np.ndarray, rng: np.random.Generator, *, evaluating: bool = False) -> Batch:
        return {
            "target": stream.inputs[rows],
            "labels": stream.labels[rows],
            "loss_weights": np.ones(rows.shape, np.float32),
            **self.segments(stream, rows),
        }

    def read_one(self, text: str) -> Int32[np.ndarray, "S"]:
        return join(SpecialTokens.begin, self.tokenizers.source.encode(text))

    def answer(self, text: str, ids: Int[np.ndarray, "M"]) -> str:
        """The text with its continuation."""
        return text + self.tokenizers.source.decode(self.up_to_end(ids))

    def attention_view(self, text: str, answer: Int[np.ndarray, "M"]) -> AttentionView:
        """Self-attention within the text."""
        tokens = self.read_one(text)
        batch, whole = self.prompt(tokens), slice(len(tokens))
        del batch["target_lengths"]
        return AttentionView(batch, "decoder.*.self.weights", whole, whole, tokens, tokens)


@dataclasses.dataclass(frozen=True)
class Prefix(Causal):
    """Causal, behind a prefix whose tokens see each other and are not learned; half of the window in evaluations."""

    objective = "prefix"
    kept = LanguageModelling.kept

    def pose(self, stream: Stream, rows: np.ndarray, rng: np.random.Generator, *, evaluating: bool = False) -> Batch:
        B, T = rows.shape
        lengths = np.full(B, T // 2) if evaluating else rng.integers(1, T, B)
        batch = super().pose(stream, rows, rng)
        # The last place of the prefix says the first token behind it.
        batch["loss_weights"] *= np.arange(T) >= lengths[:, None] - 1
        return {**batch, "prefix_lengths": lengths.astype(np.int32)}

    def prompt(self, tokens: Int32[np.ndarray, "S"]) -> Example:
        return {**super().prompt(tokens), "prefix_lengths": len(tokens)}


@dataclasses.dataclass(frozen=True)
class Masked(LanguageModelling):
    """Hidden tokens from those around them."""

    objective = "masked"
    end = -1
    fixed_answer_length = True
    max_answer_length = LanguageModelling.window_length  # every place of a window is guessed

    def pose(self, stream: Stream, rows: np.ndarray, rng: np.random.Generator, *, evaluating: bool = False) -> Batch:
        labels = stream.labels[rows]
        source, weights = mask_tokens(labels, self.settings.config.mask_rate, self.tokenizers.size, rng)
        return {"source": source, "labels": labels, "loss_weights": weights, **self.segments(stream, rows)}

    def read_one(self, text: str) -> Int32[np.ndarray, "S"]:
        gaps = [SpecialTokens.mask] * self.settings.config.context
        return filling.read(text, self.tokenizers.source, gaps, ends=False)

    def prompt(self, tokens: Int32[np.ndarray, "S"]) -> Example:
        return {**super().prompt(tokens), "prefix_lengths": 0}  # the logits of every place are asked for

    def answer(self, text: str, ids: Int[np.ndarray, "M"]) -> str:
        """The text with its gaps filled."""
        return filling.fill_masks(self.read_one(text), ids, self.tokenizers.source)

    def attention_view(self, text: str, answer: Int[np.ndarray, "M"]) -> AttentionView:
        """Self-attention within the text."""
        tokens = self.read_one(text)
        whole = slice(len(tokens))
        return AttentionView({"source": tokens}, "encoder.*.self.weights", whole, whole, tokens, tokens)


@dataclasses.dataclass(frozen=True)
class Span(LanguageModelling):
    """Hidden spans from what is left. A segment's first input is <begin>, so that it sees nothing of the one before."""

    objective = "span"
    padded = False  # as many tokens are hidden in every window

    @property
    def spans(self) -> Spans:
        """How windows are corrupted."""
        config = self.settings.config
        return Spans.of(config.context, config.mask_rate, config.mean_span)

    @property
    def extra_tokens(self) -> int:
        """The sentinels."""
        return self.spans.count

    @property
    def max_answer_length(self) -> int:
        return self.spans.target_length

    @property
    def window_length(self) -> int:
        return max(self.spans.source_length, self.spans.target_length)

    def pose(self, stream: Stream, rows: np.ndarray, rng: np.random.Generator, *, evaluating: bool = False) -> Batch:
        spans = self.spans
        hidden = spans.draw(len(rows), rng)
        source, labels, source_at, label_at = spans.corrupt(stream.labels[rows], hidden, self.tokenizers.size)
        target = np.pad(labels, ((0, 0), (1, 0)), constant_values=SpecialTokens.begin)[:, :-1]
        batch = {"source": source, "labels": labels, "loss_weights": np.ones(labels.shape, np.float32)}
        batch |= {"label_places": label_at} if evaluating else {}
        segments = self.segments(stream, rows)
        if not segments:
            return {**batch, "target": target}
        of_window = segments["source_segments"]
        source_segments = np.take_along_axis(of_window, source_at, axis=1)
        target_segments = np.take_along_axis(of_window, label_at, axis=1)
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

    def prompt(self, tokens: Int32[np.ndarray, "S"]) -> Example:
        return {**super().prompt(tokens), "target": join(SpecialTokens.begin), "target_lengths": 1}

    def answer(self, text: str, ids: Int[np.ndarray, "M"]) -> str:
        """The text with its gaps filled."""
        return filling.fill_spans(
            self.read_one(text), self.up_to_end(ids), self.tokenizers.source, self.tokenizers.size
        )

    def attention_view(self, text: str, answer: Int[np.ndarray, "M"]) -> AttentionView:
        """Cross-attention, from each token of the answer to what is left of the text."""
        tokens, said = self.read_one(text), self.up_to_end(answer)
        batch = {"source": tokens, "target": join(SpecialTokens.begin, said[:-1])}
        return AttentionView(batch, "decoder.*.cross.weights", slice(len(said)), slice(len(tokens)), tokens, said)
