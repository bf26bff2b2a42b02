"""BLEU by sacreBLEU, with the signature that describes its computation. Post 2018, https://arxiv.org/abs/1804.08771."""

from collections.abc import Sequence


def signature(tokenizer: str) -> str:
    """Return sacreBLEU's signature of `bleu` with one reference for each text."""
    return bleu([""], [""], tokenizer)[1]


def bleu(outputs: Sequence[str], references: Sequence[str], tokenizer: str) -> tuple[float, str]:
    """Compute (BLEU of a corpus, 0 to 100; its signature).

    Args:
        outputs: what the model wrote, one text each.
        references: the right texts, one each.
        tokenizer: one of sacreBLEU's: "13a"; "none" for text that is tokenized already.
    """
    from sacrebleu.metrics import BLEU  # takes as long to import as some runs take to start

    metric = BLEU(tokenize=tokenizer, force=True)
    score = metric.corpus_score(list(outputs), [list(references)]).score
    return float(score), str(metric.get_signature())
