"""Claims about tokenizers of files of others."""

import json

import pytest
import tokenizers as library

from experiments.data.tokenizers import table
from experiments.data.tokenizers.file import TokenizerFile
from experiments.data.tokenizers.table import TokenizerConfig
from tests.fixtures.texts import CORPUS, tokenizer_json, word_piece
from transformer.errors import UserError


def test_a_file_keeps_its_ids_moved_up_by_six_and_adds_nothing(tmp_path):
    values = json.loads(tokenizer_json(CORPUS))
    # What a published file may ask for: begin and end around a text, a cut, padding.
    values["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}},
    }
    made = library.Tokenizer.from_str(json.dumps(values))
    made.enable_truncation(3)
    made.enable_padding(length=50)
    path = tmp_path / "tokenizer.json"
    path.write_text(made.to_str(), encoding="utf-8")
    tokenizer = table.fit(TokenizerConfig(name="file", path=str(path)), [])
    path.unlink()
    made.no_truncation()
    made.no_padding()
    assert tokenizer.size == made.get_vocab_size() + 6
    for text in CORPUS:
        expected = [i + 6 for i in made.encode(text, add_special_tokens=False).ids]
        assert tokenizer.encode(text).tolist() == expected
        assert table.from_json(tokenizer.to_json()).encode(text).tolist() == expected
    assert tokenizer.tokens(tokenizer.encode("<|endoftext|>")) == ["<|endoftext|>"]


def test_a_file_that_is_not_byte_level_counts_bytes_with_the_space_before_a_word():
    tokenizer = TokenizerFile(word_piece())
    assert tokenizer.tokens(tokenizer.encode("the cats Ω")) == ["the", "cat", "##s", "[UNK]"]
    assert tokenizer.decode(tokenizer.encode("the  cats")) == "the cats"
    named = dict(zip(tokenizer.tokens(range(6, tokenizer.size)), tokenizer.byte_lengths[6:], strict=True))
    assert named == {"[UNK]": 6, "the": 4, "cat": 4, "##s": 1, "日": 4, "dog": 4}


def test_a_text_that_a_file_has_no_token_for_is_a_user_error():
    made = library.Tokenizer(library.models.WordLevel({"a": 0}, unk_token="[UNK]"))
    with pytest.raises(UserError, match=r"the tokenizer cannot encode a text: .*UNK"):
        TokenizerFile(made.to_str()).encode("b")


def test_files_that_are_no_tokenizer_are_named_in_one_line(tmp_path):
    (tmp_path / "tokenizer.json").write_text(tokenizer_json(CORPUS), encoding="utf-8")
    wrong = {
        "cut.json": (b'{"model": ', "not a tokenizer.json: the file cannot be read: it is not JSON"),
        "empty.json": (b"", "not a tokenizer.json: the file cannot be read: it is empty"),
        "other.json": (b'{"name": "characters", "alphabet": "ab"}', "not a tokenizer.json: .* it has no 'model'"),
        "list.json": (b"[1]", "not a tokenizer.json: .* it is a list, expected an object"),
        "model.json": (b'{"model": {"type": "BPE"}}', "not a tokenizer.json: "),
        "binary.json": (b"\xff\x00", "not UTF-8: byte 0xff at byte 0"),
    }
    for name, (content, message) in wrong.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=message) as caught:
            table.fit(TokenizerConfig(name="file", path=str(tmp_path / name)), [])
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"no such file\. Did you mean .*/tokenizer\.json\?"):
        table.fit(TokenizerConfig(name="file", path=str(tmp_path / "tokeniser.json")), [])
    with pytest.raises(UserError, match="a folder; expected a file"):
        table.fit(TokenizerConfig(name="file", path=str(tmp_path)), [])
    with pytest.raises(UserError, match=r"no such file$"):
        table.fit(TokenizerConfig(name="file", path=str(tmp_path / "none" / "x")), [])
