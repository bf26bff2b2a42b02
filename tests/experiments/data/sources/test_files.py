"""The user's own files: what is read from each format, and the files held out."""

import gzip
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.data.examples import LABELS, PAIRS, TEXT, Document, Pair
from experiments.data.sources import reading
from experiments.data.sources.reading import File, decode
from experiments.data.splitting import TAIL
from tests.fixtures.own_files import ROWS, everything, jsonl, read, written

REAL = Path(__file__).parents[4].parent / "shared" / "data"
QUESTIONS = "NUM\tHow far is it ?\nLOC\tWhat county is it ?\nHUM\tWho was\tGalileo ?\n" * 7


def real(name):
    path = REAL / name
    if not path.exists():
        pytest.skip(f"needs {path.parent}, which is not here")
    return str(path)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\N{BYTE ORDER MARK}"])
def test_a_table_gives_the_same_examples_however_it_is_written(compressed, end, mark, tmp_path):
    data = (mark + QUESTIONS.replace("\n", end)).encode()
    path = written(tmp_path / f"q.tsv{'.gz' if compressed else ''}", gzip.compress(data) if compressed else data)
    pairs = everything(read(LABELS, path=path))
    assert len(pairs) == 21
    assert set(pairs) == {
        Pair("How far is it ?", "NUM", "NUM"),
        Pair("What county is it ?", "LOC", "LOC"),
        Pair("Who was\tGalileo ?", "HUM", "HUM"),
    }


@given(
    lines=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0"), min_size=1), min_size=1),
    end=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
)
def test_only_a_line_feed_ends_a_line(lines, end, last):
    lines[0] = lines[0].lstrip("\N{BYTE ORDER MARK}") or "x"
    text = decode((end.join(lines) + end * last).encode(), "file")
    assert File("file", "file", text).lines() == lines


def test_line_ends_of_other_alphabets_belong_to_the_text(tmp_path):
    text = "a\u2028b\x0cc\x85d\re"
    pairs = everything(read(LABELS, path=written(tmp_path / "q.tsv", f"X\t{text}\n" * 5)))
    assert {pair.source for pair in pairs} == {text}


def test_aligned_files_give_a_pair_a_line_without_those_blank_on_both_sides(tmp_path):
    source = written(tmp_path / "a.en", "".join(f"{i}\n\n" for i in range(30)))
    target = written(tmp_path / "a.de.gz", gzip.compress("".join(f"{i}!\n\n" for i in range(30)).encode()))
    splits = read(PAIRS, source_path=source, target_path=target)
    assert sorted(everything(splits), key=lambda p: int(p.source)) == [Pair(f"{i}", f"{i}!") for i in range(30)]
    assert splits.notes[0] == "a.en and a.de.gz: 30 examples; 30 lines blank on both sides left out"


def test_a_table_of_pairs_has_the_source_first(tmp_path):
    path = written(tmp_path / "p.tsv", "one\teins\ntwo\tzwei\nthree\tdrei\n\n \n")
    assert set(everything(read(PAIRS, path=path))) == {Pair("one", "eins"), Pair("two", "zwei"), Pair("three", "drei")}


def test_json_lines_give_every_kind_by_the_names_of_their_fields(tmp_path):
    path = written(tmp_path / "rows.jsonl", jsonl(ROWS))
    assert {d.text for d in everything(read(TEXT, path=path))} == {row["text"] for row in ROWS}
    assert set(everything(read(PAIRS, path=path))) == {Pair(row["source"], row["target"]) for row in ROWS}
    labelled = {Pair(row["text"], str(row["label"]), str(row["label"])) for row in ROWS}
    assert set(everything(read(LABELS, path=path))) == labelled
    swapped = read(PAIRS, path=path, files={"source_field": "target", "target_field": "text"})
    assert set(everything(swapped)) == {Pair(row["target"], row["text"]) for row in ROWS}


def test_a_folder_gives_its_files_by_relative_path_without_hidden_and_empty_ones(tmp_path):
    for name in ("b.txt", "a/z.md", "a.txt", ".hidden", ".git/config"):
        written(tmp_path / name, f"text of {name}")
    written(tmp_path / "c.txt.gz", gzip.compress(b"text of c.txt.gz"))
    written(tmp_path / "empty.txt", "")
    splits = read(TEXT, path=str(tmp_path), files={"split": TAIL, "validation_share": 0.25, "test_share": 0.25})
    names = [document.name for document in everything(splits)]
    assert names == ["a.txt", "a/z.md", "b.txt", "c.txt.gz"]
    assert [document.text for document in everything(splits)] == [f"text of {name}" for name in names]
    assert splits.notes[0] == f"{tmp_path.name}/: 4 documents, 56 characters; 1 empty file left out"


def test_the_fingerprint_is_of_the_content_and_not_of_the_place(tmp_path):
    first = read(LABELS, path=written(tmp_path / "here" / "q.tsv", QUESTIONS)).fingerprint
    assert (
        first
        == read(LABELS, 1, path=written(tmp_path / "there" / "q.tsv", QUESTIONS.replace("\n", "\r\n"))).fingerprint
    )
    assert len(first) == 64
    other = written(tmp_path / "other" / "q.tsv", QUESTIONS.replace("far", "fat"))
    assert read(LABELS, path=other).fingerprint != first
    same = str(tmp_path / "here" / "q.tsv")
    assert read(LABELS, path=same, test_path=(other,)).fingerprint != first


