"""Continuation: the second half of a window given the first, the language task that is the same for every architecture.

The second halves of a document's windows follow each other, so every token but its first ones is a target once. A
document of half a window or less is cut in two. No window reaches from one document into the next.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Int

from experiments.data.examples import TEXT, Document, Splits
from experiments.data.ragged import Ragged
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.tasks.pair_task import PairTask
from experiments.tasks.pairs import Ids, cut_note, prepare, truncated
from experiments.tasks.task import Batch, Metric, TaskSettings, token_metrics

NAMES = {name: f"continuation_{name}" for name in ("loss", "accuracy", "perplexity", "bits_per_byte")}


@dataclasses.dataclass(frozen=True)
class Continuation(PairTask):
    """The task of one run; made by `build`, or without data by `reopen`."""

    kind = TEXT
    names = NAMES
    end = -1
    ends = False

    @classmethod
    def texts(cls, splits: Splits) -> tuple[list[str], list[str]]:
        """The training texts that the tokenizers are truncated to."""
        return [document.text for document in splits.train], []

    @classmethod
    def build(cls, settings: TaskSettings, splits: Splits, tokenizers: TokenizerPair) -> "Continuation":
        """The task, planned from the lengths of its documents.

        Raises:
            UserError: fewer windows than a batch; a window that is longer than the model's limit.
        """
        train, *held_out = (
            halves(split, tokenizers, settings.config.context)
            for split in (splits.train, splits.validation, splits.test)
        )
        shapes, every, plan = prepare(train, held_out, settings, ends=cls.ends)
        named = zip(every, ("training", "validation", "test"), strict=True)
        notes = [cut_note(ids.cut, len(ids), what) for ids, what in named]
        return cls(tokenizers, splits, settings, plan, sum(notes, ()), shapes, every[0])

    @property
    def metrics(self) -> Mapping[str, Metric]:
        return token_metrics(NAMES)

    def evaluation_batches(self, examples: Sequence[Document], batch_size: int | None = None) -> Iterator[Batch]:
        ids = halves(examples, self.tokenizers, self.settings.config.context)
        ids = truncated(ids, self.shapes.frame, self.settings, self.max_answer_length, "windows")
        return self.shapes.evaluation_batches(ids, self._size(len(ids), batch_size))

    def prompts(self, texts: Sequence[str], batch_size: int | None = None, steps: int | None = None) -> Iterator[Batch]:
        sources = self.tokenizers.source.encode_all(list(texts))
        room = self.shapes.max_source_length(steps, self.settings.limit)
        return self.shapes.prompts(sources, self._size(len(texts), batch_size), room)

    def answer(self, text: str, ids: Int[np.ndarray, "M"]) -> str:
        """The text with its continuation."""
        return text + self.tokenizers.source.decode(ids)


def halves(documents: Sequence[Document], tokenizers: TokenizerPair, context: int) -> Ids:
    """The first and the second half of every window of the documents; those of fewer than two tokens have none."""
    texts = tokenizers.source.encode_all([document.text for document in documents])
    first = max(context // 2, 1)
    starts, middles, ends = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for begin, end in zip(texts.offsets[:-1], texts.offsets[1:], strict=True):
        if end - begin <= first:
            start = np.array([begin] if end - begin > 1 else [], np.int64)
            middle = start + (end - begin) // 2
        else:
            start = np.arange(begin, end - first, context - first)
            middle = start + first
        starts.append(start)
        middles.append(middle)
        ends.append(np.minimum(middle + context - first, end))
    start, middle, end = map(np.concatenate, (starts, middles, ends))
    return Ids(Ragged.slices(texts.tokens, start, middle), Ragged.slices(texts.tokens, middle, end))
