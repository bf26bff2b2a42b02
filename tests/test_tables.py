"""Claims about tables that are open from outside: rows by name, path and object, and their own settings."""

import dataclasses
import math

import pytest

from tests.fixtures.commands import error_of
from transformer import schema
from transformer.errors import UserError, problem
from transformer.schema import setting
from transformer.tables import Choice, Row, Table, register


@dataclasses.dataclass(frozen=True, eq=False)
class Curve(Row):
    """A row of the table of these tests."""

    function: object = math.sqrt


def _above_zero(row: Curve, what: str) -> None:
    if row.function(1.0) <= 0:
        raise problem(f"{what} is not above 0")


CURVES = Table(
    "curve of the tests",
    Curve,
    {"root": Curve(), "exponential": Curve(math.exp)},
    make=Curve,
    expected="a function of a number",
    check=_above_zero,
)


@dataclasses.dataclass(frozen=True)
class Power:
    """Own settings of a row."""

    exponent: float = 2.0
    whole: int = setting(3, "a whole number", check=schema.at_least(1))


def power(x, settings):
    return x**settings.exponent


POWER = Curve(power, settings=Power)


@dataclasses.dataclass(frozen=True)
class Section:
    """A section that chooses a row."""

    curve: Choice = setting("root", "curve", table=CURVES)
    size: int = setting(1, "size")


@pytest.fixture
def registered():
    """Rows of this test, by name; they are removed after it."""
    before = set(CURVES)
    yield lambda name, row: register("curve of the tests", name, row)
    for name in set(CURVES) - before:
        CURVES.remove(name)


def test_a_row_is_found_by_name_path_and_object(registered):
    registered("mine", math.cosh)
    assert CURVES.find("mine") == CURVES.find("math:cosh") == CURVES.find(math.cosh) == Curve(math.cosh)
    assert str(CURVES.find("math:cosh")) == "math:cosh"
    assert [CURVES.name_of(value, "curve") for value in (math.exp, math.cosh, math.sinh)] == [
        "exponential",
        "mine",
        "math:sinh",
    ]


def test_a_name_that_is_near_none_has_a_line_about_rows_from_outside():
    with pytest.raises(UserError, match=r"one of exponential, root. A row of your own is package.module:attribute, or"):
        CURVES.find("zzz")
    with pytest.raises(UserError, match=r"Did you mean 'root'\?$"):
        CURVES.find("roots")


@pytest.mark.parametrize(
    ("axis", "name", "row", "message"),
    [
        ("curve of the tests", "root", math.exp, "curve of the tests 'root' is there already"),
        ("curve of the tests", "my-row", math.exp, "is no name; got 'my-row'; expected letters, digits and _"),
        ("curve of the tests", "mine", 3, "curve of the tests 'mine' 3 is an int; expected a function of a number"),
        ("curve of the tests", "mine", math.log, "curve of the tests 'mine' is not above 0"),
        ("curve of the test", "mine", math.exp, "Did you mean 'curve of the tests'?"),
    ],
)
def test_a_row_that_cannot_be_registered_is_an_error(axis, name, row, message, registered):
    assert message in error_of(register, axis, name, row)
    assert set(CURVES) == {"root", "exponential"}


def test_the_same_row_may_be_registered_again_and_is_of_the_module_that_did(registered):
    registered("mine", math.cosh)
    registered("mine", Curve(math.cosh))
    assert CURVES.module_of("mine") == __name__
    assert CURVES.module_of("root") is None
    assert CURVES.module_of("math:cosh") == "math"
    CURVES.remove("mine")
    assert "no row from outside" in error_of(CURVES.remove, "mine")
    assert "no row from outside" in error_of(CURVES.remove, "root")


def test_an_object_that_no_name_stands_for_is_an_error_that_names_what_to_do(registered):
    def nameless(x):
        return x + 2

    message = error_of(CURVES.name_of, nameless, "model.curve")
    assert "model.curve is an object that no name stands for" in message
    assert 'Give it a name by register("curve of the tests", NAME, row)' in message
    registered("nameless", nameless)
    assert CURVES.name_of(nameless, "model.curve") == "nameless"


def test_own_settings_come_with_the_row_that_is_chosen():
    config = schema.from_dict(Section, {"curve": POWER, "curve_settings": {"exponent": 3}})
    assert config.curve_settings == Power(exponent=3.0)
    row = CURVES.of(config, "curve")
    assert row.function(2.0, **row.own) == 8.0
    assert not hasattr(schema.from_dict(Section, {}), "curve_settings")
    assert CURVES.of(schema.from_dict(Section, {}), "curve").own == {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"curve": POWER, "curve_settings": {"exponents": 3}}, "Did you mean 'exponent'?"),
        ({"curve": POWER, "curve_settings": {"exponent": "x"}}, "model.curve_settings.exponent has the wrong type"),
        ({"curve": POWER, "curve_settings": {"whole": 0}}, "model.curve_settings.whole is out of range"),
        ({"curve": POWER, "curve_settings": 3}, "model.curve_settings is a section"),
        ({"curve": "root", "curve_settings": {"exponent": 3}}, "unknown setting of model"),
    ],
)
def test_own_settings_are_checked_as_built_in_ones_are(values, message):
    assert message in error_of(schema.from_dict, Section, values, "model")


@dataclasses.dataclass(frozen=True)
class Taken:
    """A section with a setting of the name that a row's own settings have."""

    curve: Choice = setting("root", "curve", table=CURVES)
    curve_settings: int = setting(1, "a number")


def test_own_settings_that_clash_with_a_setting_are_an_error():
    assert schema.from_dict(Taken, {"curve_settings": 2}).curve_settings == 2
    message = error_of(schema.from_dict, Taken, {"curve": POWER}, "model")
    assert "own settings of the row that model.curve names clash with the setting model.curve_settings" in message


def test_settings_of_a_row_are_a_dataclass():
    assert "the settings of a Curve are no dataclass; got {'exponent': 2}" in error_of(Curve, settings={"exponent": 2})
