import functools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.data.tokenizers import table
from experiments.data.tokenizers.bpe import DEFAULT_SIZE, BytePairs
from experiments.data.tokenizers.bytes import Bytes
from experiments.data.tokenizers.file import TokenizerFile
from experiments.data.tokenizers.table import TOKENIZERS, TokenizerConfig
from experiments.data.tokenizers.words import Words
from tests.fixtures.texts import CORPUS, TEXT, tokenizer_json, word_piece
from transformer import schema
from transformer.errors import UserError


@functools.cache
def fitted(name):
    """The tokenizer of a row, fitted to CORPUS."""
    if name == "file":
        return TokenizerFile(tokenizer_json(CORPUS))
    size = {"vocab_size": 270} if name == "bpe" else {}
    return table.fit(TokenizerConfig(name=name, **size), CORPUS * 2)  # words that occur once are unknown


@pytest.mark.parametrize("name", TOKENIZERS)
@given(text=TEXT | st.sampled_from(CORPUS))
def test_text_makes_ids_of_text_alone_or_unknown(name, text):
    tokenizer = fitted(name)
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int32
    assert all(len(tokenizer.special) <= i < tokenizer.size or i == tokenizer.unknown for i in ids)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_text_seen_in_training_comes_back_and_its_bytes_are_counted(name):
    tokenizer = fitted(name)
    for text in CORPUS:
        ids = tokenizer.encode(text)
        assert tokenizer.unknown not in ids
        assert tokenizer.decode(ids) == tokenizer.decode([tokenizer.begin, *ids, tokenizer.end]) == text
        more = len(ids) > 0 if name == "words" else 0  # the space before the first word, which is not there
        assert tokenizer.byte_lengths[ids].sum() == len(text.encode()) + more


@pytest.mark.parametrize("name", ["bytes", "bpe"])
@given(text=TEXT | st.sampled_from(["a\udcffb", "\ud83d\ude42", "\udfff\ud800 x", "<end><pad><unknown>", "  \n \n"]))
def test_every_text_comes_back_and_its_bytes_are_counted(name, text):
    tokenizer = fitted(name)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.byte_lengths[ids].sum() == len(text.encode("utf-8", "surrogatepass"))
    assert tokenizer.unknown not in ids


@pytest.mark.parametrize("name", TOKENIZERS)
@given(texts=st.lists(TEXT | st.sampled_from([*CORPUS, "a\udcff", "\ud83d", "\ude42"]), max_size=5))
def test_encoding_all_is_encoding_one_by_one(name, texts):
    tokenizer = fitted(name)
    rows = tokenizer.encode_all(texts)
    assert rows.tokens.dtype == np.int32
    assert [row.tolist() for row in rows] == [tokenizer.encode(text).tolist() for text in texts]
    assert tokenizer.lengths(texts).tolist() == rows.lengths.tolist()


def test_json_keeps_the_halves_of_a_surrogate_pair_apart():
    words = ["a", "\udbff\udc00", "\udc00\udbff"]
    tokenizer = table.fit(TokenizerConfig(name="words"), words * 2)
    again = table.from_json(tokenizer.to_json())
    assert again == tokenizer
    assert {again.label(i) for i in range(6, again.size)} == {*words}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_json_keeps_the_whole_tokenizer(name):
    tokenizer = fitted(name)
    again = table.from_json(tokenizer.to_json())
    assert again == tokenizer
    assert again.to_json() == tokenizer.to_json()
    assert again.size == tokenizer.size
    for text in [*CORPUS, "unseen Ω"]:
        assert again.encode(text).tolist() == tokenizer.encode(text).tolist()


@pytest.mark.parametrize("name", TOKENIZERS)
def test_byte_lengths_are_of_every_id_and_zero_for_special_ones_alone(name):
    lengths = fitted(name).byte_lengths
    assert lengths.dtype == np.int64
    assert lengths.shape == (fitted(name).size,)
    assert not lengths[:6].any()
    assert lengths[6:].all()


@pytest.mark.parametrize("name", [name for name in TOKENIZERS if name != "words"])
def test_special_ids_are_left_out_and_unknown_and_foreign_ones_are_shown(name):
    tokenizer = fitted(name)
    (a,), (b,) = tokenizer.encode("a"), tokenizer.encode("d")
    assert tokenizer.decode([1, a, 2, 0, 5, 3, 4, b, tokenizer.size, -1]) == "a\ufffdd\ufffd\ufffd"
    assert tokenizer.decode([]) == ""


@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_id_has_a_label_without_white_space(name):
    tokenizer = fitted(name)
    labels = tokenizer.tokens(range(tokenizer.size))
    assert labels[:6] == ["<padding>", "<begin>", "<end>", "<separator>", "<mask>", "<unknown>"]
    assert all(label and not any(character.isspace() for character in label) for label in labels)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_rows_differ(name):
    assert [fitted(name) == fitted(other) for other in TOKENIZERS] == [name == other for other in TOKENIZERS]


def test_bytes_have_one_id_each_whatever_the_texts():
    assert Bytes.fit(["x"]).size == 262
    assert Bytes().encode("a\né").tolist() == [6 + 0x61, 6 + 0x0A, 6 + 0xC3, 6 + 0xA9]
    assert Bytes().decode([6 + 0xC3, 6 + 0x61]) == "\ufffda"
    assert Bytes().tokens([6 + 0xC3, 6 + 0x0A, 6 + 0x61]) == ["\\xc3", "␣", "a"]


