"""Text to text: a source and the target to write for it, laid out for each architecture by `framing`.

    source  "vendredi 20 novembre 2026"    target  "2026-11-20"

The scores are those of the loss, exact match (every token and the end token), and BLEU and chrF where `task.bleu` names
a tokenizer of sacreBLEU.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int

from experiments.data.examples import PAIRS, Pair, Splits
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.data.tokenizers.tokens import SpecialTokens
from experiments.tasks.pair_task import PairTask
from experiments.tasks.pairs import Ids
from experiments.tasks.task import SHARE, Batch, Metric, TaskSettings, token_metrics

NAMES = {"loss": "loss", "accuracy": "accuracy", "perplexity": "perplexity", "bits_per_byte": "bits_per_byte"}


@dataclasses.dataclass(frozen=True)
class TextToText(PairTask):
    """The task of one run; made by `build`, or without data by `reopen`."""

    kind = PAIRS
    names = NAMES
    generates = True

    @classmethod
    def texts(cls, splits: Splits) -> tuple[list[str], list[str]]:
        """Return the training texts to which the tokenizers are fitted: of the sources and of the targets."""
        return [pair.source for pair in splits.train], [pair.target for pair in splits.train]

    @classmethod
    def ids_of(cls, examples: Sequence[Pair], settings: TaskSettings, tokenizers: TokenizerPair) -> Ids:
        """Return the token ids of sources and targets."""
        return Ids(
            tokenizers.source.encode_all([pair.source for pair in examples]),
            tokenizers.target.encode_all([pair.target for pair in examples]),
        )

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Scores with exact_match first: the end token counts, and every token before it."""
        units = {"bleu": "BLEU, see sacreBLEU's signature", "chrf": "chrF, see sacreBLEU's signature"}
        of_corpus = {name: Metric("max", unit, (0.0, 100.0)) for name, unit in units.items()}
        bleu = of_corpus if self.settings.config.bleu != "off" else {}
        exact_match = Metric("max", "of answers", SHARE)
        return self.with_own({"exact_match": exact_match, **bleu, **token_metrics(NAMES)})

    def prompts(
        self, texts: Sequence[Pair | str], batch_size: int | None = None, steps: int | None = None
    ) -> Iterator[Batch]:
        sources = self.tokenizers.source.encode_all([t.source if isinstance(t, Pair) else t for t in texts])
        if self.settings.cuts and all(isinstance(text, Pair) for text in texts):
            # Examples that were cut to learn from are cut here too; a user's own text is refused before.
            sources = sources.cut(np.full(len(sources), max(self.frame.max_source_length(), 0)))
        return self._prompts(sources, batch_size, steps)

    def decode(self, ids: Int[np.ndarray, "T"]) -> str:
        """Decode an answer up to its end token."""
        return self.tokenizers.target.decode(self.up_to_end(ids))

    def answer(self, text: str, ids: Int[np.ndarray, "T"]) -> str:
        return self.tokenizers.target.decode_after([], self.up_to_end(ids))

    def exact_match(self, predicted_BT: Int[np.ndarray, "B T"], targets: Sequence[str]) -> Bool[np.ndarray, "B"]:
        """Compare each answer with its target: True where they agree token by token, with the end token right after.

        What follows the end token does not count; a target that the tokenizer cannot write is never matched.
        """
        return np.array([self._matches(row, text) for row, text in zip(predicted_BT, targets, strict=True)], bool)

    def _matches(self, predicted: np.ndarray, target: str) -> bool:
        reference = np.append(self.tokenizers.target.encode(target), self.end)
        same = np.array_equal(np.asarray(predicted)[: len(reference)], reference)
        return SpecialTokens.unknown not in reference and same
