"""Claims about the texts that a user gives: a flag, a file of lines, or standard input."""

import io

import pytest

from experiments.cli.texts import read_texts
from transformer.errors import UserError


def standard_input(monkeypatch, content: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", newline=""))


def test_the_flags_win_over_standard_input_and_only_a_file_has_several_texts(tmp_path, monkeypatch):
    standard_input(monkeypatch, b"unread\n")
    (tmp_path / "texts.txt").write_bytes("ä b\r\n\nc".encode())
    assert read_texts("a\nb", None) == ["a\nb"]
    assert read_texts(None, str(tmp_path / "texts.txt")) == ["ä b", "", "c"]


def test_each_line_of_standard_input_is_a_text(monkeypatch):
    standard_input(monkeypatch, "ä b\r\n\nc\x0cd\n".encode())
    assert read_texts(None, None) == ["ä b", "", "c\x0cd"]


@pytest.mark.parametrize(
    ("content", "text", "file", "part"),
    [
        (b"a\n", "a", "b", "--input and --file are both given"),
        (b"", None, None, "--input=TEXT"),
        (b"a\n\xe9", None, None, "standard input, line 2: not UTF-8; got byte 0xe9"),
        ("\ufeffab\n".encode("utf-16"), None, None, "text in UTF-16.*iconv -f utf-16"),
        (b"a\n", None, "nowhere.txt", "nowhere.txt"),
    ],
)
def test_what_cannot_be_read_is_an_error(content, text, file, part, monkeypatch):
    standard_input(monkeypatch, content)
    with pytest.raises(UserError, match=part):
        read_texts(text, file)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_standard_input_is_utf_8_whatever_the_terminal_and_a_byte_order_mark_is_no_text(encoding, monkeypatch):
    content = io.BytesIO("\ufeffä b\r\nд\n".encode())
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(content, encoding=encoding, newline=""))
    assert read_texts(None, None) == ["ä b", "д"]
