"""Text to text: pairs of a source and a target, framed and batched for an architecture.

`build_task` joins what `data` reads, how `framing` poses it and how `batching` groups it; the training loop and the
command lines ask the result for batches, prompts and scores, and know nothing of the architecture.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Int

from experiments.data.batching import MULTIPLE, Batches, Bucket, Plan, evaluation_batches, make_buckets
from experiments.data.examples import Pair, Splits
from experiments.data.tokenizers import Characters
from experiments.tasks.framing import DecoderOnly, EncoderOnly, Seq2Seq, TaskConfig, collate, frame_for
from transformer.errors import problem

Batch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class TextToText:
    """The task of one run; made by `build_task`."""

    splits: Splits
    tokenizer: Characters
    frame: Seq2Seq | DecoderOnly | EncoderOnly
    plan: Plan
    slots: int
    """Most tokens that an answer has: the longest training target with its end token."""
    longest_source: int
    """Tokens of the longest source of all splits."""
    whole: Bucket
    """The padded lengths that hold every example of every split; evaluation uses them, so it is one program."""

    @property
    def longest(self) -> int:
        """The longest sequence that the model must hold, in training, evaluation and generation (tokens)."""
        return self.longest_with(self.slots)

    def longest_with(self, answer: int) -> int:
        """The same if generation writes up to `answer` tokens."""
        return max(*self.whole, self.frame.capacity(self.longest_source, max(answer, self.slots)))

    @property
    def num_programs(self) -> int:
        """How many shapes training batches have: as many programs compile for `update`."""
        return len(self.plan.shapes)

    def training_batches(self, start_step: int = 0) -> Iterator[Batch]:
        """The batches of steps `start_step`, `start_step` + 1, ..., without end."""

        def make(indices: np.ndarray, bucket: Bucket) -> Batch:
            return self._examples([self.splits.train[i] for i in indices], bucket)

        return Batches(self.plan, make).starting_at(start_step)

    def evaluation_batches(self, pairs: Sequence[Pair], batch_size: int | None = None) -> Iterator[Batch]:
        """Batches over a split in order; `example_weights` (B) is 0 where the last one is filled up.

        `loss_weights` are 0 there too, so losses need not look at `example_weights`.
        """
        for indices, weights in evaluation_batches(len(pairs), self._batch_size(pairs, batch_size)):
            batch = self._examples([pairs[i] for i in indices], self.whole)
            batch["loss_weights"] *= weights[:, None]
            yield {**batch, "example_weights": weights}

    def prompts(self, sources: Sequence[Pair | str], batch_size: int | None = None) -> Iterator[Batch]:
        """What generation starts from, for a split or for a user's own texts, in order; `example_weights` as above.

        All batches have one shape, the same for any sources up to the longest of the data.
        """
        texts = [source.source if isinstance(source, Pair) else source for source in sources]
        longest = int(self.tokenizer.lengths(texts).max(initial=0))
        padded = self.longest_source if longest <= self.longest_source else -(-longest // MULTIPLE) * MULTIPLE
        shape = self.frame.prompt(np.zeros(padded, np.int32), self.slots)
        length = {key: len(value) for key, value in shape.items() if not isinstance(value, int)}
        for indices, weights in evaluation_batches(len(texts), self._batch_size(texts, batch_size)):
            framed = [self.frame.prompt(self.tokenizer.encode(texts[i]), self.slots) for i in indices]
            yield {**collate(framed, length), "example_weights": weights}

    def decode(self, ids: Int[np.ndarray, "M"]) -> str:
        """The text of an answer, up to its end token."""
        return self.tokenizer.decode(self.up_to_end(ids))

    def up_to_end(self, ids: Int[np.ndarray, "M"]) -> Int[np.ndarray, "M"]:
        """An answer's tokens, the end token the last of them if there is one."""
        ends = np.flatnonzero(np.asarray(ids) == self.tokenizer.end)
        return ids[: ends[0] + 1] if ends.size else ids

    def exact_match(self, predicted_BM: Int[np.ndarray, "B M"], targets: Sequence[str]) -> Bool[np.ndarray, "B"]:
        """Whether each answer is its target, token by token, with the end token right after it.

        What follows the end token does not count; a target that the tokenizer cannot write is never matched.
        """
        return np.array([self._matches(row, text) for row, text in zip(predicted_BM, targets, strict=True)], bool)

    def _matches(self, predicted: np.ndarray, target: str) -> bool:
        expected = np.append(self.tokenizer.encode(target), self.tokenizer.end)
        said = np.asarray(predicted)[: len(expected)]
        return self.tokenizer.unknown not in expected and np.array_equal(said, expected)

    def _examples(self, pairs: Sequence[Pair], bucket: Bucket) -> Batch:
        encode = self.tokenizer.encode
        framed = [self.frame.example(encode(pair.source), encode(pair.target), self.slots) for pair in pairs]
        keys_of_axes = self.frame.axes.values()
        return collate(framed, {key: length for keys, length in zip(keys_of_axes, bucket, strict=True) for key in keys})

    def _batch_size(self, rows: Sequence, asked: int | None) -> int:
        return asked or max(1, min(self.plan.batch_size, len(rows)))


def build_task(
    config: TaskConfig,
    architecture: str,
    splits: Splits,
    tokenizer: Characters,
    *,
    batch_size: int,
    num_buckets: int,
    seed: int,
) -> TextToText:
    """The task of one run, planned from the lengths of its texts alone.

    Raises:
        UserError: no training examples, or fewer than a batch; a setting that the architecture does not read; for
            encoder_only, a validation or test target that is longer than every training target.
    """
    if not splits.train:
        raise problem("there are no training examples", do="Check the settings of data.")
    frame = frame_for(config, architecture)
    sources, targets = _text_lengths(splits.train, tokenizer)
    held_out = [_text_lengths(split, tokenizer) for split in (splits.validation, splits.test)]
    slots = int(targets.max()) + 1
    training = frame.lengths(sources, targets, slots)
    every = np.concatenate([training, *(frame.lengths(*lengths, slots) for lengths in held_out)])
    return TextToText(
        splits=splits,
        tokenizer=tokenizer,
        frame=frame,
        plan=Plan(training, batch_size, make_buckets(training, num_buckets), seed),
        slots=slots,
        longest_source=max(int(lengths.max(initial=0)) for lengths in (sources, *(s for s, _ in held_out))),
        whole=tuple(int(length) for length in every.max(axis=0)),
    )


def _text_lengths(pairs: Sequence[Pair], tokenizer: Characters) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of each source, and of each target."""
    return tokenizer.lengths([p.source for p in pairs]), tokenizer.lengths([p.target for p in pairs])
