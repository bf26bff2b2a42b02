"""What a user gives has a limit: a number its range, a text its length; memory is asked for before it is taken."""

import importlib
import math

import pytest
from ml_collections import ConfigDict

from experiments import settings
from experiments.studies.table import STUDIES
from tests.test_imports import COMMANDS
from transformer import schema
from transformer.errors import UserError
from transformer.schema import Setting


def schemas() -> dict[str, type]:
    """The config, the flags of every command, and the settings of every study, by name."""
    modules = [importlib.import_module(f"experiments.{name}") for name in COMMANDS.split()]
    flags = [value for module in modules for name, value in vars(module).items() if name.endswith("Flags")]
    return {kind.__name__: kind for kind in (settings.Config, *flags, *(study.settings for study in STUDIES.values()))}


NUMBERS = {
    f"{owner}: {name}": leaf
    for owner, kind in schemas().items()
    for name, leaf in schema.settings(kind).items()
    if leaf.part_type in (int, float)
}
"""Every setting that is a number, or a list of them."""

BEYOND = [10**400, -(10**400), 2**63, -(2**63)]
NOT_FINITE = [math.nan, math.inf, -math.inf]


def error_of(function, *arguments) -> str:
    """The error of a call, or an empty text where there is none."""
    try:
        function(*arguments)
    except UserError as error:
        return str(error)
    return ""


def refused(leaf: Setting, value) -> bool:
    """True where a value, in a recipe and as the text of a flag, is an error that names the setting and its range."""
    expected = (leaf.check.expected, leaf.expected_type)
    by_flag = error_of(lambda: schema.checked(schema.parse(schema.show(value), leaf), leaf))
    by_recipe = error_of(schema.checked, (value,) if leaf.is_tuple else value, leaf)
    return all(leaf.name in error and any(words in error for words in expected) for error in (by_flag, by_recipe))


def test_commands_and_studies_are_walked_through():
    assert len(NUMBERS) > 130
    owners = {"Config: model.width", "VerifyFlags: verify_steps", "SweepBenchFlags: rounds", "LadderSettings: rates"}
    assert owners <= {*NUMBERS}


def test_every_number_has_a_range_that_help_prints():
    without = [name for name, leaf in NUMBERS.items() if getattr(leaf.check, "bounds", None) is None]
    assert not without
    for name, leaf in NUMBERS.items():
        low, high = leaf.check.bounds
        assert -(2**31) <= low < high <= max(2**32 - 1, 1e12), name
        assert schema.in_words(high) in leaf.check.expected, name
        assert high <= 2**31 - 1 or leaf.part_type is float or name.endswith(("seed", "seeds")), name


def test_what_lies_outside_a_range_is_refused_with_the_range_in_words():
    for name, leaf in NUMBERS.items():
        low, high = leaf.check.bounds
        if leaf.part_type is int:
            outside = [low - 1, high + 1, *BEYOND]
        else:
            outside = [math.nextafter(low, -math.inf), math.nextafter(high, math.inf), *BEYOND, *NOT_FINITE]
        assert not [value for value in outside if not refused(leaf, value)], name


def test_defaults_and_bounds_are_inside_their_ranges():
    for name, leaf in NUMBERS.items():
        if isinstance(leaf.default, int | float | tuple):
            assert schema.checked(leaf.default, leaf) == leaf.default, name
        if not leaf.is_tuple:
            for bound in leaf.check.bounds:
                assert leaf.check(leaf.part_type(bound)) is None, name


def test_lists_are_refused_for_one_part_that_is_outside():
    leaves = {name: leaf for name, leaf in NUMBERS.items() if leaf.listed or leaf.is_tuple}
    assert {"Config: model.window", "Config: model.rotary_base", "LadderSettings: seeds"} <= {*leaves}
    for leaf in leaves.values():
        high = leaf.check.bounds[1]
        for text in ("nan", "inf", f"{2**63}", "1e300"):
            with pytest.raises(UserError, match=leaf.name):
                schema.checked(schema.parse(f"{high},{text}", leaf), leaf)
        with pytest.raises(UserError, match=leaf.name):
            schema.checked((leaf.part_type(high), 10**5000), leaf)


def test_a_number_of_more_digits_than_python_writes_is_refused_in_words():
    for name in ("model.width", "optimizer.learning_rate", "model.window", "model.score"):
        section, _, last = name.partition(".")
        with pytest.raises(UserError, match=name):
            settings.resolve(ConfigDict({section: {last: 10**5000}}))
