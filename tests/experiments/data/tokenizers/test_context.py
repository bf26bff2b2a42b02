"""Claims about text next to other text: an answer behind its prompt, a text around a gap, and what is unknown in it."""

import numpy as np
import pytest
import tokenizers as library
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from experiments.data.tokenizers.bpe import BytePairs
from experiments.data.tokenizers.bytes import Bytes
from experiments.data.tokenizers.characters import Characters
from experiments.data.tokenizers.file import TokenizerFile
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.data.tokenizers.words import Words
from experiments.tasks import filling

SENTENCE = "the cat sat on a mat"
WORDS = {word: i for i, word in enumerate(["[U]", *SENTENCE.split()])}
MARKED = {word: i for i, word in enumerate(["[U]", "▁", *("▁" + word for word in SENTENCE.split())])}
LETTERS = [(letter, -9.0) for letter in "abcdehmnost"]


def file(model, splitter=None, decoder=None, normalizer=None, processor=None) -> TokenizerFile:
    made = library.Tokenizer(model)
    parts = {"pre_tokenizer": splitter, "decoder": decoder, "normalizer": normalizer, "post_processor": processor}
    for name, part in parts.items():
        if part is not None:
            setattr(made, name, part)
    return TokenizerFile(made.to_str())


def byte_level() -> TokenizerFile:
    """Build a file as GPT-2's, whose offsets leave the space out."""
    made = library.Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator([SENTENCE] * 9, trainer)
    made.post_processor = processors.ByteLevel(trim_offsets=True)
    return TokenizerFile(made.to_str())


OF_WORDS = {
    "words": Words.fit([SENTENCE] * 2),
    "bpe": BytePairs.fit([SENTENCE] * 4, 300),
    "file: WordLevel": file(models.WordLevel(WORDS, unk_token="[U]"), pre_tokenizers.Whitespace()),
    "file: WordPiece": file(
        models.WordPiece(WORDS, unk_token="[U]"),
        pre_tokenizers.BertPreTokenizer(),
        decoders.WordPiece(),
        normalizers.BertNormalizer(lowercase=True),
    ),
    "file: Metaspace": file(
        models.WordLevel(MARKED, unk_token="[U]"), pre_tokenizers.Metaspace(), decoders.Metaspace()
    ),
    "file: Unigram": file(
        models.Unigram([("[U]", 0.0), *((word, -1.0) for word in MARKED), *LETTERS], unk_id=0),
        pre_tokenizers.Metaspace(prepend_scheme="first"),
        decoders.Metaspace(prepend_scheme="first"),
    ),
    "file: Prepend and Strip": file(  # as Llama's
        models.WordLevel(MARKED, unk_token="[U]"),
        pre_tokenizers.Split("▁", "merged_with_next"),
        decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]),
        normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
    ),
    "file: ByteLevel": byte_level(),
}
"""Tokenizers in which a word of SENTENCE is one token, and a space between two is none."""

