"""The rows of a comparison for other programs hold the numbers of the tables that are printed."""

import json

import pytest

from experiments.compare import main
from tests.fixtures.commands import outcome
from tests.fixtures.compared_runs import write

pytestmark = pytest.mark.usefixtures("quick_and_here")
OURS, OTHERS = (0.5, 0.52, 0.48, 0.51), (0.6, 0.63, 0.57, 0.62)


def rows_of(capsys, *words: str) -> list[dict]:
    code, out, error = outcome(main, [*words, "--output=table.json"], capsys)
    assert code == 0, error
    assert out.endswith("table: table.json\n")
    with open("table.json", encoding="utf-8") as file:
        return json.load(file)["data"]


def sides() -> tuple[list[str], list[str]]:
    ours = [write(f"a{i}", scores={"loss": x}, seed=i, model__norm="rms") for i, x in enumerate(OURS)]
    others = [write(f"b{i}", scores={"loss": x}, seed=i, model__norm="layer") for i, x in enumerate(OTHERS)]
    return ours, others


def test_runs_means_and_differences_are_rows_of_one_table(capsys):
    ours, others = sides()
    rows = rows_of(capsys, *ours, *others)
    runs = [row for row in rows if row["kind"] == "run"]
    assert [(row["name"], row["value"], row["seed"]) for row in runs[:2]] == [("a0", 0.5, 0), ("a1", 0.52, 1)]
    assert {row["config.model.norm"] for row in runs[:4]} == {"rms"}
    means = [row for row in rows if row["kind"] == "mean"]
    assert [row["value"] for row in means] == [pytest.approx(sum(x) / 4) for x in (OURS, OTHERS)]
    (difference,) = [row for row in rows if row["kind"] == "difference"]
    assert difference["value"] == pytest.approx(sum(OTHERS) / 4 - sum(OURS) / 4)
    assert difference["low"] < difference["value"] < difference["high"]
    assert {row["unit"] for row in rows} == {"nats per token"}


def test_a_decision_is_one_row(capsys):
    ours, others = sides()
    (row,) = rows_of(capsys, *ours, "--against", *others, "--metric=loss", "--margin=0.02")
    assert (row["word"], row["seeds"], row["claim"], row["margin"]) == ("holds", 4, "better", 0.02)
    assert row["advantage"] == pytest.approx(sum(OTHERS) / 4 - sum(OURS) / 4)
    assert 0.0 < row["low"] < row["advantage"] < row["high"]
    assert (row["A.config.model.norm"], row["B.config.model.norm"]) == ("rms", "layer")


def test_a_table_in_an_unknown_format_is_an_error_before_runs_are_read(capsys):
    code, out, error = outcome(main, ["nowhere", "--output=a.xls"], capsys)
    assert (code, out) == (2, "")
    assert error.startswith("error: unknown ending of --output")
