"""Claims about sweeps over own settings of rows from outside."""

import pytest

from experiments import settings
from experiments.comparing import configs
from experiments.sweeping.search import make_sweep
from tests.fixtures.commands import error_of

STRAIGHT = "tests.fixtures.own_rows:straight"
SLOPE = "model.position_settings.slope"


def sweep(varied, *given):
    return make_sweep(settings.defaults(), given, varied, data="shared", sampler=None, trials=None)


def slopes(made):
    """The positions and slopes of the configs at the corners of the space."""
    found = [made.resolve(made.search.space.settings_of(point), 0) for point in made.search.points]
    flat = [settings.schema.flatten(settings.to_json_dict(config)) for config in found]
    return [(values["model.position"], values.get(SLOPE)) for values in flat]


def test_an_own_setting_of_the_row_that_the_config_names_is_varied():
    made = sweep({SLOPE: "1,2"}, ("model.position", STRAIGHT))
    assert slopes(made) == [(STRAIGHT, 1.0), (STRAIGHT, 2.0)]
    assert [dimension.values for dimension in made.search.space.dimensions] == [((1.0,), (2.0,))]


@pytest.mark.parametrize("key", [SLOPE, f"{SLOPE}@model.position:{STRAIGHT}"])
def test_a_range_of_an_own_setting_is_one_of_numbers(key):
    varied = {key: "linear:0.5:4", "model.position": STRAIGHT}
    made = make_sweep(settings.defaults(), [], varied, data="shared", sampler=None, trials=3)
    (name,) = [d for d in made.search.space.dimensions if SLOPE in d.names]
    assert (name.values.low, name.values.high) == (0.5, 4.0)


def test_an_own_setting_is_varied_where_the_sweep_names_its_row():
    made = sweep({f"{SLOPE}@model.position:{STRAIGHT}": "1,2", "model.position": f"{STRAIGHT},alibi"})
    assert slopes(made) == [(STRAIGHT, 1.0), (STRAIGHT, 2.0), ("alibi", None)]


@pytest.mark.parametrize(
    ("varied", "message"),
    [
        ({SLOPE: "1,2"}, "the row that model.position names has no settings of its own"),
        (
            {SLOPE: "1,2", "model.position": f"{STRAIGHT},alibi"},
            f"Write --sweep.{SLOPE}@model.position:ROW=VALUES for the row that has it.",
        ),
        ({SLOPE: "1,x", "model.position": STRAIGHT}, f"{SLOPE} has the wrong type; got 'x'"),
        ({f"{SLOPE}s": "1,2", "model.position": STRAIGHT}, f"Did you mean {SLOPE}?"),
    ],
)
def test_mistakes_are_errors_that_name_the_setting(varied, message):
    assert message in error_of(sweep, varied)


def test_runs_that_differ_in_an_own_setting_differ():
    one, two = (
        settings.to_json_dict(settings.resolve(settings.defaults(), [("model.position", STRAIGHT), (SLOPE, slope)])[0])
        for slope in ("1", "2")
    )
    alibi = settings.to_json_dict(settings.resolve(settings.defaults(), [("model.position", "alibi")])[0])
    assert configs.differences(one, two) == [(SLOPE, 1.0, 2.0, True)]
    assert configs.differences(alibi, two) == [
        ("model.position", "alibi", STRAIGHT, True),
        (SLOPE, None, 2.0, True),
    ]
