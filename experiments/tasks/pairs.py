"""Pairs of token ids, posed for an architecture and planned into batches.

What text to text and the continuation of text share: one reads pairs from a source, the other cuts them from documents.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from experiments.data.batching import Bucket, Plan, evaluation_batches, make_buckets
from experiments.data.ragged import Ragged
from experiments.tasks.framing import Frame, collate, frame_for
from experiments.tasks.task import Batch, TaskSettings
from transformer.errors import UserError, problem

PROMPT_MULTIPLE = 8
"""Prompts beyond the longest of the data are padded to a multiple of this, so that few programs compile."""


@dataclasses.dataclass(frozen=True)
class Ids:
    """The token ids of pairs; `cut` says how many are shorter here than they were."""

    sources: Ragged
    targets: Ragged
    cut: int = 0

    def __len__(self) -> int:
        return len(self.sources)


@dataclasses.dataclass(frozen=True)
class Shapes:
    """How pairs are posed, and the sizes that the data decides."""

    frame: Frame
    max_answer_length: int
    """Most tokens that an answer has: the longest training target with its end token, or less where all is cut."""
    longest_source: int
    """Tokens of the longest source of all splits that is answered."""
    full_shape: Bucket
    """The padded lengths that hold every example of every split; evaluation uses them, so it is one program."""

    @property
    def metadata(self) -> dict[str, Any]:
        """All of it but the frame, as JSON can hold it."""
        return {"slots": self.max_answer_length, "longest_source": self.longest_source, "whole": list(self.full_shape)}

    def max_sequence_length(self, answer: int | None = None) -> int:
        """The longest sequence in the model if generation writes `answer` tokens, at least `max_answer_length`."""
        return max(
            *self.full_shape, self.frame.sequence_length(self.longest_source, max(answer or 0, self.max_answer_length))
        )

    def evaluation_batches(self, ids: Ids, batch_size: int) -> Iterator[Batch]:
        """All pairs in order, with `example_weights`, which `loss_weights` heed."""
        for rows, weights in evaluation_batches(len(ids), batch_size):
            batch = self.batch(ids, rows, self.full_shape)
            batch["loss_weights"] *= weights[:, None]
            yield {**batch, "example_weights": weights}

    def batch(self, ids: Ids, rows: Sequence[int] | np.ndarray, bucket: Bucket) -> Batch:
        """The pairs of these rows, padded to a bucket."""
        framed = [self.frame.example(ids.sources[i], ids.targets[i], self.max_answer_length) for i in rows]
        keys_of_axes = self.frame.axes.values()
        return collate(framed, {key: length for keys, length in zip(keys_of_axes, bucket, strict=True) for key in keys})

    def max_source_length(self, steps: int | None, limit: int | None) -> int | None:
        """The longest source that can be answered with `steps` tokens within a limit; None: any."""
        slots = self.max_answer_length if steps is None or self.frame.fixed_answer_length else steps
        return None if limit is None else self.frame.max_source_length(slots, limit)

    def prompts(
        self, sources: Sequence[Int[np.ndarray, "S"]] | Ragged, batch_size: int, room: int | None = None
    ) -> Iterator[Batch]:
        """What generation starts from. All batches have one shape, the same for sources up to the data's longest.

        Args:
            room: sources are not padded beyond this.
        """
        longest = max((len(source) for source in sources), default=0)
        padded = (
            self.longest_source if longest <= self.longest_source else -(-longest // PROMPT_MULTIPLE) * PROMPT_MULTIPLE
        )
        padded = padded if room is None else max(longest, min(padded, room))
        shape = self.frame.prompt(np.zeros(padded, np.int32), self.max_answer_length)
        length = {key: len(value) for key, value in shape.items() if not isinstance(value, int)}
        for rows, weights in evaluation_batches(len(sources), batch_size):
            framed = [self.frame.prompt(sources[i], self.max_answer_length) for i in rows]
            yield {**collate(framed, length), "example_weights": weights}


def truncated(ids: Ids, frame: Frame, settings: TaskSettings, slots: int, what: str) -> Ids:
    """The pairs cut to what the model can hold.

    Args:
        slots: most tokens of an answer; bounds targets where the frame has fixed slots.
        what: the pairs in words, for the error.

    Raises:
        UserError: one is too long, and `settings.too_long` is "refuse"; says how many are.
    """
    lengths = ids.sources.lengths, ids.targets.lengths
    sources, targets = lengths
    if settings.limit is not None:
        sources, targets = frame.truncate(sources, targets, slots, settings.limit)
    if frame.fixed_answer_length:
        targets = np.minimum(targets, slots - frame.ends)
    over = (sources < lengths[0]) | (targets < lengths[1])
    if not over.any():
        return ids
    if settings.too_long == "refuse":
        least = slots if frame.fixed_answer_length and settings.limit is not None else 0
        both = zip(lengths[0][over].tolist(), lengths[1][over].tolist(), strict=True)
        needed = max(frame.sequence_length(source, max(target + frame.ends, least)) for source, target in both)
        raise too_long(what, int(over.sum()), len(ids), needed, settings, slots if frame.fixed_answer_length else None)
    return Ids(ids.sources.cut(np.maximum(sources, 0)), ids.targets.cut(np.maximum(targets, 0)), int(over.sum()))


def max_source_lengths(sources: Int[np.ndarray, "I"], frame: Frame, slots: int, limit: int) -> Int[np.ndarray, "I"]:
    """The lengths to cut sources of these lengths to, that an answer of `max_answer_length` tokens fits behind them."""
    return np.minimum(sources, max(frame.max_source_length(slots, limit), 0))


def too_long(
    what: str, over: int, count: int, needed: int, settings: TaskSettings, slots: int | None = None
) -> UserError:
    """The error for examples beyond the model's limit.

    Args:
        needed: the longest sequence that there would be.
        slots: most tokens of an answer, where there is such a limit.
    """
    limits = [f"model.max_length = {settings.limit} tokens"] if settings.limit is not None else []
    if slots is not None:
        limits.append(f"targets of {slots} tokens, the longest of training with its end token")
    return problem(
        f"{over:,} of {count:,} {what} are longer than the model's limit",
        got=f"up to {needed:,} tokens",
        expected="at most " + ", and ".join(limits),
        do="Set data.too_long=cut to cut them, raise the limit, or leave them out of the data.",
    )


def prepare(
    train: Ids, held_out: Sequence[Ids], settings: TaskSettings, *, ends: bool
) -> tuple[Shapes, list[Ids], Plan]:
    """How these pairs are posed; the pairs of training and of the held-out splits, cut where need be; and the plan.

    Raises:
        UserError: no pairs to learn from, or fewer than a batch, or some that are longer than the model's limit.
    """
    if not len(train):
        raise problem("there are no training examples", do="Check the settings of data.")
    frame = frame_for(settings.architecture, bidirectional_prefix=settings.config.bidirectional_prefix, ends=ends)
    asked = max(int(train.targets.lengths.max()) + ends, 1)
    limit = settings.limit if settings.too_long == "cut" else None
    if (
        limit is not None
        and frame.one_sequence
        and int(train.sources.lengths.max()) > frame.max_source_length(asked, limit)
    ):
        asked = max(min(asked, (limit + ends) // 2), 1)  # the answer has at most half
    train = truncated(train, frame, settings, asked, "training examples")
    slots = min(max(int(train.targets.lengths.max()) + ends, 1), asked)
    every = [train, *(truncated(ids, frame, settings, slots, "held-out examples") for ids in held_out)]
    longest = max(int(ids.sources.lengths.max(initial=0)) for ids in every)
    if limit is not None:
        longest = int(max_source_lengths(np.array([longest]), frame, slots, limit)[0])
    lengths = [frame.lengths(ids.sources.lengths, ids.targets.lengths, slots) for ids in every]
    shapes = Shapes(
        frame=frame,
        max_answer_length=slots,
        longest_source=longest,
        full_shape=tuple(int(length) for length in np.concatenate(lengths).max(axis=0)),
    )
    buckets = make_buckets(lengths[0], settings.num_buckets, settings.length_multiple)
    return shapes, every, Plan(lengths[0], buckets, settings.seed, **settings.rows)


def cut_note(cut: int, count: int, what: str) -> tuple[str, ...]:
    """A line about examples that were cut, if any of the `count` were."""
    return (f"{cut:,} of {count:,} {what} examples are cut to the model's limit",) if cut else ()


def answer_note(ids: Ids, shapes: Shapes, settings: TaskSettings, what: str) -> tuple[str, ...]:
    """A line about examples that generation cuts though their loss may not, if there are any."""
    if settings.limit is None or settings.too_long != "cut":
        return ()
    room, ends = max(shapes.frame.max_source_length(shapes.max_answer_length, settings.limit), 0), shapes.frame.ends
    over = int(((ids.sources.lengths > room) | (ids.targets.lengths + ends > shapes.max_answer_length)).sum())
    if not over:
        return ()
    line = f"{over:,} of {len(ids):,} {what} examples are cut further where they are answered: sources to {room:,}"
    return (f"{line} tokens, answers to {shapes.max_answer_length:,}",)
