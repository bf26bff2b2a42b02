"""Claims about sources, file formats and tokenizers of somebody's own."""

import json

import pytest

from experiments import settings
from experiments.data.examples import LABELS, PAIRS, TEXT, Pair
from experiments.data.sources.rows import FORMATS, SOURCES
from experiments.data.sources.table import load
from experiments.data.tokenizers import table
from experiments.data.tokenizers.pair import TokenizerPair
from tests.fixtures import own_data
from tests.fixtures.commands import error_of
from transformer.tables import register

OWN = "tests.fixtures.own_data"


def resolved(*given, task="text_to_text"):
    return settings.resolve(settings.defaults(task=task), given)[0]


def test_a_function_is_a_source():
    by_path = load(resolved(("data.source", f"{OWN}:counting")).data, 0)
    by_object = load(settings.resolve_values(settings.defaults(), {"data.source": own_data.counting})[0].data, 0)
    assert by_path == by_object == own_data.counting(None, 0)
    assert by_path.train[3] == Pair("3", "4")


def test_a_source_of_somebodys_own_is_registered_by_name():
    register("source", "counting", own_data.counting)
    try:
        config = resolved(("data.source", "counting"))
        assert len(load(config.data, 0).train) == 80
        assert settings.to_json_dict(config)["data"]["source"] == "counting"
    finally:
        SOURCES.remove("counting")


def test_an_example_that_is_drawn_depends_on_the_seed_and_its_number_alone():
    def drawn(seed, **values):
        given = [(f"data.{name}", str(value)) for name, value in values.items()]
        return load(resolved(("data.source", f"{OWN}:doubling"), *given).data, seed)

    few, many = drawn(7, examples=5, evaluation_examples=3), drawn(7, examples=9, evaluation_examples=4)
    assert few.train == many.train[:5]
    assert few.test == many.test[:3]
    assert len({tuple(split) for split in (many.train[:3], many.validation[:3], many.test[:3])}) == 3
    assert drawn(8, examples=5, evaluation_examples=3).train != few.train


def test_own_settings_of_a_source_reach_it():
    given = ("data.source", f"{OWN}:parity"), ("data.source_settings.highest", "2"), ("data.examples", "40")
    found = load(resolved(*given, task="classification").data, 0, LABELS)
    assert {(pair.source, pair.target) for pair in found.train} == {("0", "even"), ("1", "odd")}


def test_a_source_reads_the_built_in_settings_that_it_lists_and_no_others():
    assert resolved(("data.source", f"{OWN}:both"), ("data.path", "x")).data.path == "x"
    for given in (("data.path", "x"), ("data.examples", "3")):
        message = error_of(resolved, ("data.source", f"{OWN}:counting"), given)
        assert f"{given[0]} is not read by data.source '{OWN}:counting'" in message
    assert "data.examples is not read" in error_of(resolved, ("data.source", f"{OWN}:both"), ("data.examples", "3"))


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("no_splits", PAIRS, "gave something else; got a list, [Pair("),
        ("texts_alone", PAIRS, "for train, gave no Pair; got example 0: a str, 'a'; expected a list of Pairs"),
        ("counting", TEXT, "for train, gave no Document; got example 0: a Pair"),
        ("both", LABELS, "does not give labels; got a source of text, pairs"),
    ],
)
def test_a_source_that_gives_something_else_is_an_error(name, kind, message):
    config = resolved(("data.source", f"{OWN}:{name}")).data
    assert message in error_of(load, config, 0, kind)


@pytest.mark.parametrize(
    ("setting", "path", "message"),
    [
        ("data.source", "os:system", "data.source 'os:system' takes other arguments"),
        ("data.source", "math:pi", "data.source 'math:pi' is a float; expected a function (config, seed) -> Splits"),
        ("data.source", f"{OWN}:double", "got double(random); expected a function of (config, seed)"),
        ("tokenizer.name", "os:system", "tokenizer.name 'os:system' is no tokenizer"),
        ("tokenizer.name", f"{OWN}:Unfinished", "lacks byte_lengths, decode, encode, fit, from_json, label, size"),
        ("tokenizer.name", f"{OWN}:Forgetful", "encodes 'ab ba ab' differently once it is stored and read"),
        ("tokenizer.name", f"{OWN}:Pieces", "fails on a small example; got TypeError"),
    ],
)
def test_a_row_that_cannot_be_used_is_an_error_before_anything_starts(setting, path, message):
    assert message in error_of(resolved, (setting, path))


@pytest.mark.parametrize("form", ["text", "tsv", "jsonl", "aligned"])
def test_rows_of_the_project_pass_the_check_of_those_from_outside(form):
    FORMATS.check(FORMATS[form], form)
    for name, row in SOURCES.items():
        SOURCES.check(row, name)


def test_files_are_read_by_a_format_of_somebodys_own(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("".join(f"a{i};b{i}\n" for i in range(40)))
    given = ("data.source", "files"), ("data.path", str(path))
    config = resolved(*given, ("data.files.format", f"{OWN}:csv")).data
    assert load(config, 0).fingerprint
    assert "does not show its format" in error_of(load, resolved(*given).data, 0)
    register("file_format", "csv", own_data.csv)
    try:  # now the names of files show it
        found = load(resolved(*given).data, 0)
    finally:
        FORMATS.remove("csv")
    assert Pair("a3", "b3") in [*found.train, *found.validation, *found.test]


def test_a_format_reads_the_names_of_fields_that_it_lists(tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_text("".join(f"b{i}\n" for i in range(40)))
    given = ("data.source", "files"), ("data.path", str(path)), ("data.files.format", f"{OWN}:named")
    found = load(resolved(*given, ("data.files.source_field", "left")).data, 0)
    assert found.train[0].source == "left"
    assert "a note of the format" in found.notes[0]
    assert "data.files.target_field is not read" in error_of(resolved, *given, ("data.files.target_field", "right"))


def test_a_tokenizer_of_somebodys_own_is_stored_and_read_by_the_name_in_the_config():
    config = resolved(("tokenizer.name", f"{OWN}:pieces"), ("tokenizer.name_settings.length", "3")).tokenizer
    pair = TokenizerPair.fit(config, ["abcdef"], ["abcxyz"])
    assert pair.source.pieces == ("abc", "def", "xyz")
    again = TokenizerPair.from_json(pair.to_json(), config.name)
    assert again.source == pair.source
    two = TokenizerPair.fit(
        resolved(("tokenizer.name", f"{OWN}:pieces"), ("tokenizer.shared", "false")).tokenizer, ["ab"], ["xy"]
    )
    assert TokenizerPair.from_json(two.to_json(), config.name) == two


def test_a_stored_tokenizer_names_no_code():
    text = json.dumps({"name": f"{OWN}:pieces", "pieces": ["ab"], "length": 2})
    assert "unknown tokenizer" in error_of(table.from_json, text)
    assert "unknown tokenizer" in error_of(table.from_json, text, "characters")
    message = error_of(table.from_json, '{"name": "bytes"}', f"{OWN}:pieces")
    assert "cannot read its description; got KeyError: 'pieces'" in message


def test_a_tokenizer_reads_the_built_in_settings_that_its_fit_takes():
    assert resolved(("tokenizer.name", f"{OWN}:Sized"), ("tokenizer.vocab_size", "50")).tokenizer.vocab_size == 50
    message = error_of(resolved, ("tokenizer.name", f"{OWN}:pieces"), ("tokenizer.vocab_size", "50"))
    assert f"tokenizer.vocab_size is not read by tokenizer '{OWN}:pieces'" in message
