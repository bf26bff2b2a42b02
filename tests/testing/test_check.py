"""The check of a row: what it reports of rows that hold, fail and are exempt, and that it finds a leak."""

import dataclasses

import pytest

import experiments.testing
from experiments import check as command
from tests.fixtures.commands import outcome
from transformer import testing
from transformer.errors import UserError
from transformer.ops.scores import Score, dot
from transformer.tables import TABLES
from transformer.testing import Axis, InapplicableError, axes, check


class Numbers:
    """Examples whose size is a number."""

    sizes = (1, 2, 3)

    def make(self, row, settings, size):
        return size


def toy(monkeypatch, **properties):
    for table in (axes.AXES, experiments.testing.AXES):
        monkeypatch.setitem(table, "score", Axis(Numbers(), tuple(properties.items())))


def test_a_report_names_what_holds_what_fails_on_the_smallest_example_and_what_is_exempt(monkeypatch):
    def fails(size):
        return None if size == 1 else f"wrong by {size}"

    def raises(size):
        raise ValueError("no such number")

    toy(monkeypatch, fine=lambda size: None, wrong=fails, broken=raises, left=raises)
    report = check("score", dataclasses.replace(TABLES["score"]["dot"], exempt={"left": "it reads lengths"}))
    assert not report.passed
    by_name = {result.property: result for result in report.results}
    assert {name: result.result for name, result in by_name.items()} == {
        "fine": "holds",
        "wrong": "FAILS",
        "broken": "FAILS",
        "left": "exempt",
    }
    assert by_name["wrong"].detail == "wrong by 2; smallest example found: 2"
    assert by_name["broken"].detail.startswith("ValueError: no such number (")
    assert by_name["left"].detail == "it reads lengths"
    assert "wrong   FAILS   wrong by 2" in str(report)


def test_a_property_that_does_not_apply_is_reported_with_its_reason(monkeypatch):
    def inapplicable(size):
        raise InapplicableError("nothing is there")

    def small(size):
        if size == 1:
            raise InapplicableError("too small")
        return "wrong"

    toy(monkeypatch, left=inapplicable, wrong=small)
    left, wrong = check("score", "dot").results
    assert (left.result, left.detail) == ("exempt", "nothing is there")
    assert wrong.detail == "wrong; smallest example found: 2"


def test_mistakes_are_errors(monkeypatch):
    toy(monkeypatch, fine=lambda size: None)
    with pytest.raises(UserError, match=r"unknown axis with properties to check; got 'scor'.*Did you mean 'score'"):
        check("scor", "dot")
    with pytest.raises(UserError, match="exempt from an unknown property; got 'fien'; expected fine"):
        check("score", Score(dot, exempt={"fien": ""}))


def test_the_command_ends_with_one_where_a_property_fails(monkeypatch, capsys):
    toy(monkeypatch, fine=lambda size: None)
    assert outcome(command.main, ["additive"], capsys)[0] == 0
    toy(monkeypatch, wrong=lambda size: "wrong")
    code, output, _ = outcome(command.main, ["additive"], capsys)
    assert code == 1
    assert "score additive\n  wrong  FAILS" in output


def test_every_axis_of_a_model_has_its_table():
    assert set(testing.AXES) <= set(TABLES)
