"""Python's standard library as text: what is left out, how it is split, and the notes on it."""

import platform
import re
from pathlib import Path

import pytest

from experiments.data.config import DataConfig
from experiments.data.examples import TEXT
from experiments.data.sources import source_code as module
from experiments.data.sources.source_code import FEWEST_CHARACTERS, python_files, split_library
from experiments.data.sources.table import load
from transformer.errors import UserError

LONG = "x = 1  # a comment\n" * 30


@pytest.fixture(scope="module")
def library():
    return load(DataConfig(source="source_code"), 3, TEXT)


@pytest.fixture
def folder(tmp_path):
    """A small library of ten files that are used, and some of each kind that is not."""
    names = ["b.py", "a.py", "json/decoder.py", *(f"more/m{i}.py" for i in range(7))]
    unused = ["test/t.py", "json/tests/t.py", "site-packages/p.py", "__pycache__/c.py", "config-3.11-x86/c.py"]
    for name in (*names, *unused, "idlelib/i.py", "_sysconfigdata__linux.py", "data.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"# {name}\n{LONG}")
    (tmp_path / "short.py").write_text("x" * (FEWEST_CHARACTERS - 1))
    (tmp_path / "latin.py").write_bytes(b"# -*- coding: latin-1 -*-\n" + LONG.encode() + b"\xe9\n")
    (tmp_path / "link.py").symlink_to(tmp_path / "b.py")
    return tmp_path


def documents(splits):
    return splits.train + splits.validation + splits.test


def characters(part):
    return sum(len(document.text) for document in part)


def test_the_library_is_large_and_2_to_3_percent_are_held_out_twice(library):
    total = characters(documents(library))
    assert total > 5_000_000
    assert 0.02 < characters(library.validation) / total < 0.03
    assert 0.02 < characters(library.test) / total < 0.03


def test_no_test_tool_or_package_is_read_and_every_file_once(library):
    names = [document.name for document in documents(library)]
    assert len(names) == len(set(names))
    assert {"argparse.py", "json/decoder.py", "asyncio/base_events.py"} <= set(names)
    parts = {part for name in names for part in Path(name).parts}
    assert not parts & {"test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages", "__pycache__"}
    assert not [name for name in names if "_sysconfigdata" in name]


def test_the_note_gives_version_files_characters_and_fingerprint(library):
    files, total = documents(library), characters(documents(library))
    assert re.fullmatch(r"[0-9a-f]{64}", library.fingerprint)
    for part in (platform.python_version(), f"{len(files):,} files", f"{total:,} characters", library.fingerprint[:12]):
        assert part in library.notes[0]


def test_the_split_is_a_function_of_the_seed_and_the_fingerprint_of_the_text_alone(library):
    again, other = (load(DataConfig(source="source_code"), seed, TEXT) for seed in (3, 4))
    assert again == library
    assert other.validation != library.validation
    assert other.fingerprint == library.fingerprint
    assert {document.name for document in documents(other)} == {document.name for document in documents(library)}


def test_only_the_librarys_own_code_is_read_in_order(folder, monkeypatch):
    monkeypatch.setattr(module, "HELD_OUT", 0.15)
    splits = split_library(folder, 0)
    expected = ["a.py", "b.py", "json/decoder.py", *(f"more/m{i}.py" for i in range(7))]
    assert sorted(document.name for document in documents(splits)) == expected
    assert [name for name in python_files(folder) if name not in {"short.py", "latin.py"}] == expected
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [8, 1, 1]
    assert [document.name for document in splits.train] == sorted(document.name for document in splits.train)


def test_one_changed_character_changes_the_fingerprint(folder):
    before = split_library(folder, 0).fingerprint
    (folder / "a.py").write_text((folder / "a.py").read_text() + "#")
    assert split_library(folder, 0).fingerprint != before


def test_a_file_that_goes_away_is_left_out_and_noted(folder, monkeypatch):
    names = python_files(folder)
    monkeypatch.setattr(module, "python_files", lambda _: [*names, "gone.py"])
    splits = split_library(folder, 0)
    assert len(documents(splits)) == 10
    assert splits.notes[1] == "1 of its files could not be read and are left out: gone.py"


def test_an_interpreter_without_source_code_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no source code of its standard library"):
        split_library(tmp_path, 0)
