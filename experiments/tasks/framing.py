"""The layout of (source, target) for each architecture, with its sizes: the one place that decides it.

    seq2seq,      source  x1 .. xn <end>                   target  <begin> y1 .. ym
    rnn_seq2seq                                            labels  y1 .. ym <end>
    decoder_only  target  x1 .. xn <separator> y1 .. ym    (one sequence, without its last token)
                  labels  x2 .. <separator> y1 .. ym <end> (weight 1 from y1 on)
    encoder_only  source  x1 .. xn <separator> <mask> .. <mask>
                  labels  0  .. 0  0           y1 .. ym <end> 0 .. (weight 1 on y1 to <end>)

The number of mask slots is the longest training target with its end token, never this example's own length, which the
model could otherwise read off. In all three, the model predicts m + 1 tokens for a target of m: the end token counts;
it predicts m where `ends` is False, for texts that are cut from longer ones. Padding is never a label of weight above
0. For an answer of a tokens, the longest sequence in the model, and the longest source within a limit of L, are

    seq2seq       max(n + 1, a)       L - 1
    decoder_only  n + a               L - a         (the last token that is written is not read)
    encoder_only  n + 1 + slots       L - 1 - slots
"""

import abc
import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from jaxtyping import Int, Int32

from experiments.data.batching import Bucket
from experiments.data.tokenizers.tokens import SpecialTokens
from experiments.tasks.collating import AttentionView, Example, join
from experiments.tasks.rows import PREFIX_READERS
from transformer.errors import problem
from transformer.nn.module_rows import family
from transformer.tables import Choice

