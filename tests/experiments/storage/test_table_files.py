"""Tables as files: numbers come back equal, each format has its form, and a wrong name is an error before the work."""

import csv
import io
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.storage.table_files import FORMATS, Sheet, TableFile
from transformer.errors import UserError

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), st.text()
)
ROWS = st.lists(st.fixed_dictionaries({"a": VALUES}, optional={"b,|&": VALUES}), min_size=1, max_size=4)
SHEET = Sheet(
    [
        {"metric": "loss_50%", "value": 0.1 + 0.2, "count": 3, "note": None},
        {"metric": "a|b", "value": 1e-300, "count": None, "note": "x\ny"},
    ],
    {"value": "nats"},
    {"command": "python -m experiments.evaluate", "versions": {"jax": "1"}},
)


@given(ROWS)
def test_csv_and_json_give_every_value_back(rows):
    sheet = Sheet(rows)
    read = json.loads(FORMATS[".json"](sheet))["data"]
    expected = [{name: row.get(name) for name in sheet.columns} for row in rows]
    assert expected == read
    head, *lines = csv.reader(io.StringIO(FORMATS[".csv"](sheet), newline=""))
    assert head == sheet.columns
    for row, line in zip(expected, lines, strict=True):
        for value, text in zip(row.values(), line, strict=True):
            assert (
                text == ("" if value is None else str(value)) if not isinstance(value, float) else float(text) == value
            )


def test_the_schema_names_types_and_units():
    whole = json.loads(FORMATS[".json"](SHEET))
    assert whole["schema"]["fields"] == [
        {"name": "metric", "type": "string"},
        {"name": "value", "type": "number", "unit": "nats"},
        {"name": "count", "type": "number"},  # one is missing, which no integer of other programs can be
        {"name": "note", "type": "string"},
    ]
    assert whole["about"]["versions"] == {"jax": "1"}


def test_markdown_is_a_table_with_bars_escaped():
    lines = FORMATS[".md"](SHEET).splitlines()
    assert lines == [
        "| metric | value (nats) | count | note |",
        "| --- | ---: | ---: | --- |",
        "| loss_50% | 0.30000000000000004 | 3 |  |",
        r"| a\|b | 1e-300 |  | x<br>y |",
    ]


def test_latex_has_booktabs_and_numbers_in_full():
    text = FORMATS[".tex"](SHEET)
    assert r"\begin{tabular}{lSrl}" in text
    assert r"loss\_50\% & 0.30000000000000004 & 3 &  \\" in text
    assert text.index(r"\toprule") < text.index(r"\midrule") < text.index(r"\bottomrule")
    assert "% command: python -m experiments.evaluate" in text


def test_numbers_that_are_not_finite_have_a_form():
    sheet = Sheet([{"x": math.nan}, {"x": math.inf}, {"x": 1.0}])
    assert [row["x"] for row in json.loads(FORMATS[".json"](sheet))["data"]] == [None, None, 1.0]
    assert FORMATS[".csv"](sheet) == "x\nnan\ninf\n1.0\n"


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("a.xlsx", r"unknown ending of --output; got .\.xlsx.; expected one of \.csv, \.json"),
        ("a", "unknown ending of --output; got .none."),
        ("nowhere/a.csv", "--output is in no folder that is there"),
        ("folder.csv", "--output is a folder"),
    ],
)
def test_a_wrong_name_is_an_error_before_the_work(tmp_path, name, what):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UserError, match=what):
        TableFile(str(tmp_path / name))
    assert [path.name for path in tmp_path.iterdir()] == ["folder.csv"]


def test_without_a_name_nothing_is_written(tmp_path):
    TableFile(None).write(SHEET)
    file = TableFile(str(tmp_path / "a.CSV"))
    file.write(SHEET)
    assert (bool(TableFile(None)), bool(file), len(list(tmp_path.iterdir()))) == (False, True, 1)
