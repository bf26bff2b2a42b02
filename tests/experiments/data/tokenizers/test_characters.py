"""Claims about character tokenizers."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from experiments.data.tokenizers import table
from experiments.data.tokenizers.table import Characters, SpecialTokens, TokenizerConfig
from tests.fixtures.texts import TEXT
from transformer.errors import UserError


@given(text=TEXT, others=st.lists(TEXT, max_size=3))
def test_text_of_known_characters_comes_back(text, others):
    tokenizer = Characters.fit([*others, text])
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int32
    assert len(ids) == len(text) == tokenizer.lengths([text])[0]
    assert tokenizer.decode(ids) == text
    assert all(len(tokenizer.special) <= i < tokenizer.size for i in ids)


@given(known=TEXT, text=TEXT)
def test_unseen_characters_and_only_they_become_unknown(known, text):
    ids = Characters.fit([known]).encode(text)
    assert [i == SpecialTokens.unknown for i in ids] == [character not in known for character in text]


@given(texts=st.lists(TEXT, min_size=1, max_size=4))
def test_distinct_characters_have_distinct_ids_whatever_the_order_of_texts(texts):
    tokenizer = Characters.fit(texts)
    assert tokenizer == Characters.fit(reversed(texts))
    characters = "".join(sorted(set("".join(texts))))
    assert len(set(tokenizer.encode(characters).tolist())) == len(characters) == tokenizer.size - 6


@given(texts=st.lists(TEXT, max_size=3))
@example(texts=["a\udbff\udc00", "\ud800"])
def test_json_keeps_everything(texts):
    tokenizer = table.fit(TokenizerConfig(), texts)
    assert table.from_json(tokenizer.to_json()) == tokenizer == Characters.from_json(tokenizer.to_json())


def test_special_ids_are_the_fixed_ones():
    t = Characters.fit(["ab"])
    assert (t.padding, t.begin, t.end, t.separator, t.mask, t.unknown) == (0, 1, 2, 3, 4, 5)
    assert t.size == 8


def test_decode_leaves_specials_out_goes_on_after_the_end_and_shows_unknown():
    t = Characters.fit(["日a"])
    assert (
        t.decode([1, 6, 2, 0, 5, 3, 4, 7, 2, 99, -1])
        == "a\N{REPLACEMENT CHARACTER}日" + 2 * "\N{REPLACEMENT CHARACTER}"
    )


def test_labels_are_one_for_each_token_and_none_is_blank():
    t = Characters.fit(["a \N{NARROW NO-BREAK SPACE}"])
    assert t.tokens([1, *t.encode("a \N{NARROW NO-BREAK SPACE}?").tolist(), 2]) == [
        "<begin>",
        "a",
        "␣",
        "␣",
        "<unknown>",
        "<end>",
    ]


def test_badly_encoded_command_line_text_is_unknown_not_a_crash():
    assert Characters.fit(["a"]).encode("a\udcff").tolist() == [6, SpecialTokens.unknown]


def test_unsorted_or_repeated_alphabet_is_refused():
    for alphabet in ("ba", "aa"):
        with pytest.raises(UserError, match="not sorted"):
            Characters(alphabet)