OF_CHARACTERS = {
    "characters": Characters.fit([SENTENCE]),
    "bytes": Bytes(),
    "bpe without merges": BytePairs.fit([SENTENCE], 262),
    "file: ByteLevel without merges": file(
        models.BPE({c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
    ),
}
"""Tokenizers in which a space is a token."""

ALL = OF_WORDS | OF_CHARACTERS


@pytest.mark.parametrize("name", ALL)
def test_an_answer_keeps_the_space_before_it(name):
    tokenizer = ALL[name]
    ids, prompt = tokenizer.encode(SENTENCE), tokenizer.encode("the cat")
    assert "the cat" + tokenizer.decode_after([tokenizer.begin, *prompt], ids[len(prompt) :]) == SENTENCE
    assert tokenizer.decode_after([], ids) == tokenizer.decode_after([tokenizer.begin], ids) == SENTENCE
    assert tokenizer.decode_after(prompt, []) == ""


def test_an_answer_behind_text_that_a_decoder_changes_is_decoded_alone():
    cleaning = OF_WORDS["file: WordPiece"]  # its decoder takes away the space before a comma
    words = file(models.WordPiece({"[U]": 0, "do": 1, "n't": 2, "'": 3}, unk_token="[U]"), None, decoders.WordPiece())
    assert words.decode([7, 8]) == "don't"
    assert words.decode_after([7], [8]) == "n't"
    assert cleaning.decode_after([], []) == ""


def read(tokenizer, text: str) -> list[str]:
    return tokenizer.tokens(filling.read(text, tokenizer, [tokenizer.mask] * 9, ends=False))


def filled(tokenizer, text: str, word: str = "sat") -> str:
    """Fill every gap of a text with the token of a word, as it stands within a sentence."""
    tokens = filling.read(text, tokenizer, [tokenizer.mask] * 9, ends=False)
    (word_id,) = tokenizer.encode(f"on {word}")[len(tokenizer.encode("on")) :]
    return filling.fill_masks(text, np.full(len(tokens), word_id), tokenizer, tokens)


@pytest.mark.parametrize("name", OF_WORDS)
def test_a_gap_between_spaces_reads_as_the_word_that_training_hid(name):
    tokenizer = OF_WORDS[name]
    hidden = ["<mask>" if "sat" in token else token for token in tokenizer.tokens(tokenizer.encode(SENTENCE))]
    assert "<mask>" in hidden
    assert read(tokenizer, "the cat <mask> on a mat") == hidden
    assert read(tokenizer, "the cat<mask> on a mat") == hidden
    assert read(tokenizer, "<mask> cat")[0] == read(tokenizer, "the <mask>")[-1] == "<mask>"
    assert len(read(tokenizer, "<mask> cat")) == len(read(tokenizer, "the <mask>")) == 2
    assert len(read(tokenizer, "the <mask> <mask> on")) == 4


@pytest.mark.parametrize("name", OF_WORDS)
def test_text_outside_the_gaps_comes_back_as_it_was_written(name):
    tokenizer = OF_WORDS[name]
    assert filled(tokenizer, "the cat <mask> on a mat") == SENTENCE
    assert filled(tokenizer, "the cat<mask> on a mat") == SENTENCE
    assert filled(tokenizer, "The Ω  cat <mask> on A\tmat!") == "The Ω  cat sat on A\tmat!"
    assert filled(tokenizer, "cat <mask>") == "cat sat"
    assert filled(tokenizer, "the <mask> <mask> ") == "the sat sat "
    assert filling.fill_spans("the  <mask> mat", np.array([], int), tokenizer, 999) == "the   mat"
    span = tokenizer.encode(SENTENCE)[2:4]
    predicted = np.array([999, *span, 1000, *tokenizer.encode(SENTENCE)[5:]])
    assert filling.fill_spans("Der cat <mask> a <mask>.", predicted, tokenizer, 999) in (
        "Der cat sat on a mat.",
        "Der cat sat on a mat .",  # where a dot is a word of its own
    )


@pytest.mark.parametrize("name", OF_CHARACTERS)
def test_a_space_that_is_a_token_stays_one_beside_a_gap(name):
    tokenizer = OF_CHARACTERS[name]
    assert read(tokenizer, "a <mask> c") == ["a", "␣", "<mask>", "␣", "c"]
    tokens = filling.read("a <mask>c <mask>", tokenizer, [tokenizer.mask] * 2, ends=False)
    spaces = np.full(len(tokens), tokenizer.encode(" ")[0])
    assert filling.fill_masks("a <mask>c <mask>", spaces, tokenizer, tokens) == "a  c  "


def test_gaps_side_by_side_are_decoded_as_one():
    tokens = filling.read("<mask><mask>t", Bytes(), [Bytes.mask] * 2, ends=False)
    assert filling.fill_masks("<mask><mask>t", Bytes().encode("ét"), Bytes(), tokens) == "ét"


def test_each_tokenizer_states_its_own_unknown_parts():
    text = "the Ωx cat"
    assert OF_WORDS["words"].unknown_parts(text) == {"Ωx"}
    assert OF_WORDS["words"].unknown_parts("the cat") == set() == OF_WORDS["words"].unknown_parts("")
    assert OF_WORDS["words"].unknown_parts("the  cat") == {""}
    assert OF_CHARACTERS["characters"].unknown_parts(text) == {"Ω", "x"}
    assert ALL["bytes"].unknown_parts(text) == ALL["bpe"].unknown_parts(text) == set()
    assert ALL["file: ByteLevel"].unknown_parts(text) == set()
    for name in ("WordLevel", "WordPiece", "Metaspace", "Prepend and Strip"):
        assert ALL[f"file: {name}"].unknown_parts(text) == {"Ωx"}
        assert ALL[f"file: {name}"].unknown_parts(SENTENCE) == set()
    assert "Ω" in "".join(ALL["file: Unigram"].unknown_parts(text))
    assert TokenizerPair.of(Bytes(), OF_WORDS["words"]).target.unknown_parts(text) == {"Ωx"}


@pytest.mark.parametrize("name", ALL)
def test_ids_that_stand_for_no_text_are_printed_by_their_names(name):
    tokenizer = ALL[name]
    (a,) = tokenizer.encode("a")
    foreign = tokenizer.size + 3
    printed = tokenizer.decode_after([], [a, tokenizer.unknown, foreign, a])
    assert printed.replace(" ", "") == f"a<unknown><id{foreign}>a"
    assert tokenizer.decode_after([a], [tokenizer.unknown, tokenizer.end]).strip() == "<unknown>"
    assert tokenizer.tokens([tokenizer.unknown, foreign]) == ["<unknown>", f"<id {foreign}>"]
