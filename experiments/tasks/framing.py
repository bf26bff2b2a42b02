"""How (source, target) is posed for each architecture: the one place that knows.

    seq2seq,      source  x1 .. xn <end>                   target  <begin> y1 .. ym
    rnn_seq2seq                                            labels  y1 .. ym <end>
    decoder_only  target  x1 .. xn <separator> y1 .. ym    (one sequence, without its last token)
                  labels  x2 .. <separator> y1 .. ym <end> (weight 1 from y1 on)
    encoder_only  source  x1 .. xn <separator> <mask> .. <mask>
                  labels  0  .. 0  0           y1 .. ym <end> 0 .. (weight 1 on y1 to <end>)

The number of mask slots is the longest training target with its end token, never this example's own length, which the
model could otherwise read off. In all three, the model says m + 1 tokens for a target of m: the end token counts; it
says m where `ends` is False, for texts that are cut from longer ones. Padding is never a label of weight above 0.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Int, Int32

from experiments.data.tokenizers.table import SpecialTokens
from experiments.tasks.config import PREFIX_READERS
from transformer.errors import look_up, problem

Source = Int32[np.ndarray, "S"]
Target = Int32[np.ndarray, "T"]
Example = dict[str, Int32[np.ndarray, "_"] | Float32[np.ndarray, "_"] | int]
"""Key of the batch -> the array or the length of one example."""


@dataclasses.dataclass(frozen=True)
class AttentionView:
    """Where the source and the answer of one example stand in the weights of an activation.

    Attributes:
        batch: what the model is applied to, without the batch axis.
        activation: name of the weights, T S of each layer and head.
        rows: queries that say the answer, one for each of its tokens.
        columns: keys of the source.
        keys: the tokens of the columns.
        queries: the tokens of the rows: what each says, or stands at.
    """

    batch: Example
    activation: str
    rows: slice
    columns: slice
    keys: Int32[np.ndarray, "S"]
    queries: Int[np.ndarray, "T"]


@dataclasses.dataclass(frozen=True)
class Seq2Seq:
    """The encoder reads the source; the decoder writes the target."""

    bidirectional_prefix: bool = False
    ends: bool = True
    """Whether an answer has an end token."""
    fixed_answer_length: ClassVar[bool] = False
    """Whether an answer cannot be longer than `slots`."""
    one_sequence: ClassVar[bool] = False
    """Whether source and answer share one sequence."""
    axes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "source": ("source",),
        "target": ("target", "labels", "loss_weights"),
    }
    """Axis that is padded -> the batch's keys along it; batches are bucketed by the first axis."""

    def example(self, source: Source, target: Target, slots: int) -> Example:
        """One example to learn from."""
        labels = _closed(target, self.ends)
        return {
            "source": join(source, SpecialTokens.end),
            "target": join(SpecialTokens.begin, labels[:-1]),
            "labels": labels,
            "loss_weights": np.ones(len(labels), np.float32),
            "source_lengths": len(source) + 1,
            "target_lengths": len(labels),
        }

    def prompt(self, source: Source, slots: int) -> Example:
        """What generation starts from."""
        return {
            "source": join(source, SpecialTokens.end),
            "target": join(SpecialTokens.begin),
            "source_lengths": len(source) + 1,
            "target_lengths": 1,
        }

    def attention_view(self, source: Source, answer: Target, slots: int) -> AttentionView:
        """Cross-attention, from each token of the answer (its end token the last) to the source."""
        keys = join(source, SpecialTokens.end)
        batch = {"source": keys, "target": join(SpecialTokens.begin, answer[:-1])}
        return AttentionView(batch, "decoder.*.cross.weights", slice(len(answer)), slice(len(keys)), keys, answer)

    def lengths(self, source_lengths: np.ndarray, target_lengths: np.ndarray, slots: int) -> Int[np.ndarray, "B A"]:
        """The lengths along `axes` that `example` will have for texts of these lengths."""
        return np.stack([source_lengths + 1, target_lengths + self.ends], axis=1)

    def truncate(
        self, sources: np.ndarray, targets: np.ndarray, slots: int, limit: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The lengths of source and target to cut to, so that no sequence in the model is longer than `limit`."""
        return np.minimum(sources, limit - 1), np.minimum(targets, limit - self.ends)

    def sequence_length(self, source_length: int, slots: int) -> int:
        """The longest sequence in the model while it writes `slots` tokens for a source of this length."""
        return max(source_length + 1, slots)

    def max_source_length(self, slots: int, limit: int) -> int:
        """The longest source that can be answered with `slots` tokens within `limit`."""
        return limit - 1


@dataclasses.dataclass(frozen=True)
class DecoderOnly:
    """One sequence: the source, a separator, the target. The loss is on the target only."""

    bidirectional_prefix: bool = False
    ends: bool = True
    """Whether an answer has an end token."""
    fixed_answer_length: ClassVar[bool] = False
    one_sequence: ClassVar[bool] = True
    axes: ClassVar[Mapping[str, tuple[str, ...]]] = {"target": ("target", "labels", "loss_weights")}

    def example(self, source: Source, target: Target, slots: int) -> Example:
        """One example to learn from."""
        sequence = join(source, SpecialTokens.separator, _closed(target, self.ends))
        weights = np.zeros(len(sequence) - 1, np.float32)
        weights[len(source) :] = 1.0  # the separator's label is the first token of the target
        return {
            "target": sequence[:-1],
            "labels": sequence[1:],
            "loss_weights": weights,
            "target_lengths": len(weights),
            **self._prefix(source),
        }

    def prompt(self, source: Source, slots: int) -> Example:
        """What generation starts from."""
        sequence = join(source, SpecialTokens.separator)
        return {"target": sequence, "target_lengths": len(sequence), **self._prefix(source)}

    def attention_view(self, source: Source, answer: Target, slots: int) -> AttentionView:
        """Self-attention, from the positions that say the answer to those of the source."""
        keys = join(source, SpecialTokens.separator)
        batch = {"target": join(keys, answer[:-1]), **self._prefix(source)}
        first = len(source)
        return AttentionView(
            batch, "decoder.*.self.weights", slice(first, first + len(answer)), slice(len(keys)), keys, answer
        )

    def lengths(self, source_lengths: np.ndarray, target_lengths: np.ndarray, slots: int) -> Int[np.ndarray, "B A"]:
        """See Seq2Seq.lengths."""
        return (source_lengths + target_lengths + self.ends)[:, None]

    def truncate(
        self, sources: np.ndarray, targets: np.ndarray, slots: int, limit: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """See Seq2Seq.truncate; where both are too long, each has half."""
        room = limit - self.ends
        targets = np.minimum(targets, np.maximum(room // 2, room - sources))
        return np.minimum(sources, room - targets), targets

    def sequence_length(self, source_length: int, slots: int) -> int:
        """See Seq2Seq.sequence_length; the last token that is written is not read."""
        return source_length + slots

    def max_source_length(self, slots: int, limit: int) -> int:
        """See Seq2Seq.max_source_length."""
        return limit - slots

    def _prefix(self, source: Source) -> Example:
        return {"prefix_lengths": len(source) + 1} if self.bidirectional_prefix else {}


@dataclasses.dataclass(frozen=True)
class EncoderOnly:
    """The source, a separator, and mask slots that are all filled at once."""

    bidirectional_prefix: bool = False
    ends: bool = True
    """Whether an answer has an end token."""
    fixed_answer_length: ClassVar[bool] = True
    one_sequence: ClassVar[bool] = True
    axes: ClassVar[Mapping[str, tuple[str, ...]]] = {"source": ("source", "labels", "loss_weights")}

    def example(self, source: Source, target: Target, slots: int) -> Example:
        """One example to learn from.

        Raises:
            UserError: the target, with its end token, does not fit the slots.
        """
        said = _closed(target, self.ends)
        _check_slots(len(said), slots)
        prompt = self._slotted(source, slots)
        first, end = len(source) + 1, len(source) + 1 + len(said)
        labels = np.zeros(prompt["source_lengths"], np.int32)
        labels[first:end] = said
        weights = np.zeros(len(labels), np.float32)
        weights[first:end] = 1.0
        return {**prompt, "labels": labels, "loss_weights": weights}

    def prompt(self, source: Source, slots: int) -> Example:
        """What generation starts from: the slots follow the prefix."""
        return {**self._slotted(source, slots), "prefix_lengths": len(source) + 1}

    def attention_view(self, source: Source, answer: Target, slots: int) -> AttentionView:
        """Self-attention, from the slots of the answer to the source."""
        keys, first = join(source, SpecialTokens.separator), len(source) + 1
        batch = self._slotted(source, slots)
        return AttentionView(
            batch, "encoder.*.self.weights", slice(first, first + len(answer)), slice(first), keys, answer
        )

    def lengths(self, source_lengths: np.ndarray, target_lengths: np.ndarray, slots: int) -> Int[np.ndarray, "B A"]:
        """See Seq2Seq.lengths.

        Raises:
            UserError: a target, with its end token, does not fit the slots.
        """
        _check_slots(int(target_lengths.max(initial=0)) + self.ends, slots)
        return (source_lengths + 1 + slots)[:, None]

    def truncate(
        self, sources: np.ndarray, targets: np.ndarray, slots: int, limit: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """See Seq2Seq.truncate; every source leaves room for the slots."""
        return np.minimum(sources, limit - 1 - slots), np.minimum(targets, slots - self.ends)

    def sequence_length(self, source_length: int, slots: int) -> int:
        """See Seq2Seq.sequence_length."""
        return source_length + 1 + slots

    def max_source_length(self, slots: int, limit: int) -> int:
        """See Seq2Seq.max_source_length."""
        return limit - 1 - slots

    def _slotted(self, source: Source, slots: int) -> Example:
        masks = np.full(slots, SpecialTokens.mask, np.int32)
        sequence = join(source, SpecialTokens.separator, masks)
        return {"source": sequence, "source_lengths": len(sequence)}


Frame = Seq2Seq | DecoderOnly | EncoderOnly

FRAMES: dict[str, type[Frame]] = {
    "encoder_only": EncoderOnly,
    "decoder_only": DecoderOnly,
    "seq2seq": Seq2Seq,
    "rnn_seq2seq": Seq2Seq,
}
"""Architecture -> class with `axes`, `example`, `prompt`, `attention_view`, and what they say of lengths."""


def frame_for(architecture: str, *, bidirectional_prefix: bool = False, ends: bool = True) -> Frame:
    """The architecture's row of FRAMES.

    Raises:
        UserError: an unknown architecture, or one that cannot read a prefix both ways.
    """
    row = look_up("architecture", FRAMES, architecture)
    if bidirectional_prefix and architecture not in PREFIX_READERS:
        raise problem(
            "task.bidirectional_prefix is not read here", got=architecture, expected=" or ".join(PREFIX_READERS)
        )
    return row(bidirectional_prefix, ends)


def collate(examples: Sequence[Example], length: int | Mapping[str, int]) -> dict[str, np.ndarray]:
    """A batch: arrays are padded with 0 to `length` (or to `length[key]`) and stacked, numbers are stacked.

    Raises:
        UserError: an array is longer than its length.
    """
    return {key: _stack(key, [example[key] for example in examples], length) for key in examples[0]}


def _stack(key: str, values: Sequence, length: int | Mapping[str, int]) -> np.ndarray:
    if isinstance(values[0], int):
        return np.array(values, np.int32)
    size = length if isinstance(length, int) else length[key]
    longest = max(len(value) for value in values)
    if longest > size:
        raise problem(
            f"an example's {key} is longer than its bucket", got=f"{longest} tokens", expected=f"at most {size}"
        )
    stacked = np.zeros((len(values), size), values[0].dtype)
    for row, value in zip(stacked, values, strict=True):
        row[: len(value)] = value
    return stacked


def join(*parts: Int32[np.ndarray, "_"] | int) -> Int32[np.ndarray, "_"]:
    """One sequence of ids from arrays and single ids."""
    return np.concatenate([np.atleast_1d(np.asarray(part, np.int32)) for part in parts])


def _closed(target: Target, ends: bool) -> Target:
    """What the model says for a target."""
    return join(target, SpecialTokens.end) if ends else target


def _check_slots(said: int, slots: int) -> None:
    if said > slots:
        raise problem(
            "a target is longer than the slots of an encoder-only model",
            got=f"{said} tokens, its end token included",
            expected=f"at most {slots}, the longest training target with its end token",
            do="Set data.too_long=cut, leave the example out, or take another model.architecture.",
        )
