import pytest
from sacrebleu.metrics import BLEU, CHRF

from experiments.training.corpus_scores import CORPUS_SCORES, corpus_score

SAID = ["the cat sat on the mat .", "there is a dog, in the garden", "he reads two books", "Ein Hund!"]
RIGHT = ["the cat sat on a mat .", "there is a big dog in the garden", "he reads two old books", "Ein Hund !"]


@pytest.mark.parametrize("tokenizer", ["13a", "none", "char", "intl"])
def test_bleu_is_sacrebleus_own_of_the_whole_corpus(tokenizer):
    score, signature = corpus_score("bleu", SAID, RIGHT, tokenizer)
    metric = BLEU(tokenize=tokenizer, force=True)
    assert score == metric.corpus_score(SAID, [RIGHT]).score
    assert 10 < score < 90
    assert f"tok:{tokenizer}" in signature.split("|")
    assert "nrefs:1" in signature
    assert "version:" in signature


def test_chrf_is_sacrebleus_own_of_the_whole_corpus():
    score, signature = corpus_score("chrf", SAID, RIGHT, "13a")
    assert score == CHRF().corpus_score(SAID, [RIGHT]).score
    assert 10 < score < 90
    assert {"nrefs:1", "nc:6", "nw:0"} <= set(signature.split("|"))
    assert "version:" in signature


def test_the_tokenizer_changes_the_number():
    assert len({corpus_score("bleu", SAID, RIGHT, tokenizer)[0] for tokenizer in ("13a", "none", "char")}) == 3


@pytest.mark.parametrize("name", CORPUS_SCORES)
def test_saying_what_is_right_is_a_hundred_and_nothing_at_all_is_zero(name):
    assert corpus_score(name, RIGHT, RIGHT, "13a")[0] == pytest.approx(100.0)
    assert corpus_score(name, [""] * 4, RIGHT, "13a")[0] == 0.0


@pytest.mark.parametrize("name", CORPUS_SCORES)
def test_a_score_is_of_the_corpus_and_not_of_its_order(name):
    backwards = corpus_score(name, SAID[::-1], RIGHT[::-1], "13a")[0]
    assert backwards == pytest.approx(corpus_score(name, SAID, RIGHT, "13a")[0])
