"""Text to text: a source and the target to write for it, posed for each architecture by `framing`."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int

from experiments.data.examples import PAIRS, Pair, Splits
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.data.tokenizers.tokens import SpecialTokens
from experiments.tasks.pair_task import PairTask
from experiments.tasks.pairs import Ids, answer_note, cut_note, max_source_lengths, prepare, truncated
from experiments.tasks.task import Batch, Metric, TaskSettings, token_metrics

NAMES = {"loss": "loss", "accuracy": "accuracy", "perplexity": "perplexity", "bits_per_byte": "bits_per_byte"}


@dataclasses.dataclass(frozen=True)
class TextToText(PairTask):
    """The task of one run; made by `build`, or without data by `reopen`."""

    kind = PAIRS
    names = NAMES
    generates = True

    @classmethod
    def texts(cls, splits: Splits) -> tuple[list[str], list[str]]:
        """The training texts that the tokenizers are truncated to: of the sources and of the targets."""
        return [pair.source for pair in splits.train], [pair.target for pair in splits.train]

    @classmethod
    def build(cls, settings: TaskSettings, splits: Splits, tokenizers: TokenizerPair) -> "TextToText":
        """The task, planned from the lengths of its texts.

        Raises:
            UserError: no training examples, or fewer than a batch; examples longer than the model's limit.
        """
        train, *held_out = (encoded(split, tokenizers) for split in (splits.train, splits.validation, splits.test))
        shapes, every, plan = prepare(train, held_out, settings, ends=cls.ends)
        named = list(zip(every, ("training", "validation", "test"), strict=True))
        notes = [cut_note(ids.cut, len(ids), what) for ids, what in named]
        notes += [answer_note(ids, shapes, settings, what) for ids, what in named[1:]]
        return cls(tokenizers, splits, settings, plan, sum(notes, ()), shapes, every[0])

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """exact_match first: the end token counts, and every token before it."""
        bleu = {"bleu": Metric("max", "BLEU, see sacreBLEU's signature")} if self.settings.config.bleu != "off" else {}
        return {"exact_match": Metric("max", "of answers"), **bleu, **token_metrics(NAMES)}

    def evaluation_batches(self, examples: Sequence[Pair], batch_size: int | None = None) -> Iterator[Batch]:
        ids = truncated(
            encoded(examples, self.tokenizers), self.shapes.frame, self.settings, self.max_answer_length, "examples"
        )
        return self.shapes.evaluation_batches(ids, self._size(len(ids), batch_size))

    def prompts(
        self, texts: Sequence[Pair | str], batch_size: int | None = None, steps: int | None = None
    ) -> Iterator[Batch]:
        sources = self.tokenizers.source.encode_all([t.source if isinstance(t, Pair) else t for t in texts])
        limit = self.settings.limit if self.settings.too_long == "cut" else None
        if limit is not None and all(isinstance(text, Pair) for text in texts):
            # Examples that were cut to learn from are cut here too; a user's own text is refused before.
            sources = sources.cut(max_source_lengths(sources.lengths, self.shapes.frame, self.max_answer_length, limit))
        room = self.shapes.max_source_length(steps, self.settings.limit)
        return self.shapes.prompts(sources, self._size(len(texts), batch_size), room)

    def decode(self, ids: Int[np.ndarray, "M"]) -> str:
        """The text of an answer, up to its end token."""
        return self.tokenizers.target.decode(self.up_to_end(ids))

    def answer(self, text: str, ids: Int[np.ndarray, "M"]) -> str:
        return self.decode(ids)

    def exact_match(self, predicted_BM: Int[np.ndarray, "B M"], targets: Sequence[str]) -> Bool[np.ndarray, "B"]:
        """Whether each answer is its target, token by token, with the end token right after it.

        What follows the end token does not count; a target that the tokenizer cannot write is never matched.
        """
        return np.array([self._matches(row, text) for row, text in zip(predicted_BM, targets, strict=True)], bool)

    def _matches(self, predicted: np.ndarray, target: str) -> bool:
        expected = np.append(self.tokenizers.target.encode(target), self.end)
        said = np.asarray(predicted)[: len(expected)]
        return SpecialTokens.unknown not in expected and np.array_equal(said, expected)


def encoded(pairs: Sequence[Pair], tokenizers: TokenizerPair) -> Ids:
    """The token ids of pairs."""
    return Ids(
        tokenizers.source.encode_all([pair.source for pair in pairs]),
        tokenizers.target.encode_all([pair.target for pair in pairs]),
    )