Source = Int32[np.ndarray, "S"]
Target = Int32[np.ndarray, "T"]
Lengths = Int[np.ndarray, "B"]
Axes = Mapping[str, tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class Frame(abc.ABC):
    """Layout of pairs, and all its sizes (tokens); one subclass for each layout.

    Attributes:
        max_answer_length: longest answer, its end token included: a training target's, or less where examples are cut.
        limit: longest sequence that the model can hold; None: as long as the data needs.
        bidirectional_prefix: True where the source attends both ways, though the model is a decoder.
        ends: True where an answer has an end token.
        longest_source: longest source of all splits that is answered; 0 before the data is measured.
        full_shape: lengths along `axes` that hold every example of every split, so that evaluation is one program;
            empty before the data is measured.
    """

    max_answer_length: int
    limit: int | None = None
    bidirectional_prefix: bool = False
    ends: bool = True
    longest_source: int = 0
    full_shape: Bucket = ()

    axes: ClassVar[Axes]
    """Axis that is padded -> the batch's keys along it; batches are bucketed by the first axis."""
    fixed_answer_length: ClassVar[bool] = False
    """True where no answer can be longer than `max_answer_length`."""
    one_sequence: ClassVar[bool] = True
    """True where source and answer share one sequence."""

    @abc.abstractmethod
    def example(self, source: Source, target: Target) -> Example:
        """Build one example to learn from.

        Raises:
            UserError: the target, with its end token, does not fit the mask slots.
        """

    @abc.abstractmethod
    def prompt(self, source: Source) -> Example:
        """Build the input from which generation starts."""

    @abc.abstractmethod
    def attention_view(self, source: Source, answer: Target) -> AttentionView:
        """Find the attention from each token of an answer (its end token the last) to the source."""

    @abc.abstractmethod
    def lengths(self, source_lengths: Lengths, target_lengths: Lengths) -> Int[np.ndarray, "B axes"]:
        """Compute the lengths along `axes` of the examples that texts of these lengths give.

        Raises:
            UserError: a target, with its end token, does not fit the mask slots.
        """

    @abc.abstractmethod
    def truncate(self, source_lengths: Lengths, target_lengths: Lengths) -> tuple[Lengths, Lengths]:
        """Compute the lengths to cut sources and targets to, so that no sequence is longer than `limit`."""

    @abc.abstractmethod
    def sequence_length(self, source_length: int, answer_length: int) -> int:
        """Compute the longest sequence in the model while it writes so many tokens for a source of this length."""

    @abc.abstractmethod
    def max_source_length(self, answer_length: int | None = None) -> int | None:
        """Compute the longest source for an answer (None: the longest) within `limit`; None where there is no limit.

        Where the answer alone is longer than the limit, the result is negative.
        """

    def max_sequence_length(self, answer_length: int | None = None) -> int:
        """Compute the longest sequence in training, evaluation, and generation of so many tokens."""
        written = max(answer_length or 0, self.max_answer_length)
        return max([*self.full_shape, self.sequence_length(self.longest_source, written)])

    def _close(self, target: Target) -> Target:
        """Return the tokens that the model predicts for a target."""
        return join(target, SpecialTokens.end) if self.ends else target


@dataclasses.dataclass(frozen=True)
class Seq2Seq(Frame):
    """Two sequences: the encoder reads the source; the decoder writes the target."""

    axes: ClassVar[Axes] = {"source": ("source",), "target": ("target", "labels", "loss_weights")}
    one_sequence = False

    def example(self, source: Source, target: Target) -> Example:
        labels = self._close(target)
        return {
            "source": join(source, SpecialTokens.end),
            "target": join(SpecialTokens.begin, labels[:-1]),
            "labels": labels,
            "loss_weights": np.ones(len(labels), np.float32),
            "source_lengths": len(source) + 1,
            "target_lengths": len(labels),
        }

    def prompt(self, source: Source) -> Example:
        return {
            "source": join(source, SpecialTokens.end),
            "target": join(SpecialTokens.begin),
            "source_lengths": len(source) + 1,
            "target_lengths": 1,
        }

    def attention_view(self, source: Source, answer: Target) -> AttentionView:
        keys = join(source, SpecialTokens.end)
        batch = {"source": keys, "target": join(SpecialTokens.begin, answer[:-1])}
        rows, columns = slice(len(answer)), slice(len(keys))
        return AttentionView(batch, "decoder.*.cross.weights", rows, columns, keys, answer)

    def lengths(self, source_lengths: Lengths, target_lengths: Lengths) -> Int[np.ndarray, "B axes"]:
        return np.stack([source_lengths + 1, target_lengths + self.ends], axis=1)

    def truncate(self, source_lengths: Lengths, target_lengths: Lengths) -> tuple[Lengths, Lengths]:
        if self.limit is None:
            return source_lengths, target_lengths
        return np.minimum(source_lengths, self.limit - 1), np.minimum(target_lengths, self.limit - self.ends)

    def sequence_length(self, source_length: int, answer_length: int) -> int:
        return max(source_length + 1, answer_length)

    def max_source_length(self, answer_length: int | None = None) -> int | None:
        return None if self.limit is None else self.limit - 1


@dataclasses.dataclass(frozen=True)
class DecoderOnly(Frame):
    """One sequence: the source, a separator, the target. The loss is on the target only."""

    axes: ClassVar[Axes] = {"target": ("target", "labels", "loss_weights")}

    def example(self, source: Source, target: Target) -> Example:
        sequence = join(source, SpecialTokens.separator, self._close(target))
        weights = np.zeros(len(sequence) - 1, np.float32)
        weights[len(source) :] = 1.0  # the separator's label is the first token of the target
        return {
            "target": sequence[:-1],
            "labels": sequence[1:],
            "loss_weights": weights,
            "target_lengths": len(weights),
            **self._prefix(source),
        }

    def prompt(self, source: Source) -> Example:
        sequence = join(source, SpecialTokens.separator)
        return {"target": sequence, "target_lengths": len(sequence), **self._prefix(source)}

    def attention_view(self, source: Source, answer: Target) -> AttentionView:
        keys = join(source, SpecialTokens.separator)
        batch = {"target": join(keys, answer[:-1]), **self._prefix(source)}
        rows, columns = slice(len(source), len(source) + len(answer)), slice(len(keys))
        return AttentionView(batch, "decoder.*.self.weights", rows, columns, keys, answer)

    def lengths(self, source_lengths: Lengths, target_lengths: Lengths) -> Int[np.ndarray, "B axes"]:
        return (source_lengths + target_lengths + self.ends)[:, None]

    def truncate(self, source_lengths: Lengths, target_lengths: Lengths) -> tuple[Lengths, Lengths]:
        """Compute the lengths to cut to; where source and target are both too long, each has half of `limit`."""
        if self.limit is None:
            return source_lengths, target_lengths
        tokens = self.limit - self.ends
        targets = np.minimum(target_lengths, np.maximum(tokens // 2, tokens - source_lengths))
        return np.minimum(source_lengths, tokens - targets), targets

    def sequence_length(self, source_length: int, answer_length: int) -> int:
        return source_length + answer_length

    def max_source_length(self, answer_length: int | None = None) -> int | None:
        written = self.max_answer_length if answer_length is None else answer_length
        return None if self.limit is None else self.limit - written

    def _prefix(self, source: Source) -> Example:
        return {"prefix_lengths": len(source) + 1} if self.bidirectional_prefix else {}


@dataclasses.dataclass(frozen=True)
class EncoderOnly(Frame):
    """One sequence: the source, a separator, and mask slots that are all filled at once."""

    axes: ClassVar[Axes] = {"source": ("source", "labels", "loss_weights")}
    fixed_answer_length = True

    @property
    def mask_slots(self) -> int:
        """Number of masks behind each source."""
        return self.max_answer_length

    def example(self, source: Source, target: Target) -> Example:
        answer = self._close(target)
        self._check_slots(len(answer))
        prompt = self._with_slots(source)
        first, end = len(source) + 1, len(source) + 1 + len(answer)
        labels = np.zeros(prompt["source_lengths"], np.int32)
        labels[first:end] = answer
        weights = np.zeros(len(labels), np.float32)
        weights[first:end] = 1.0
        return {**prompt, "labels": labels, "loss_weights": weights}

    def prompt(self, source: Source) -> Example:
        """Build the input from which generation starts: the mask slots follow the prefix."""
        return {**self._with_slots(source), "prefix_lengths": len(source) + 1}

    def attention_view(self, source: Source, answer: Target) -> AttentionView:
        keys, first = join(source, SpecialTokens.separator), len(source) + 1
        rows, columns = slice(first, first + len(answer)), slice(first)
        return AttentionView(self._with_slots(source), "encoder.*.self.weights", rows, columns, keys, answer)

    def lengths(self, source_lengths: Lengths, target_lengths: Lengths) -> Int[np.ndarray, "B axes"]:
        self._check_slots(int(target_lengths.max(initial=0)) + self.ends)
        return (source_lengths + 1 + self.mask_slots)[:, None]

    def truncate(self, source_lengths: Lengths, target_lengths: Lengths) -> tuple[Lengths, Lengths]:
        targets = np.minimum(target_lengths, self.mask_slots - self.ends)
        return source_lengths if self.limit is None else np.minimum(source_lengths, self.max_source_length()), targets

    def sequence_length(self, source_length: int, answer_length: int) -> int:
        return source_length + 1 + max(answer_length, self.mask_slots)

    def max_source_length(self, answer_length: int | None = None) -> int | None:
        return None if self.limit is None else self.limit - 1 - self.mask_slots

    def _with_slots(self, source: Source) -> Example:
        sequence = join(source, SpecialTokens.separator, np.full(self.mask_slots, SpecialTokens.mask, np.int32))
        return {"source": sequence, "source_lengths": len(sequence)}

    def _check_slots(self, answer_length: int) -> None:
        if answer_length > self.mask_slots:
            raise problem(
                "a target is longer than the mask slots of an encoder-only model",
                got=f"{answer_length} tokens, its end token included",
                expected=f"at most {self.mask_slots}, the longest training target with its end token",
                do="Set data.too_long=cut, leave the example out, or take another model.architecture.",
            )


FRAMES: dict[str, type[Frame]] = {
    "encoder_only": EncoderOnly,
    "decoder_only": DecoderOnly,
    "seq2seq": Seq2Seq,
    "rnn_seq2seq": Seq2Seq,
}
"""Architecture -> subclass of `Frame`."""


def frame_for(
    architecture: Choice,
    max_answer_length: int,
    limit: int | None = None,
    *,
    bidirectional_prefix: bool = False,
    ends: bool = True,
) -> Frame:
    """Build the frame of an architecture, its row of FRAMES; for the arguments, see `Frame`.

    Raises:
        UserError: an unknown architecture, or one that cannot read a prefix both ways.
    """
    row = FRAMES[family(architecture)]
    if bidirectional_prefix and family(architecture) not in PREFIX_READERS:
        readers = " or ".join(PREFIX_READERS)
        raise problem("task.bidirectional_prefix is not read here", got=str(architecture), expected=readers)
    return row(max_answer_length, limit, bidirectional_prefix, ends)