@given(texts=st.lists(TEXT, max_size=4), order=st.randoms(use_true_random=False))
def test_bpe_is_a_function_of_the_texts_not_of_their_order(texts, order):
    texts = [*CORPUS, *texts]
    shuffled = order.sample(texts, len(texts))
    assert BytePairs.fit(texts, 280).to_json() == BytePairs.fit(shuffled, 280).to_json()


def test_bpe_is_the_same_on_one_thread_and_on_many(monkeypatch):
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abc d"), 300)) for _ in range(200)]
    many = [BytePairs.fit(texts, 400).to_json() for _ in range(2)]
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    assert {BytePairs.fit(texts, 400).to_json(), *many} == {many[0]}


def test_bpe_learns_until_its_size_or_until_no_pair_occurs_twice():
    assert BytePairs.fit(["ab ab abc abcd"] * 9, 264).size == 264
    assert BytePairs.fit([]).size == 262
    learned = BytePairs.fit(["xyz xyz xyz", "qr"])
    assert learned.size == 262 + 3  # xy, xyz, and xyz after a space
    assert learned.tokens(learned.encode("xyz xyz qr")) == ["xyz", "␣xyz", "␣", "q", "r"]
    assert DEFAULT_SIZE == 8000


def test_bpe_makes_fewer_tokens_of_what_it_was_trained_on_than_bytes_do():
    text = CORPUS[0]
    assert len(fitted("bpe").encode(text)) < len(Bytes().encode(text))


def test_a_vocabulary_without_room_for_the_bytes_is_refused_by_the_setting_and_by_fit():
    with pytest.raises(UserError, match=r"vocab_size is out of range; got 6; expected a number from 7 to 2\^24"):
        schema.from_dict(TokenizerConfig, {"name": "words", "vocab_size": 6}, "tokenizer")
    for name, size in (("bpe", 261), ("words", 6)):
        for function in (table.check, lambda config: table.fit(config, ["a"])):
            with pytest.raises(UserError, match=f"got {size}; expected {size + 1} or more"):
                function(TokenizerConfig(name=name, vocab_size=size))
    with pytest.raises(UserError, match=r"got 261; expected 262 or more\. Raise it, leave it out"):
        BytePairs.fit(["a"], 261)


WORD = st.text(st.characters(blacklist_characters=" "), max_size=5)


@given(words=st.lists(WORD, min_size=1, max_size=9))
def test_text_of_words_seen_twice_comes_back_whatever_its_spaces(words):
    text = " ".join(words)  # an empty word is two spaces, or one at an end
    tokenizer = Words.fit([text, text])
    ids = tokenizer.encode(text)
    assert len(ids) == (len(words) if text else 0)
    assert tokenizer.unknown not in ids
    assert tokenizer.decode(ids) == text


def test_words_seen_once_or_never_are_unknown_and_shown_as_such():
    tokenizer = Words.fit(["the cat saw the dog", "a cat"])
    assert tokenizer.words == ("cat", "the")
    ids = tokenizer.encode("the cat saw the fox")
    assert ids.tolist() == [7, 6, 5, 7, 5]
    assert tokenizer.decode([1, *ids, 2]) == "the cat \ufffd the \ufffd"
    assert tokenizer.decode([6, tokenizer.size, -1]) == "cat \ufffd \ufffd"


def test_a_vocabulary_of_words_keeps_the_most_frequent_and_may_be_small():
    text = "c c c b b a a d d d d e"
    assert Words.fit([text]).words == ("d", "c", "a", "b")
    assert table.fit(TokenizerConfig(name="words", vocab_size=8), [text]).words == ("d", "c")
    assert table.fit(TokenizerConfig(name="words", vocab_size=50), [text]).size == 10


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            dict(vocab_size=300),
            r"vocab_size is not read by tokenizer 'characters'; got 300; expected it only with words",
        ),
        (dict(name="bytes", path="x"), r"path is not read by tokenizer 'bytes'; got 'x'; expected it only with file"),
        (dict(name="file", path="x", vocab_size=300), r"vocab_size is not read by tokenizer 'file'"),
        (dict(name="bpe", shared=False, target_path="x"), r"target_path is not read by tokenizer 'bpe'"),
        (dict(name="file", path="x", target_path="y"), r"target_path is not read .* tokenizer\.shared True"),
        (dict(name="file"), r"tokenizer 'file' lacks tokenizer\.path; got none"),
        (dict(name="file", path="x", shared=False), r"tokenizer 'file' lacks tokenizer\.target_path; got none"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(settings, message):
    config = TokenizerConfig(**settings)
    with pytest.raises(UserError, match=message):
        table.check(config)
    with pytest.raises(UserError, match=message):
        table.fit(config, ["a"])


@pytest.mark.parametrize(
    "text",
    ['{"name": "bpe"}', '{"name": "chara', "3", "{}", '{"name": 3}', '{"name": "characters", "alphabet": 3}'],
)
def test_cut_or_foreign_json_is_a_user_error(text):
    with pytest.raises(UserError, match="the description of a tokenizer cannot be read"):
        table.from_json(text)


def test_json_of_a_subword_tokenizer_that_is_none_is_a_user_error():
    with pytest.raises(UserError, match=r"not a tokenizer\.json"):
        table.from_json('{"name": "bpe", "tokenizer": {"model": 3}}')
    with pytest.raises(UserError, match="lacks tokens for some bytes"):
        table.from_json(json.dumps({"name": "bpe", "tokenizer": json.loads(word_piece())}))


def test_unknown_tokenizer_is_a_user_error():
    with pytest.raises(UserError, match="Did you mean 'characters'"):
        table.fit(TokenizerConfig(name="character"), ["a"])
