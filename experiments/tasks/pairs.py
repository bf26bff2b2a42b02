"""Pairs of token ids, cut to what the model holds, with the sizes and the plan of their batches.

The order of the decisions, where a model has a limit and `data.too_long` is "cut":

    1. the longest answer is that of the training targets; at most half of one sequence that source and answer share
    2. training pairs are truncated, and the longest answer is what they then have
    3. held-out pairs are truncated to it, where the layout has a fixed number of mask slots
    4. the longest source that is answered leaves room for the longest answer

Text to text reads its pairs from a source, the continuation of text cuts them from documents.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from experiments.data.batching import Plan, make_buckets
from experiments.data.ragged import Ragged
from experiments.tasks.framing import Frame, frame_for
from experiments.tasks.task import TaskSettings
from transformer.errors import UserError, problem


@dataclasses.dataclass(frozen=True)
class Ids:
    """Token ids of pairs.

    Attributes:
        cut: number of pairs that are shorter here than they were.
    """

    sources: Ragged
    targets: Ragged
    cut: int = 0

    def __len__(self) -> int:
        return len(self.sources)


def frame_of(settings: TaskSettings, max_answer_length: int, *, ends: bool) -> Frame:
    """Build the frame of a task whose answers have at most so many tokens."""
    prefix = settings.config.bidirectional_prefix
    return frame_for(settings.architecture, max_answer_length, settings.limit, bidirectional_prefix=prefix, ends=ends)


def truncated(ids: Ids, frame: Frame, settings: TaskSettings, what: str) -> Ids:
    """Cut pairs to what the model can hold; return them as they are where none is too long.

    Args:
        what: the pairs in words, for the error.

    Raises:
        UserError: some are too long, and `settings.too_long` is "refuse"; it counts them.
    """
    before = ids.sources.lengths, ids.targets.lengths
    sources, targets = frame.truncate(*before)
    over = (sources < before[0]) | (targets < before[1])
    if not over.any():
        return ids
    if settings.too_long == "refuse":
        both = zip(before[0][over].tolist(), before[1][over].tolist(), strict=True)
        needed = max(frame.sequence_length(source, target + frame.ends) for source, target in both)
        most = frame.max_answer_length if frame.fixed_answer_length else None
        raise too_long(what, int(over.sum()), len(ids), needed, settings, most)
    return Ids(ids.sources.cut(np.maximum(sources, 0)), ids.targets.cut(np.maximum(targets, 0)), int(over.sum()))


def too_long(
    what: str, over: int, count: int, needed: int, settings: TaskSettings, max_answer_length: int | None = None
) -> UserError:
    """Build the error for examples beyond the model's limit.

    Args:
        what: the examples in words.
        over: number of those that are too long, of `count` in all.
        needed: the longest sequence that they would make (tokens).
        max_answer_length: the longest answer, where the layout has such a limit.
    """
    limits = [f"model.max_length = {settings.limit} tokens"] if settings.limit is not None else []
    if max_answer_length is not None:
        limits.append(f"targets of {max_answer_length} tokens, the longest of training with its end token")
    return problem(
        f"{over:,} of {count:,} {what} are longer than the model's limit",
        got=f"up to {needed:,} tokens",
        expected="at most " + ", and ".join(limits),
        do="Set data.too_long=cut to cut them, raise the limit, or leave them out of the data.",
    )


def prepare(
    train: Ids, held_out: Sequence[Ids], settings: TaskSettings, *, ends: bool
) -> tuple[Frame, list[Ids], Plan]:
    """Measure and cut pairs, in the order that the module's docstring gives.

    Returns:
        The frame with its sizes; the pairs of training and of each held-out split; the plan of the training batches.

    Raises:
        UserError: no pairs to learn from, or fewer than a batch, or some that are longer than the model's limit.
    """
    if not len(train):
        raise problem("there are no training examples", do="Check the settings of data.")
    frame = frame_of(settings, _longest_answer(train, ends), ends=ends)
    if settings.cuts and frame.one_sequence and int(train.sources.lengths.max()) > frame.max_source_length():
        half = max(min(frame.max_answer_length, (settings.limit + ends) // 2), 1)
        frame = dataclasses.replace(frame, max_answer_length=half)
    train = truncated(train, frame, settings, "training examples")
    longest_answer = min(_longest_answer(train, ends), frame.max_answer_length)
    frame = dataclasses.replace(frame, max_answer_length=longest_answer)
    every = [train, *(truncated(ids, frame, settings, "held-out examples") for ids in held_out)]
    longest_source = max(int(ids.sources.lengths.max(initial=0)) for ids in every)
    if settings.cuts:
        longest_source = min(longest_source, max(frame.max_source_length(), 0))
    lengths = [frame.lengths(ids.sources.lengths, ids.targets.lengths) for ids in every]
    full_shape = tuple(int(length) for length in np.concatenate(lengths).max(axis=0))
    frame = dataclasses.replace(frame, longest_source=longest_source, full_shape=full_shape)
    buckets = make_buckets(lengths[0], settings.num_buckets, settings.length_multiple)
    return frame, every, Plan(lengths[0], buckets, settings.seed, **settings.rows)


def _longest_answer(ids: Ids, ends: bool) -> int:
    """Return the number of tokens of the longest answer, its end token included, at least 1."""
    return max(int(ids.targets.lengths.max()) + ends, 1)


def cut_note(cut: int, count: int, what: str) -> tuple[str, ...]:
    """Write a line about examples that were cut, if any of the `count` were."""
    return (f"{cut:,} of {count:,} {what} examples are cut to the model's limit",) if cut else ()


def answer_note(ids: Ids, frame: Frame, settings: TaskSettings, what: str) -> tuple[str, ...]:
    """Write a line about examples that generation cuts though their loss may not, if there are any."""
    if not settings.cuts:
        return ()
    longest, most = max(frame.max_source_length(), 0), frame.max_answer_length
    over = int(((ids.sources.lengths > longest) | (ids.targets.lengths + frame.ends > most)).sum())
    if not over:
        return ()
    line = f"{over:,} of {len(ids):,} {what} examples are cut further where they are answered: sources to {longest:,}"
    return (f"{line} tokens, answers to {most:,}",)
