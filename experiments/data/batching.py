"""Batches of few fixed shapes; batch i is a function of (seed, i), so the position in the data is a step number.

Examples are grouped by length into buckets, each padded to one shape, which compiles once. An epoch is a seeded
permutation; within it a bucket's examples fill batches in that order, those left over join the next bucket that holds
them, and the batches come in a seeded order. So no example comes twice in an epoch, and fewer than a batch of the
largest bucket are left out, other ones each time.
"""

import abc
import collections
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import grain
import numpy as np
from jaxtyping import Float32, Int

from transformer.errors import UserError, counted, problem

Bucket = tuple[int, ...]
"""Padded length along each axis."""


def make_buckets(lengths: Int[np.ndarray, "I A"], num_buckets: int, multiple: int = 1) -> list[Bucket]:
    """Choose at most `num_buckets` shapes, in order of size, the last of which holds every example.

    One bucket of all examples is cut in two, along whichever axis and at whichever length saves most padding; then the
    bucket whose best cut saves most, and so on. The cost of a bucket is (examples) x (sum of its padded lengths).

    Args:
        lengths: length of each example along each axis.
        multiple: number to whose multiples lengths are rounded up, but not beyond the longest example.
    """
    longest = lengths.max(axis=0)
    rounded = np.minimum(-(-lengths // multiple) * multiple, longest)
    parts = [(_best_cut(rounded), rounded)]
    buckets = _shapes(parts, longest)
    while (most := max(parts, key=lambda part: part[0][0]))[0][0] > 0:
        (_, axis, at), part_lengths = most
        halves = part_lengths[part_lengths[:, axis] <= at], part_lengths[part_lengths[:, axis] > at]
        parts = [part for part in parts if part is not most] + [(_best_cut(half), half) for half in halves]
        if len(finer := _shapes(parts, longest)) > num_buckets:
            break
        buckets = finer
    return buckets


def _shapes(parts: list[tuple[Any, np.ndarray]], longest: np.ndarray) -> list[Bucket]:
    """Return the shape of each part and the one that holds everything, in order of size."""
    shapes = {tuple(int(length) for length in part.max(axis=0)) for _, part in parts}
    return sorted(shapes | {tuple(int(length) for length in longest)}, key=lambda shape: (sum(shape), shape))


def _best_cut(lengths: Int[np.ndarray, "I A"]) -> tuple[int, int, int]:
    """Find the best cut in two: (padding saved, axis, longest length of the first part); none saves 0."""
    best = (0, 0, 0)
    whole = len(lengths) * int(lengths.max(axis=0).sum())
    for axis in range(lengths.shape[1]):
        ordered = lengths[np.argsort(lengths[:, axis], kind="stable")]
        cuts = np.flatnonzero(np.diff(ordered[:, axis])) + 1
        if not cuts.size:
            continue
        below = np.maximum.accumulate(ordered, axis=0).sum(axis=1)[cuts - 1] * cuts
        above = np.maximum.accumulate(ordered[::-1], axis=0)[::-1].sum(axis=1)[cuts] * (len(ordered) - cuts)
        i = int((below + above).argmin())
        best = max(best, (whole - int((below + above)[i]), axis, int(ordered[cuts[i] - 1, axis])))
    return best


class Epochs(abc.ABC):
    """Batches of epochs that are planned as a whole: batch i is a function of i, whatever was computed before.

    A subclass sets what `epoch` reads, then calls the constructor.
    """

    def __init__(self) -> None:
        # The epoch that was planned last: steps come in order, and a permutation takes longer than a batch.
        self._latest: tuple[int, Any] = (0, self.epoch(0))

    @abc.abstractmethod
    def epoch(self, number: int) -> Any:
        """Plan an epoch: a function of (seed, number)."""

    def at(self, i: int, batches_per_epoch: int) -> tuple[Any, int]:
        """Return the plan of the epoch of batch i (any step number), and the index of the batch in it."""
        number, at = divmod(int(i), batches_per_epoch)
        latest, epoch = self._latest
        if latest != number:
            epoch = self.epoch(number)
            self._latest = (number, epoch)  # one assignment: threads that race compute the same
        return epoch, at


class Plan(Epochs):
    """Order of the examples: those of batch i, and the bucket to which they are padded.

    Args:
        lengths: length of each example along each axis.
        buckets: shapes in order of size; the last one holds every example.
        seed: seed of the orders.
        batch_size: examples in a batch; or, where `batch_tokens` is given, a divisor of their number.
        batch_tokens: tokens in a batch, counted along the longer axis, padding included.

    Raises:
        UserError: fewer examples than a batch has, an example that is longer than the last bucket, or a batch without
            room for the longest.
    """

    def __init__(
        self,
        lengths: Int[np.ndarray, "I A"],
        buckets: list[Bucket],
        seed: int,
        batch_size: int,
        batch_tokens: int | None = None,
    ):
        shapes = np.array(buckets)
        if not (lengths <= shapes[-1]).all():
            raise problem("an example is longer than the longest bucket", got=lengths.max(axis=0), expected=buckets[-1])
        self.buckets, self.seed = buckets, seed
        self.sizes = [rows_of_batch(bucket, batch_size, batch_tokens) for bucket in reversed(buckets)][::-1]
        fits = (lengths[:, None, :] <= shapes[None]).all(axis=-1)
        self._bucket_of = np.where(fits, shapes.sum(axis=1), np.iinfo(np.int64).max).argmin(axis=1)
        self._next = [_next_holding(shapes, i) for i in range(len(buckets))]
        self._lengths = lengths
        super().__init__()
        self.batches_per_epoch = len(self._latest[1])
        if not self.batches_per_epoch:
            raise _too_few(len(lengths), self.sizes[-1], batch_tokens)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Shapes (examples, *bucket) that batches have, the same in every epoch: as many programs compile."""
        return list(self.census)

    @functools.cached_property
    def census(self) -> dict[tuple[int, ...], tuple[int, int]]:
        """Shape, in order of size -> (the first step with such a batch, how many an epoch has)."""
        buckets = [bucket for _, bucket in self.epoch(0)]
        counts = collections.Counter(buckets)
        return {(self.sizes[i], *self.buckets[i]): (buckets.index(i), counts[i]) for i in sorted(counts)}

    def shape(self, i: int) -> tuple[int, ...]:
        """Return the shape of batch i."""
        rows, bucket = self.batch(i)
        return (len(rows), *bucket)

    @property
    def padding(self) -> float:
        """Share of the tokens of an epoch's batches that is padding."""
        batches = self.epoch(0)
        padded = sum(len(rows) * sum(self.buckets[bucket]) for rows, bucket in batches)
        return 1.0 - sum(int(self._lengths[rows].sum()) for rows, _ in batches) / padded

    def batch(self, i: int) -> tuple[Int[np.ndarray, "B"], Bucket]:
        """Return the indices of the examples of batch i (any step number), and their bucket."""
        batches, at = self.at(i, self.batches_per_epoch)
        rows, bucket = batches[at]
        return rows, self.buckets[bucket]

    def epoch(self, number: int) -> list[tuple[Int[np.ndarray, "B"], int]]:
        """Plan the examples and the bucket of each batch of an epoch, in order: a function of (seed, number)."""
        rng = np.random.default_rng((self.seed, number))
        order = rng.permutation(len(self._bucket_of))
        members = [[order[self._bucket_of[order] == bucket]] for bucket in range(len(self.buckets))]
        batches = []
        for bucket, size in enumerate(self.sizes):
            rows = np.concatenate(members[bucket])
            full = len(rows) // size
            batches += [(rows[i * size : (i + 1) * size], bucket) for i in range(full)]
            if bucket < len(self.buckets) - 1:
                members[self._next[bucket]].insert(0, rows[full * size :])
        return [batches[i] for i in rng.permutation(len(batches))]


def rows_of_batch(bucket: Bucket, batch_size: int, batch_tokens: int | None = None) -> int:
    """Return the number of examples in a batch of this bucket; for the arguments, see `Plan`.

    Raises:
        UserError: `batch_size` of them have more than `batch_tokens` tokens.
    """
    if batch_tokens is None:
        return batch_size
    fewest = max(bucket) * batch_size
    if batch_tokens < fewest:
        raise problem(
            "training.batch_tokens has no room for the longest example in each part of a batch",
            got=batch_tokens,
            expected=f"at least {fewest} = {max(bucket)} tokens x training.accumulation {batch_size}",
        )
    return batch_tokens // fewest * batch_size


def _too_few(count: int, fewest: int, batch_tokens: int | None) -> UserError:
    """Build the error for fewer examples than a batch has; it names the setting that is in force."""
    expected, do = f"training.batch_size = {fewest}", f"Set training.batch_size to at most {count}"
    if batch_tokens is not None:
        expected, do = f"{fewest}, for training.batch_tokens = {batch_tokens}", "Lower training.batch_tokens"
    return problem(
        "the training data is smaller than one batch",
        got=counted(count, "example"),
        expected=f"at least {expected}",
        do=f"{do}, or take more examples.",
    )


def _next_holding(shapes: Int[np.ndarray, "K A"], bucket: int) -> int:
    """Return the next bucket that holds all that this one does; the last one holds everything."""
    holding = np.flatnonzero((shapes[bucket + 1 :] >= shapes[bucket]).all(axis=1))
    return bucket + 1 + int(holding[0]) if holding.size else bucket


class Batches:
    """Batches from any step on, prepared ahead of the training loop by threads.

    Args:
        plan: plan of the batches; its `batch(i)` returns the arguments of `make` for batch i.
        make: pure function from them to the batch; the first of them has an entry for each example.
        by_example: True where an example of the batch is a function of its own entry alone.
        num_threads: number of threads that prepare batches.
        ahead: number of batches that are kept ready.
    """

    def __init__(
        self, plan: Any, make: Callable[..., Any], *, by_example: bool = True, num_threads: int = 1, ahead: int = 8
    ):
        self.plan, self.make, self.by_example = plan, make, by_example
        self._options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=ahead)

    def at(self, step: int, part: Callable[[int], slice] | None = None) -> Any:
        """Build the batch of a step.

        Args:
            part: a function of the number of its examples that returns which of them are wanted; None: all.
        """
        examples, *more = self.plan.batch(step)
        if part is None:
            return self.make(examples, *more)
        rows = part(len(examples))
        if self.by_example:
            return self.make(examples[rows], *more)
        return {name: x[rows] for name, x in self.make(examples, *more).items()}

    def starting_at(
        self, step: int, stop: int = sys.maxsize, part: Callable[[int], slice] | None = None
    ) -> Iterator[Any]:
        """Yield the batches of steps `step`, `step` + 1, ... before `stop`; for `part`, see `at`."""
        steps = grain.MapDataset.range(step, stop)
        return iter(steps.map(functools.partial(self.at, part=part)).to_iter_dataset(self._options))


def evaluation_batches(count: int, batch_size: int) -> Iterator[tuple[Int[np.ndarray, "B"], Float32[np.ndarray, "B"]]]:
    """Yield (indices, weights) of batches over `count` examples in order, each once.

    The last batch is filled up by repeating its last example with a weight of 0, so that every batch has one shape.
    """
    for first in range(0, count, batch_size):
        rows = np.arange(first, first + batch_size)
        yield np.minimum(rows, count - 1), (rows < count).astype(np.float32)
