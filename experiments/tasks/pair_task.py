"""The part that tasks of pairs share: text to text, whose pairs are read, and continuation, which cuts them.

    examples --`ids_of`--> token ids --`pairs.prepare`--> frame, pairs that fit, plan --`Frame.example`--> batches

A subclass gives `ids_of` and its words; the frame owns every size.
"""

import abc
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Int

from experiments.data.batching import Batches, Bucket
from experiments.data.examples import Splits
from experiments.data.ragged import Ragged
from experiments.data.request_sizes import padded_length
from experiments.data.stored_json import Fields
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.tasks.collating import AttentionView, collate
from experiments.tasks.framing import Frame
from experiments.tasks.pairs import Ids, answer_note, cut_note, frame_of, prepare, truncated
from experiments.tasks.task import A_LENGTH, Batch, Task, TaskSettings


@dataclasses.dataclass(frozen=True)
class PairTask(Task):
    """A task of pairs, whatever they are made of; made by `build`, or without data by `reopen`.

    Attributes:
        ids: the training pairs; None without data.
    """

    frame: Frame
    ids: Ids | None

    ends: ClassVar[bool] = True
    """True where targets end with a token of their own."""

    @classmethod
    @abc.abstractmethod
    def ids_of(cls, examples: Sequence, settings: TaskSettings, tokenizers: TokenizerPair) -> Ids:
        """Return the token ids of the pairs that these examples give."""

    @classmethod
    def build(cls, settings: TaskSettings, splits: Splits, tokenizers: TokenizerPair) -> Self:
        """Build the task, planned from the lengths of its pairs.

        Raises:
            UserError: no training pairs, or fewer than a batch; pairs longer than the model's limit.
        """
        parts = (splits.train, splits.validation, splits.test)
        train, *held_out = (cls.ids_of(part, settings, tokenizers) for part in parts)
        frame, every, plan = prepare(train, held_out, settings, ends=cls.ends)
        named = list(zip(every, ("training", "validation", "test"), strict=True))
        notes = [cut_note(ids.cut, len(ids), what) for ids, what in named]
        if cls.generates:
            notes += [answer_note(ids, frame, settings, what) for ids, what in named[1:]]
        return cls(tokenizers, splits, settings, plan, sum(notes, ()), frame, every[0])

    def size(self, examples: Sequence) -> int:
        return len(self.ids_of(examples, self.settings, self.tokenizers))

    @property
    def training_size(self) -> int:
        return len(self.ids)

    def limited(self, limit: int) -> Self:
        return dataclasses.replace(super().limited(limit), frame=dataclasses.replace(self.frame, limit=limit))

    # The keys of task.json are those of the first runs, so that these open: slots, longest_source, whole.

    metadata_shape = Fields({"slots": A_LENGTH, "longest_source": A_LENGTH, "whole": [A_LENGTH]})

    @classmethod
    def reopen(cls, settings: TaskSettings, tokenizers: TokenizerPair, metadata: Mapping[str, Any]) -> Self:
        """Build the task without its data; it can answer texts."""
        sizes = {"longest_source": metadata["longest_source"], "full_shape": tuple(metadata["whole"])}
        frame = dataclasses.replace(frame_of(settings, metadata["slots"], ends=cls.ends), **sizes)
        return cls(tokenizers, Splits([], [], []), settings, None, (), frame, None)

    @property
    def metadata(self) -> dict[str, Any]:
        frame = self.frame
        return {
            "slots": frame.max_answer_length,
            "longest_source": frame.longest_source,
            "whole": list(frame.full_shape),
        }

    @property
    def max_answer_length(self) -> int:
        return self.frame.max_answer_length

    @property
    def fixed_answer_length(self) -> bool:
        return self.frame.fixed_answer_length

    def max_sequence_length(self, answer_length: int | None = None) -> int:
        return self.frame.max_sequence_length(answer_length)

    def sequence_length(self, tokens: Int[np.ndarray, "S"], answer_length: int) -> int:
        return self.frame.sequence_length(len(tokens), answer_length)

    def attention_view(self, text: str, answer: Int[np.ndarray, "T"]) -> AttentionView:
        return self.frame.attention_view(self.tokenizers.source.encode(text), answer)

    @property
    def batches(self) -> Batches:
        return Batches(self.plan, lambda rows, bucket: self._batch(self.ids, rows, bucket))

    def evaluation_batches(self, examples: Sequence, batch_size: int | None = None) -> Iterator[Batch]:
        ids = truncated(self.ids_of(examples, self.settings, self.tokenizers), self.frame, self.settings, self.unit)
        for rows, weights in self._rows(len(ids), batch_size):
            batch = self._batch(ids, rows, self.frame.full_shape)
            batch["loss_weights"] *= weights[:, None]
            yield {**batch, "example_weights": weights}

    def _batch(self, ids: Ids, rows: Sequence[int] | np.ndarray, bucket: Bucket) -> Batch:
        """Collate the pairs of these rows, padded to a bucket."""
        framed = [self.frame.example(ids.sources[i], ids.targets[i]) for i in rows]
        axes = zip(self.frame.axes.values(), bucket, strict=True)
        return collate(framed, {key: length for keys, length in axes for key in keys})

    def _prompts(self, sources: Ragged, batch_size: int | None, steps: int | None) -> Iterator[Batch]:
        """Yield prompts for sources in batches of one shape, one of few (`request_sizes`)."""
        most = self.frame.max_source_length(steps)
        longest = int(sources.lengths.max(initial=0)) + 1  # every layout adds a token to the source
        padded = padded_length(longest, self.frame.longest_source + 1, None if most is None else most + 1) - 1
        shape = self.frame.prompt(np.zeros(padded, np.int32))
        lengths = {key: len(value) for key, value in shape.items() if not isinstance(value, int)}
        for rows, weights in self._rows(len(sources), batch_size):
            framed = [self.frame.prompt(sources[i]) for i in rows]
            yield {**collate(framed, lengths), "example_weights": weights}
