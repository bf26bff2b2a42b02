"""Continuation: the second half of a window given the first, the language task that is the same for every architecture.

    document  x1 .. x10, window of 4    source  x1 x2 | x3 x4 | x5 x6 | x7 x8
                                        target  x3 x4 | x5 x6 | x7 x8 | x9 x10

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
from experiments.tasks.pairs import Ids
from experiments.tasks.task import Batch, Metric, TaskSettings, token_metrics

NAMES = {name: f"continuation_{name}" for name in ("loss", "accuracy", "perplexity", "bits_per_byte")}


@dataclasses.dataclass(frozen=True)
class Continuation(PairTask):
    """The task of one run; made by `build`, or without data by `reopen`."""

    kind = TEXT
    names = NAMES
    continues = True
    end = None
    ends = False
    unit = "windows"

    @classmethod
    def texts(cls, splits: Splits) -> tuple[list[str], list[str]]:
        """Return the training texts to which the tokenizers are fitted."""
        return [document.text for document in splits.train], []

    @classmethod
    def ids_of(cls, examples: Sequence[Document], settings: TaskSettings, tokenizers: TokenizerPair) -> Ids:
        """Return the halves of the documents' windows."""
        return halves(examples, tokenizers, settings.config.context)

    @property
    def metrics(self) -> Mapping[str, Metric]:
        return token_metrics(NAMES)

    def prompts(self, texts: Sequence[str], batch_size: int | None = None, steps: int | None = None) -> Iterator[Batch]:
        return self._prompts(self.tokenizers.source.encode_all(list(texts)), batch_size, steps)

    def answer(self, text: str, ids: Int[np.ndarray, "T"]) -> str:
        """Return the text with its continuation."""
        tokenizer = self.tokenizers.source
        return text + tokenizer.decode_after(tokenizer.encode(text), ids)


def halves(documents: Sequence[Document], tokenizers: TokenizerPair, context: int) -> Ids:
    """Cut every window of the documents in two halves; documents of fewer than two tokens have none."""
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
