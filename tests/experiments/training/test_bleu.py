import pytest
from sacrebleu.metrics import BLEU

from experiments.training.bleu import bleu

SAID = ["the cat sat on the mat .", "there is a dog, in the garden", "he reads two books", "Ein Hund!"]
RIGHT = ["the cat sat on a mat .", "there is a big dog in the garden", "he reads two old books", "Ein Hund !"]


@pytest.mark.parametrize("tokenizer", ["13a", "none", "char", "intl"])
def test_bleu_is_sacrebleus_own_of_the_whole_corpus(tokenizer):
    score, signature = bleu(SAID, RIGHT, tokenizer)
    metric = BLEU(tokenize=tokenizer, force=True)
    assert score == metric.corpus_score(SAID, [RIGHT]).score
    assert 10 < score < 90
    assert f"tok:{tokenizer}" in signature.split("|")
    assert "nrefs:1" in signature
    assert "version:" in signature


def test_the_tokenizer_changes_the_number():
    assert len({bleu(SAID, RIGHT, tokenizer)[0] for tokenizer in ("13a", "none", "char")}) == 3


def test_saying_what_is_right_is_a_hundred_and_nothing_at_all_is_zero():
    assert bleu(RIGHT, RIGHT, "13a")[0] == pytest.approx(100.0)
    assert bleu([""] * 4, RIGHT, "13a")[0] == 0.0


def test_bleu_is_of_the_corpus_and_not_of_its_order():
    assert bleu(SAID[::-1], RIGHT[::-1], "13a")[0] == pytest.approx(bleu(SAID, RIGHT, "13a")[0])
