"""Files that are not as they should be: one clear line with the file's name and the place."""

import gzip
import lzma
from pathlib import Path

import pytest

from experiments.data.examples import LABELS, PAIRS, TEXT
from experiments.data.splitting import TAIL
from tests.fixtures.own_files import ROWS, jsonl, read, written
from transformer.errors import UserError

SIX = "A\tone\nB\ttwo\nA\tthree\nB\tfour\nA\tfive\nB\tsix\n"
CUT = gzip.compress(SIX.encode() * 99)[:-20]
BROKEN = b"\x1f\x8b\x08" + b"\x00" * 7 + b"\xff" * 40
MISTAKES = {
    # kind, {file: content}, settings with paths below the folder, parts of the error
    "missing": (TEXT, {"input.txt": "x"}, {"path": "inptu.txt"}, ["inptu.txt", "does not exist", "input.txt'?"]),
    "missing folder": (TEXT, {"one/a": "x"}, {"path": "oen/two/a"}, ["oen/two/a", "no 'oen' in", "one'?"]),
    "below a file": (TEXT, {"a": "x"}, {"path": "a/b"}, ["a/b", "does not exist"]),
    "folder of labels": (LABELS, {"d/a.tsv": SIX}, {"path": "d"}, ["data.path is a folder", "/d;"]),
    "folder of lines": (PAIRS, {"d/a": "x", "b": "x"}, {"source_path": "d", "target_path": "b"}, ["is a folder"]),
    "empty folder": (TEXT, {"d/.hidden": "x"}, {"path": "d"}, ["/d;", "has no files"]),
    "folder of nothing": (TEXT, {"d/a": ""}, {"path": "d"}, ["/d;", "only empty files"]),
    "binary in a folder": (TEXT, {"d/a": "x", "d/e/b": b"\0\1"}, {"path": "d"}, ["d/e/b is a binary file", "offset 0"]),
    "empty": (TEXT, {"a.txt": ""}, {"path": "a.txt"}, ["a.txt is empty"]),
    "empty .gz": (TEXT, {"a.gz": gzip.compress(b"")}, {"path": "a.gz"}, ["a.gz is empty"]),
    "only blank lines": (LABELS, {"a.tsv": "\n \n"}, {"path": "a.tsv"}, ["a.tsv has no examples"]),
    "a device": (TEXT, {}, {"path": "/dev/null"}, ["/dev/null", "not a regular file"]),
    "unreadable": (TEXT, {}, {"path": "/proc/self/mem"}, ["/proc/self/mem cannot be read: Input/output error"]),
    "undecodable": (
        LABELS,
        {"a.tsv": SIX.encode() + "C\tété\n".encode("latin1")},
        {"path": "a.tsv"},
        ["a.tsv, line 7: not UTF-8", "byte 0xe9 at byte offset 42", "iconv"],
    ),
    "undecodable .gz": (
        TEXT,
        {"a.gz": gzip.compress(b"a\nb\xff")},
        {"path": "a.gz"},
        ["a.gz, line 2", "0xff", "offset 3"],
    ),
    "binary": (TEXT, {"a.txt": b"abc\n\0"}, {"path": "a.txt"}, ["a.txt is a binary file", "byte offset 4"]),
    "gzip": (TEXT, {"a.txt": gzip.compress(b"abc")}, {"path": "a.txt"}, ["a.txt", "gzip", ".gz"]),
    "zip": (TEXT, {"a.txt": b"PK\x03\x04\x14\0"}, {"path": "a.txt"}, ["a.txt is a binary file", "a zip archive"]),
    "parquet": (LABELS, {"a.tsv": b"PAR1\x15\0"}, {"path": "a.tsv"}, ["a.tsv is a binary file", "a Parquet table"]),
    "xz": (TEXT, {"a.txt": lzma.compress(b"abc")}, {"path": "a.txt"}, ["a.txt", "xz"]),
    "UTF-16": (
        TEXT,
        {"a.txt": "abc".encode("utf-16")},
        {"path": "a.txt"},
        ["a.txt is a binary file", "UTF-16", "iconv -f utf-16"],
    ),
    "UTF-16 without a mark": (LABELS, {"a.tsv": SIX.encode("utf-16-be")}, {"path": "a.tsv"}, ["iconv -f utf-16"]),
    "UTF-16 without a NUL": (TEXT, {"a": "\u4e2d\u6587\u5b57".encode("utf-16")}, {"path": "a"}, ["iconv -f utf-16"]),
    "UTF-32": (TEXT, {"a.txt": "abc".encode("utf-32")}, {"path": "a.txt"}, ["UTF-32", "iconv -f utf-32"]),
    "bzip2 without a NUL": (TEXT, {"a": b"BZh91AY\xff"}, {"path": "a"}, ["a, line 1: not UTF-8", "bzip2"]),
    "cut .gz": (LABELS, {"a.tsv.gz": CUT}, {"path": "a.tsv.gz"}, ["a.tsv.gz is cut short"]),
    "broken .gz": (TEXT, {"a.gz": BROKEN}, {"path": "a.gz"}, ["a.gz is not gzip data, or broken"]),
    "no .gz": (TEXT, {"a.gz": "abc"}, {"path": "a.gz"}, ["a.gz is not gzip data", "without .gz"]),
    "not aligned": (
        PAIRS,
        {"a.en": "1\n" * 1_003, "a.de": "1\n" * 1_002},
        {"source_path": "a.en", "target_path": "a.de"},
        ["a.en and", "a.de are not aligned", "1,003 and 1,002 lines"],
    ),
    "blank target": (
        PAIRS,
        {"a.en": "1\n\n3\n", "a.de": "1\n\n \n"},
        {"source_path": "a.en", "target_path": "a.de"},
        ["a.de, line 3: blank", "'3' in"],
    ),
    "blank source": (
        PAIRS,
        {"a.en": "1\r\n\r\n3\r\n", "a.de": "1\n2\n3\n"},
        {"source_path": "a.en", "target_path": "a.de"},
        ["a.en, line 2: blank", "'2' in"],
    ),
    "no tab": (
        LABELS,
        {"a.tsv": f"{SIX}C who? {'x' * 99}\n"},
        {"path": "a.tsv"},
        ["a.tsv, line 7: no tab", "'C who? xx"],
    ),
    "no tab in a pair": (
        PAIRS,
        {"a.tsv": SIX + "C\n"},
        {"path": "a.tsv"},
        ["a.tsv, line 7: no tab", "source<TAB>target"],
    ),
    "blank line within": (LABELS, {"a.tsv": "A\tx\n\nB\ty\n"}, {"path": "a.tsv"}, ["a.tsv, line 2: no tab", "''"]),
    "blank label": (LABELS, {"a.tsv": SIX + " \tx\n"}, {"path": "a.tsv"}, ["a.tsv, line 7: the label is blank"]),
    "blank text": (LABELS, {"a.tsv": SIX + "A\t\n"}, {"path": "a.tsv"}, ["a.tsv, line 7: the text is blank"]),
    "blank side": (PAIRS, {"a.tsv": SIX + "A\t \n"}, {"path": "a.tsv"}, ["a.tsv, line 7: the target is blank"]),
    "three columns": (
        PAIRS,
        {"a.tsv": SIX + "A\tb\tc\n"},
        {"path": "a.tsv"},
        ["a.tsv, line 7", "'A\\tb\\tc' with 2 tabs"],
    ),
    "not JSON": (
        TEXT,
        {"a.jsonl": jsonl(ROWS) + "{'a'\n"},
        {"path": "a.jsonl"},
        ["a.jsonl, line 24: not JSON", "at character 2", "\"{'a'\""],
    ),
    "not an object": (TEXT, {"a.json": "[\n"}, {"path": "a.json"}, ["a.json, line 1: not JSON"]),
    "a list": (
        TEXT,
        {"a.jsonl": '{"text": "x"}\n["x"]\n'},
        {"path": "a.jsonl"},
        ["a.jsonl, line 2: not a JSON object"],
    ),
    "deep JSON": (TEXT, {"a.jsonl": "[" * 99_999}, {"path": "a.jsonl"}, ["a.jsonl, line 1: not JSON"]),
    "no field": (
        LABELS,
        {"a.jsonl": '{"text": "x", "label": "y"}\n{"text": "x", "labels": "y"}\n'},
        {"path": "a.jsonl"},
        ["a.jsonl, line 2: no field 'label'", "'text', 'labels'", "data.files.label_field=labels?"],
    ),
    "no fields": (TEXT, {"a.jsonl": "{}"}, {"path": "a.jsonl"}, ["a.jsonl, line 1: no field 'text'", "no fields"]),
    "type of a text": (TEXT, {"a.jsonl": '{"text": 3}'}, {"path": "a.jsonl"}, ["a.jsonl, line 1", "wrong type", "'3'"]),
    "type of a label": (
        LABELS,
        {"a.jsonl": '{"text": "x", "label": null}'},
        {"path": "a.jsonl"},
        ["a.jsonl, line 1", "'label'", "'null'", "whole number"],
    ),
    "half a pair": (TEXT, {"a.jsonl": '{"text": "\\ud800"}'}, {"path": "a.jsonl"}, ["a.jsonl, line 1", "surrogate"]),
    "blank in JSONL": (
        PAIRS,
        {"a.jsonl": '{"source": "x", "target": ""}'},
        {"path": "a.jsonl"},
        ["a.jsonl, line 1: the target is blank"],
    ),
    "in a validation file": (
        LABELS,
        {"a.tsv": SIX, "v.tsv": SIX + "x\n"},
        {"path": "a.tsv", "validation_path": ("v.tsv",)},
        ["v.tsv, line 7: no tab"],
    ),
    "one validation file of two": (
        PAIRS,
        {"a": "x\n", "b": "x\n"},
        {"source_path": "a", "target_path": "b", "validation_path": ("a",)},
        ["a does not show its format", "data.files.format", "two aligned files"],
    ),
    "two test files of one": (
        LABELS,
        {"a.tsv": SIX},
        {"path": "a.tsv", "test_path": ("a.tsv", "a.tsv")},
        ["data.test_path names 2 files", "expected one"],
    ),
    "format unknown": (PAIRS, {"a.csv": SIX}, {"path": "a.csv"}, ["a.csv", ".tsv, .jsonl", "format to tsv or jsonl"]),
    "format of another kind": (
        TEXT,
        {"a.tsv": SIX},
        {"path": "a.tsv", "files": {"format": "tsv"}},
        ["'tsv' holds pairs", "texts", "'text', 'jsonl'"],
    ),
    "aligned, but one file": (
        PAIRS,
        {"a.tsv": SIX},
        {"path": "a.tsv", "files": {"format": "aligned"}},
        ["data.path: 1 given for the format 'aligned'", "two files"],
    ),
    "nothing": (PAIRS, {}, {}, ["nothing to read", "data.source_path and data.target_path"]),
    "source alone": (PAIRS, {"a": "x"}, {"source_path": "a"}, ["data.source_path is given without data.target_path"]),
    "target alone": (PAIRS, {"a": "x"}, {"target_path": "a"}, ["data.target_path is given without data.source_path"]),
    "both": (PAIRS, {"a": "x"}, {"path": "a", "source_path": "a"}, ["data.path and data.source_path are both given"]),
    "sides of a text": (TEXT, {"a": "x"}, {"source_path": "a"}, ["data.source_path is not read", "data.path"]),
    "no training": (
        LABELS,
        {"a.tsv": SIX},
        {"path": "a.tsv", "files": {"validation_share": 0.5, "test_share": 0.5}},
        [
            "a split left empty: training",
            "0 for training, 3 for validation, 3 for test, of 6 examples",
            "data.files.validation_share=0.5 and data.files.test_share=0.5",
        ],
    ),
    "no validation": (
        LABELS,
        {"a.tsv": SIX},
        {"path": "a.tsv", "files": {"validation_share": 0.0}},
        ["a split left empty", "nothing for validation", "data.files.validation_share above 0"],
    ),
    "no test in the tail": (
        LABELS,
        {"a.tsv": SIX},
        {"path": "a.tsv", "files": {"split": TAIL}},
        ["a split left empty: test", "5 for training, 1 for validation, 0 for test"],
    ),
    "one line": (TEXT, {"a.txt": "x" * 999}, {"path": "a.txt"}, ["a split left empty", "data.files.split=tail"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_its_file_and_place(mistake, tmp_path):
    kind, contents, settings, expected = MISTAKES[mistake]
    for name, content in contents.items():
        written(tmp_path / name, content)
    settings = {
        name: value
        if name == "files"
        else tuple(str(tmp_path / path) for path in value)
        if isinstance(value, tuple)
        else str(tmp_path / value)
        for name, value in settings.items()
    }
    with pytest.raises(UserError) as error:
        read(kind, **settings)
    for part in expected:
        assert part in str(error.value), str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_file_without_permission_is_named(tmp_path, monkeypatch):
    """By a reader that raises, since permissions do not bind root."""
    path = written(tmp_path / "a.txt", "x")

    def refused(self, _):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(UserError, match=r"a\.txt cannot be read: Permission denied"):
        read(TEXT, path=path)
