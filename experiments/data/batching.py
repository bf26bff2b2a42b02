"""Batches of few fixed shapes; batch i is a function of (seed, i), so the position in the data is a step number.

Examples are grouped by length into buckets, each padded to one shape, which compiles once. An epoch is a seeded
permutation; within it a bucket's examples fill batches in that order, what is left over joins the next longer bucket,
and the batches come in a seeded order. So an epoch has (examples // batch_size) batches, no example comes twice, and
fewer than `batch_size` are left out, other ones each time.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import grain
import numpy as np
from jaxtyping import Float32, Int

from transformer.errors import problem

Bucket = tuple[int, ...]
"""The padded length along each axis."""

MULTIPLE = 8
"""Lengths are rounded up to a multiple of this, which accelerators tile well, but not beyond the longest example."""


def bucket_lengths(lengths: Int[np.ndarray, "I"], num_buckets: int) -> list[int]:
    """At most `num_buckets` lengths, growing, that hold all examples with the least padding in total.

    The last one is the longest example's length; the others are multiples of 8. By dynamic programming over the
    multiples that occur: cost[k, j] = min over i < j of cost[k - 1, i] + (examples in (i, j]) x length_j.
    """
    longest = int(lengths.max())
    rounded = np.minimum(-(-lengths // MULTIPLE) * MULTIPLE, longest)
    choices, counts = np.unique(rounded, return_counts=True)
    upto = np.concatenate([[0], np.cumsum(counts)])
    cost = np.where(upto == 0, 0.0, np.inf)  # no bucket yet: nothing is held
    steps = []
    for _ in range(min(num_buckets, len(choices))):
        held = cost[:, None] + (upto[None, :] - upto[:, None]) * np.concatenate([[0], choices])[None, :]
        held[np.tril_indices(len(upto))] = np.inf
        steps.append(held.argmin(axis=0))
        cost = held.min(axis=0)
    return _trace_back(steps, choices)


def _trace_back(steps: list[np.ndarray], choices: np.ndarray) -> list[int]:
    """The chosen lengths, from the last to the first, in growing order."""
    at, chosen = len(choices), []
    for step in reversed(steps):
        chosen.append(int(choices[at - 1]))
        at = int(step[at])
    return chosen[::-1]


def make_buckets(lengths: Int[np.ndarray, "I A"], num_buckets: int) -> list[Bucket]:
    """Buckets by the length along the first axis; along the others all have the longest length that occurs."""
    others = tuple(int(length) for length in lengths[:, 1:].max(axis=0))
    return [(first, *others) for first in bucket_lengths(lengths[:, 0], num_buckets)]


class Plan:
    """Which examples stand in batch i, and how long they are padded to.

    Args:
        lengths: of each example, along each axis.
        batch_size: examples in a batch.
        buckets: growing; the last one holds every example.
        seed: of the orders.

    Raises:
        UserError: fewer examples than a batch has, or an example that is longer than the last bucket.
    """

    def __init__(self, lengths: Int[np.ndarray, "I A"], batch_size: int, buckets: list[Bucket], seed: int):
        if len(lengths) < batch_size:
            raise problem(
                "the training data is smaller than one batch",
                got=f"{len(lengths)} examples",
                expected=f"at least training.batch_size = {batch_size}",
                do=f"Set training.batch_size to at most {len(lengths)}, or take more examples.",
            )
        fits = (lengths[:, None, :] <= np.array(buckets)[None]).all(axis=-1)
        if not fits[:, -1].all():
            raise problem("an example is longer than the longest bucket", got=lengths.max(axis=0), expected=buckets[-1])
        self.batch_size, self.buckets, self.seed = batch_size, buckets, seed
        self.batches_per_epoch = len(lengths) // batch_size
        self._bucket_of = fits.argmax(axis=1)
        # The one epoch that was asked for last: steps come in order, and a permutation takes longer than a batch.
        self._latest: tuple[int, tuple[np.ndarray, np.ndarray]] = (0, self.epoch(0))

    @property
    def shapes(self) -> list[Bucket]:
        """The buckets that have a batch, the same ones in every epoch: as many programs compile."""
        return [self.buckets[i] for i in np.unique(self.epoch(0)[1])]

    def batch(self, i: int) -> tuple[Int[np.ndarray, "B"], Bucket]:
        """The indices of the examples of batch i (any step number), and their bucket."""
        epoch, at = divmod(int(i), self.batches_per_epoch)
        latest, order = self._latest
        if latest != epoch:
            order = self.epoch(epoch)
            self._latest = (epoch, order)  # one assignment: threads that race compute the same
        return order[0][at], self.buckets[order[1][at]]

    def epoch(self, number: int) -> tuple[Int[np.ndarray, "batches B"], Int[np.ndarray, "batches"]]:
        """The examples and the bucket of each batch of an epoch, in order: a function of (seed, number)."""
        rng = np.random.default_rng((self.seed, number))
        order = rng.permutation(len(self._bucket_of))
        left = order[:0]
        rows, buckets = [], []
        for bucket in range(len(self.buckets)):
            members = np.concatenate([left, order[self._bucket_of[order] == bucket]])
            full = len(members) // self.batch_size
            rows.append(members[: full * self.batch_size].reshape(full, self.batch_size))
            buckets.append(np.full(full, bucket))
            left = members[full * self.batch_size :]
        shuffled = rng.permutation(self.batches_per_epoch)
        return np.concatenate(rows)[shuffled], np.concatenate(buckets)[shuffled]


class Batches:
    """Batches from any step on, prepared ahead of the training loop by threads.

    Args:
        plan: says which examples.
        make: (indices, bucket) -> the batch; a pure function.
        num_threads: that prepare batches.
        ahead: batches kept ready.
    """

    def __init__(self, plan: Plan, make: Callable[[np.ndarray, Bucket], Any], *, num_threads: int = 1, ahead: int = 8):
        self.plan, self.make = plan, make
        self._options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=ahead)

    def starting_at(self, step: int, stop: int = sys.maxsize) -> Iterator[Any]:
        """The batches of steps `step`, `step` + 1, ... before `stop`."""
        steps = grain.MapDataset.range(step, stop)
        return iter(steps.map(lambda i: self.make(*self.plan.batch(i))).to_iter_dataset(self._options))


def evaluation_batches(count: int, batch_size: int) -> Iterator[tuple[Int[np.ndarray, "B"], Float32[np.ndarray, "B"]]]:
    """(indices, weights) of batches over `count` examples in order, each once.

    The last batch is filled up by repeating its last example with a weight of 0, so that every batch has one shape.
    """
    for first in range(0, count, batch_size):
        rows = np.arange(first, first + batch_size)
        yield np.minimum(rows, count - 1), (rows < count).astype(np.float32)
