"""Scores of a corpus by sacreBLEU, each with the signature that describes its computation.

bleu   Post 2018, https://arxiv.org/abs/1804.08771
chrf   Popović 2015, https://aclanthology.org/W15-3049: F-score, beta 2, of sequences of 1 to 6 characters
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

# sacreBLEU takes as long to import as some runs take to start


class CorpusScore(NamedTuple):
    """A score of sacreBLEU, 0 to 100.

    Attributes:
        title: its name as it is written.
        make: makes sacreBLEU's metric, given the tokenizer of BLEU.
    """

    title: str
    make: Callable[[str], Any]


def _bleu(tokenizer: str) -> Any:
    from sacrebleu.metrics import BLEU

    return BLEU(tokenize=tokenizer, force=True)


def _chrf(tokenizer: str) -> Any:
    from sacrebleu.metrics import CHRF

    return CHRF()


CORPUS_SCORES = {"bleu": CorpusScore("BLEU", _bleu), "chrf": CorpusScore("chrF", _chrf)}
"""Name of a score -> how it is made."""


def signature(name: str, tokenizer: str) -> str:
    """Return sacreBLEU's signature of `corpus_score` with one reference for each text."""
    return corpus_score(name, [""], [""], tokenizer)[1]


def corpus_score(name: str, outputs: Sequence[str], references: Sequence[str], tokenizer: str) -> tuple[float, str]:
    """Compute (score of a corpus, 0 to 100; its signature).

    Args:
        name: row of CORPUS_SCORES.
        outputs: what the model wrote, one text each.
        references: the right texts, one each.
        tokenizer: of BLEU, one of sacreBLEU's: "13a"; "none" for text that is tokenized already.
    """
    metric = CORPUS_SCORES[name].make(tokenizer)
    score = metric.corpus_score(list(outputs), [list(references)]).score
    return float(score), str(metric.get_signature())
