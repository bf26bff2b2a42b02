import json

import numpy as np
import pytest

from experiments.data.tokenizers.pair import TokenizerPair
from experiments.data.tokenizers.table import TOKENIZERS, Characters, TokenizerConfig
from tests.fixtures.texts import CORPUS, tokenizer_json
from transformer.errors import UserError

# Twice, so that every word is known to a tokenizer of words.
SOURCES, TARGETS = 2 * list(CORPUS), 2 * ["der  Hund ", "die Katze der Katze\n", "Öl der Katze 🐈"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for side, texts in (("source", SOURCES), ("target", TARGETS)):
        (folder / f"{side}.json").write_text(tokenizer_json(texts), encoding="utf-8")
    return folder


def config_of(name, files, shared):
    return TokenizerConfig(
        name=name,
        vocab_size=280 if name == "bpe" else None,
        path=str(files / "source.json") if name == "file" else None,
        target_path=str(files / "target.json") if name == "file" and not shared else None,
        shared=shared,
    )


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("shared", [True, False])
def test_json_keeps_both_sides(name, files, shared):
    pair = TokenizerPair.fit(config_of(name, files, shared), SOURCES, TARGETS)
    again = TokenizerPair.from_json(pair.to_json())
    assert again == pair
    assert again.shared == pair.shared == shared
    for text in (*SOURCES, *TARGETS):
        np.testing.assert_array_equal(again.source.encode(text), pair.source.encode(text))
        np.testing.assert_array_equal(again.target.encode(text), pair.target.encode(text))


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_shared_tokenizer_is_one_object_for_both_sides(name, files):
    pair = TokenizerPair.fit(config_of(name, files, True), iter(SOURCES), iter(TARGETS))
    assert pair.source is pair.target
    assert pair.size == pair.source.size == len(pair.byte_lengths)
    if name != "file":  # a file has the characters of its own texts
        assert [pair.source.decode(pair.source.encode(text)) for text in (*SOURCES, *TARGETS)] == SOURCES + TARGETS


@pytest.mark.parametrize("name", TOKENIZERS)
def test_separate_sides_share_only_special_ids_and_fill_one_vocabulary(name, files):
    pair = TokenizerPair.fit(config_of(name, files, False), iter(SOURCES), iter(TARGETS))
    first = len(pair.source.special)
    source = np.concatenate([pair.source.encode(text) for text in SOURCES])
    target = np.concatenate([pair.target.encode(text) for text in TARGETS])
    assert target.dtype == np.int32
    assert first <= source.min() <= source.max() < pair.source.size <= target.min() <= target.max() < pair.size
    assert pair.size == pair.source.size + pair.target.tokenizer.size - first
    assert (pair.source.end, pair.target.end) == (2, 2)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_separate_target_is_read_as_its_own_tokenizer_reads_it(name, files):
    target = TokenizerPair.fit(config_of(name, files, False), SOURCES, TARGETS).target
    for text, row in zip(TARGETS, target.encode_all(TARGETS), strict=True):
        ids = target.encode(text)
        np.testing.assert_array_equal(row, ids)
        assert target.decode([target.begin, *ids, target.end]) == text
        assert target.tokens([*ids, target.end]) == [*target.tokenizer.tokens(target.tokenizer.encode(text)), "<end>"]
    np.testing.assert_array_equal(target.lengths(TARGETS), [len(target.encode(text)) for text in TARGETS])


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("shared", [True, False])
def test_byte_lengths_hold_for_both_sides(name, files, shared):
    pair = TokenizerPair.fit(config_of(name, files, shared), SOURCES, TARGETS)
    assert pair.byte_lengths.shape == (pair.size,)
    assert not pair.byte_lengths[: len(pair.source.special)].any()
    assert pair.byte_lengths[len(pair.source.special) :].all()
    for side, texts in ((pair.source, SOURCES), (pair.target, TARGETS)):
        for text in texts:
            space = name == "words" and text != ""  # counts one before the first word too
            assert pair.byte_lengths[side.encode(text)].sum() == len(text.encode()) + space


def test_an_unseen_character_is_unknown_on_both_sides_and_a_source_id_is_no_target_text():
    pair = TokenizerPair.of(Characters("ab"), Characters("cd"))
    assert pair.source.encode("ac").tolist() == [6, 5]
    assert pair.target.encode("acd").tolist() == [5, 8, 9]
    assert pair.target.decode([6, 8, 7, 9, 10]) == "\ufffdc\ufffdd\ufffd"
    assert pair.target.tokens([6, 8, 2]) == ["<id 6>", "c", "<end>"]


def test_the_tokenizer_of_an_earlier_run_is_a_shared_one():
    pair = TokenizerPair.from_json('{"name": "characters", "alphabet": "ab"}')
    assert pair.source is pair.target
    assert pair.source == Characters("ab")


@pytest.mark.parametrize(
    "text", ["", '{"name": "chara', "[]", "3", '{"source": {}, "target": {}}', '{"source": {"name": "bytes"}}']
)
def test_cut_or_foreign_json_is_a_user_error(text):
    with pytest.raises(UserError, match="the description of a tokenizer cannot be read"):
        TokenizerPair.from_json(text)


def test_separate_tokenizers_need_targets():
    with pytest.raises(UserError, match=r"tokenizer\.shared is false, but there are no targets"):
        TokenizerPair.fit(TokenizerConfig(shared=False), ["a"])
    assert TokenizerPair.fit(TokenizerConfig(), ["a"]).size == 7


def test_the_json_of_two_sides_names_both():
    values = json.loads(TokenizerPair.of(Characters("ab"), Characters("cd")).to_json())
    assert values == {
        "source": {"name": "characters", "alphabet": "ab"},
        "target": {"name": "characters", "alphabet": "cd"},
    }