def test_text_is_read_fast():
    data = ("Où est-ce ? A line of text, as long as others are.\r\n" * 400_000).encode()
    start = time.process_time()
    text = decode(data, "file")
    reading.fingerprint([File("file", "file", text)])
    assert time.process_time() - start < 2.0, f"{len(data):,} bytes"


def test_a_tilde_is_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path / "q.tsv", QUESTIONS)
    assert len(everything(read(LABELS, path="~/q.tsv"))) == 21


def test_own_files_stand_for_their_split_and_the_shares_for_the_others(tmp_path):
    path = written(tmp_path / "train.tsv", "".join(f"A\ttext {i}\n" for i in range(40)))
    own = written(tmp_path / "own.tsv", "B\tmine\n")
    only_validation = read(LABELS, path=path, validation_path=(own,), files={"test_share": 0.1})
    assert [len(part) for part in (only_validation.train, only_validation.validation, only_validation.test)] == [
        36,
        1,
        4,
    ]
    only_test = read(LABELS, path=path, test_path=(own,), files={"validation_share": 0.2})
    assert [len(part) for part in (only_test.train, only_test.validation, only_test.test)] == [32, 8, 1]
    both = read(LABELS, path=path, validation_path=(own,), test_path=(own,))
    assert [len(part) for part in (both.train, both.validation, both.test)] == [40, 1, 1]
    assert both.validation == [Pair("mine", "B", "B")]


def test_own_aligned_files_are_given_as_two_paths(tmp_path):
    names = ("a.en", "a.de", "v.en", "v.de")
    a, b, c, d = (written(tmp_path / name, f"{name} 1\n{name} 2\n{name} 3\n") for name in names)
    splits = read(PAIRS, source_path=a, target_path=b, validation_path=(c, d), files={"test_share": 0.0})
    assert splits.validation == [Pair(f"v.en {i}", f"v.de {i}") for i in (1, 2, 3)]
    assert (len(splits.train), splits.test) == (3, [])


def test_held_out_examples_that_are_learned_from_as_well_are_counted(tmp_path):
    path = written(tmp_path / "train.tsv", "".join(f"A\ttext {i}\n" for i in range(40)))
    own = written(tmp_path / "own.tsv", "A\ttext 3\nA\ttext 4\nA\tnew\nB\ttext 3\n")
    notes = read(LABELS, path=path, validation_path=(own,), test_path=(own,)).notes
    assert "2 of the 4 validation examples are among those to learn from, word for word" in notes


@pytest.mark.parametrize(
    ("kind", "header"), [(LABELS, "label\ttext"), (LABELS, " Label \tSentence"), (PAIRS, "source\ttarget")]
)
def test_a_first_line_that_looks_like_a_header_is_named(kind, header, tmp_path):
    path = written(tmp_path / "a.tsv", header + "\n" + "A\tone\nB\ttwo\n" * 9)
    note = read(kind, path=path).notes[0]
    first, second = header.split("\t")
    assert f"; its first line, {first.strip()}<TAB>{second}, looks like a header" in note
    other = written(tmp_path / "b.tsv", "A\ttext\nlabel\ttext of more\n" * 9)
    assert "header" not in "".join(read(kind, path=other).notes)


def test_labels_that_differ_by_spaces_or_case_alone_are_named(tmp_path):
    rows = "ask\tone\nAsk\ttwo\nask \tthree\nsay\tfour\nStraße\tfive\nSTRASSE\tsix\n"
    notes = read(LABELS, path=written(tmp_path / "a.tsv", rows * 9)).notes
    (line,) = [note for note in notes if "differ" in note]
    assert line == (
        "labels that differ by spaces or case alone, each a class of its own: "
        "'Ask' and 'ask' and 'ask ', 'STRASSE' and 'Straße'"
    )
    assert not any("differ" in note for note in read(LABELS, path=written(tmp_path / "q.tsv", QUESTIONS)).notes)


def test_tinyshakespeare_is_cut_where_everyone_cuts_it():
    path = real("tinyshakespeare/input.txt")
    splits = read(TEXT, path=path, files={"validation_share": 0.1, "test_share": 0.0, "split": TAIL})
    text = Path(path).read_text()
    assert splits.train == [Document(text[:1_003_854], "input.txt")]
    assert splits.validation == [Document(text[1_003_854:], "input.txt")]
    assert splits.test == []


def test_trec_has_its_questions_and_six_labels():
    splits = read(LABELS, path=real("trec/train.tsv"), test_path=(real("trec/test.tsv"),))
    assert (len(splits.train) + len(splits.validation), len(splits.test)) == (5_452, 500)
    assert splits.notes[0] == "train.tsv: 5,452 examples, 6 labels"
    assert {pair.target for pair in splits.test} == {"ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"}


def test_multi30k_is_aligned():
    settings = {side: real(f"multi30k/train.{end}.gz") for side, end in (("source_path", "en"), ("target_path", "de"))}
    splits = read(
        PAIRS,
        **settings,
        validation_path=(real("multi30k/val.en.gz"), real("multi30k/val.de.gz")),
        test_path=(real("multi30k/test_2016_flickr.en.gz"), real("multi30k/test_2016_flickr.de.gz")),
    )
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [29_000, 1_014, 1_000]
    assert splits.train[0].source == "two young , white males are outside near many bushes ."
