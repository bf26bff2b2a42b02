"""Claims about tokenizers as files of Hugging Face: their ids are those of the run's, with its special tokens."""

import json
from types import SimpleNamespace

import pytest

from experiments.converting import tokenizer_json
from experiments.converting.tokenizer_json import exported
from experiments.data.tokenizers.bpe import BytePairs
from experiments.data.tokenizers.bytes import Bytes
from experiments.data.tokenizers.characters import Characters
from experiments.data.tokenizers.file import TokenizerFile
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.data.tokenizers.words import Words
from tests.fixtures.pretrained import tokenizer

TEXTS = ["the cat sat", "the dog ran ?\tthe é", "the cat \U0001f600"]

UNIGRAM = {
    "version": "1.0",
    "model": {"type": "Unigram", "vocab": [["<unk>", 0.0], ["t", -1.0], ["he", -2.0], [" ", -1.5]], "unk_id": 0},
    "added_tokens": [
        {
            "id": 0,
            "content": "<unk>",
            "special": True,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
        }
    ],
    "normalizer": None,
    "pre_tokenizer": None,
    "post_processor": None,
    "decoder": None,
    "truncation": None,
    "padding": None,
}

KINDS = {
    "characters": Characters.fit(TEXTS),
    "words": Words.fit([*TEXTS, *TEXTS]),
    "bytes": Bytes(),
    "bpe": BytePairs.fit(TEXTS * 3, vocab_size=270),
    "file": TokenizerFile(tokenizer().to_str()),
    "unigram": TokenizerFile(json.dumps(UNIGRAM)),
}


def task_of(pair, monkeypatch, before=(), behind=()):
    """A task that has a tokenizer; what it puts around a text is given."""
    monkeypatch.setattr(tokenizer_json, "around", lambda task: (list(before), list(behind)))
    return SimpleNamespace(tokenizers=pair)


@pytest.mark.parametrize("name", KINDS)
def test_a_file_reads_a_text_as_the_tokenizer_with_the_special_tokens_of_the_task(name, monkeypatch):
    ours = KINDS[name]
    library, texts, line = exported(task_of(TokenizerPair.of(ours), monkeypatch, [1], [3, 2]))
    assert line is None
    for text in ["the cat", "the z ?", "\u00e9\nthe"]:
        assert library.encode(text).ids == [1, *ours.encode(text).tolist(), 3, 2]
    assert [library.token_to_id(text) for text in texts.values()] == [0, 1, 2, 3, 4, 5]
    assert library.decode(library.encode("the").ids) == ours.decode(ours.encode("the"))
    assert library.get_vocab_size() == ours.size


def test_a_special_token_of_the_file_keeps_its_text_and_ours_has_another(monkeypatch):
    theirs = tokenizer()
    theirs.add_special_tokens(["<mask>"])
    ours = TokenizerFile(theirs.to_str())
    library, texts, _ = exported(task_of(TokenizerPair.of(ours), monkeypatch))
    assert texts["mask"] == "<<mask>>"
    assert library.token_to_id("<mask>") == 6 + theirs.token_to_id("<mask>")
    assert library.encode("<mask>").ids == ours.encode("<mask>").tolist()


def test_what_no_file_can_hold_is_not_written(monkeypatch):
    pair = TokenizerPair.of(Characters.fit(TEXTS), Bytes())
    assert "one tokenizer each" in exported(task_of(pair, monkeypatch))[2]
    empty_words = TokenizerPair.of(Words.fit(["a  b", "a  b"]))
    assert "of this kind" in exported(task_of(empty_words, monkeypatch))[2]
    monkeypatch.setattr(Bytes, "encode", lambda self, text: Characters.fit(TEXTS).encode(text))
    assert "other ids" in exported(task_of(TokenizerPair.of(Bytes()), monkeypatch))[2]
