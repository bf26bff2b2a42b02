"""Search spaces: the meaning of their grammar, and the errors for bad ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.sweeping.grammar import make_space, split_flags
from experiments.sweeping.space import Dimension, Range, linear, log, overrides
from transformer.errors import UserError


def corners(**space):
    return [made.settings_of(point) for made in [make_space(space)] for point in made.corners()]


def test_a_grid_is_the_product_of_its_choices():
    space = make_space({"model.num_layers": "2,4", "optimizer.schedule": "cosine,linear", "seed": "0:3"})
    assert space.seeds == (0, 1, 2)
    assert [space.settings_of(point) for point in space.corners()] == [
        {"model.num_layers": layers, "optimizer.schedule": schedule}
        for layers in (2, 4)
        for schedule in ("cosine", "linear")
    ]


def test_flags_and_a_recipes_dict_mean_the_same():
    flags = {
        "optimizer.learning_rate": "log:1e-4:1e-2",
        "model.dropout": "linear:0:0.3",
        "model.num_layers": "2,4",
        "model.width+model.num_heads": "64+2,128+4",
        "seed": "1:4",
    }
    recipe = {
        "optimizer.learning_rate": log(1e-4, 1e-2),
        "model.dropout": linear(0, 0.3),
        "model.num_layers": [2, 4],
        "model.width+model.num_heads": [(64, 2), (128, 4)],
        "seed": range(1, 4),
    }
    assert make_space(flags) == make_space(recipe)


def test_a_setting_that_may_be_absent_can_be_absent_in_a_choice():
    assert corners(**{"model.dropout": "none,0.1"}) == [{"model.dropout": None}, {"model.dropout": 0.1}]
    assert overrides({"model.dropout": None}) == [("model.dropout", "none")]


def test_zipped_settings_move_together():
    assert corners(**{"model.width+model.num_heads": "64+2,128+4"}) == [
        {"model.width": 64, "model.num_heads": 2},
        {"model.width": 128, "model.num_heads": 4},
    ]


def test_a_conditional_setting_is_there_where_its_condition_holds():
    found = corners(**{"optimizer.beta2@optimizer.name:adamw": "0.9,0.99", "optimizer.name": "sgd,adamw"})
    assert found == [
        {"optimizer.name": "sgd"},
        {"optimizer.name": "adamw", "optimizer.beta2": 0.9},
        {"optimizer.name": "adamw", "optimizer.beta2": 0.99},
    ]


def test_one_setting_may_have_another_range_under_another_condition():
    space = make_space(
        {
            "optimizer.name": "sgd,adamw",
            "optimizer.learning_rate@optimizer.name:sgd": "log:0.01:1",
            "optimizer.learning_rate@optimizer.name:adamw": "log:1e-4:1e-2",
        }
    )
    ends = [(p["optimizer.name"], space.settings_of(p)["optimizer.learning_rate"]) for p in space.corners()]
    assert ends == [("sgd", 0.01), ("sgd", 1.0), ("adamw", 1e-4), ("adamw", 1e-2)]


def test_whole_numbers_stay_whole():
    (dimension,) = make_space({"model.width": "log:16:256"}).dimensions
    assert dimension.values == Range(16, 256, log=True)
    assert isinstance(dimension.values.low, int)


@given(st.lists(st.integers(1, 50), unique=True, min_size=1, max_size=5), st.integers(0, 50), st.integers(1, 9))
def test_lines_of_a_space_read_back_to_it(layers, first, seeds):
    space = make_space(
        {
            "model.num_layers": layers,
            "optimizer.weight_decay": linear(0.0, 0.25),
            "optimizer.name": "sgd,adamw",
            "optimizer.beta2@optimizer.name:adamw": [0.9, 0.95],
            "seed": range(first, first + seeds),
        }
    )
    again = make_space(dict(line.split("=", 1) for line in space.to_lines()))
    assert again.to_lines() == space.to_lines()
    assert again.seeds == space.seeds
    assert len(list(again.corners())) == len(list(space.corners())) == 6 * len(layers)


def test_flags_of_a_space_are_split_from_the_others():
    words = ["--config=a.py", "--sweep.model.width=8,16", "--sweep.seed", "0:2", "--lanes=3"]
    assert split_flags(words) == (["--config=a.py", "--lanes=3"], {"model.width": "8,16", "seed": "0:2"})


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"model.widht": "8,16"}, "unknown setting model.widht. Did you mean model.width"),
        ({"model": "8,16"}, "model is a section, not a setting"),
        ({"seed": "5:5"}, "the range of seed is empty; got 5:5"),
        ({"model.num_layers": "nan:1"}, "the range of model.num_layers is empty; got nan:1"),
        ({"model.num_layers": "1:nan"}, "the range of model.num_layers is empty; got 1:nan"),
        ({"model.num_layers": "-inf:1"}, "the sweep of model.num_layers has too many values; got inf"),
        ({"model.num_layers": "1:inf"}, "the sweep of model.num_layers has too many values; got inf"),
        ({"optimizer.learning_rate": "log:1:nan"}, "the range of optimizer.learning_rate is empty; got 1:nan"),
        ({"seed": "log:1:9"}, "seeds are varied by themselves"),
        ({"seed+model.width": "1+8"}, "seeds are varied by themselves"),
        ({"optimizer.learning_rate": "log:0:1"}, "goes through zero; got 0:1; expected a low end above 0"),
        ({"optimizer.learning_rate": "log:1:0.1"}, "is empty; got 1:0.1; expected a low end below the high end"),
        ({"optimizer.learning_rate": "log:a:1"}, "has an end that is no number; got 'a'"),
        ({"optimizer.learning_rate": "linear:-1:1"}, "optimizer.learning_rate is out of range; got -1.0"),
        ({"model.norm": "log:1:2"}, "model.norm has no numbers between others"),
        ({"optimizer.learning_rate": "1e-4:1e-2"}, "expected log:1e-4:1e-2 or linear:1e-4:1e-2"),
        (
            {"optimizer.learning_rate": "1e-2:1e-4"},
            "'1e-2:1e-4' of optimizer.learning_rate does not state how numbers between its ends are drawn;"
            " expected log:1e-4:1e-2 or linear:1e-4:1e-2",
        ),
        ({"optimizer.learning_rate": "1:1"}, "expected log:LOW:HIGH or linear:LOW:HIGH"),
        ({"optimizer.learning_rate": "uniform:0:1"}, "got 'uniform:0:1'; expected linear:0:1"),
        ({"optimizer.learning_rate": "log:1"}, "got 'log:1'; expected log:LOW:HIGH or linear:LOW:HIGH"),
        ({"model.num_layers": "linear:1.5:3.7"}, "has an end that is no whole number; got '1.5'; expected log:LOW"),
        ({"model.num_layers": linear(1, 3.5)}, "has an end that is no whole number; got '3.5'; expected log:LOW"),
        ({"model.num_layers": "1.5:4"}, "has an end that is no whole number; got '1.5'; expected log:LOW"),
        ({"model.num_layers": "1:9:2"}, "no range of model.num_layers; got '1:9:2'"),
        ({"seed": "0:100000000"}, "the sweep of seed has too many values; got 100,000,000; expected at most 10,000"),
        ({"seed": range(10**12)}, "the sweep of seed has too many values"),
        ({"lr": "log:1e-4:1e-2"}, "unknown setting lr. Did you mean optimizer.learning_rate?"),
        ({"model.position": "rope"}, "Did you mean 'rotary'?"),
        ({"model.norm": "layer,batch"}, "unknown value of model.norm"),
        ({"model.width": ""}, "the sweep of model.width is empty"),
        ({"model.width": "8,8"}, "has a value twice; got 8, 8"),
        ({"model.width": "8,wide"}, "model.width has the wrong type; got 'wide'"),
        ({"model.width+model.num_heads": "8+2,16"}, "has another number of values; got 16; expected 2"),
        ({"model.width": "8,16", "model.width+model.num_heads": "8+2"}, "model.width is varied twice"),
        ({"data.validation_path": "a,b"}, "data.validation_path is a list, which no sweep varies"),
        ({"optimizer.beta2@optimizer.name:adamw": "0.9"}, "which is not varied by this sweep"),
        ({"optimizer.beta2@optimizer.name": "0.9", "optimizer.name": "adamw"}, "has no value; expected @SETTING:VALUE"),
    ],
)
def test_a_bad_space_gets_a_clear_line(space, message):
    with pytest.raises(UserError) as caught:
        make_space(space)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_conditions_that_depend_on_each_other_are_an_error():
    with pytest.raises(UserError, match="depends on it in turn"):
        make_space(
            {"optimizer.name@optimizer.schedule:linear": "sgd", "optimizer.schedule@optimizer.name:sgd": "linear"}
        )


def test_a_flag_of_a_space_without_values_is_an_error_and_of_two_the_last_counts(capsys):
    with pytest.raises(UserError, match=r"--sweep\.seed needs values"):
        split_flags(["--sweep.seed"])
    with pytest.raises(UserError, match="--sweep names no setting"):
        split_flags(["--sweep=seed"])
    assert split_flags(["--sweep.seed=0:2", "--sweep.seed=0:3"]) == ([], {"seed": "0:3"})
    assert capsys.readouterr().err == "note: --sweep.seed is given twice; the last value counts: 0:3\n"


def test_a_value_with_a_comma_is_written_in_json_and_read_back():
    assert corners(**{"data.path": '["a,b.txt", "c.txt"]'}) == [{"data.path": "a,b.txt"}, {"data.path": "c.txt"}]
    (line, _) = make_space({"data.path": ["a,b.txt", "c.txt"]}).to_lines()
    assert make_space(dict([line.split("=", 1)])).to_lines()[0] == line


def test_corners_of_many_ranges_are_made_one_by_one():
    many = make_space({"seed": "0:3", "model.width": range(1, 9001), "training.steps": range(1, 9001)})
    assert many.most_corners == 81_000_000
    assert many.settings_of(next(many.corners())) == {"model.width": 1, "training.steps": 1}


def test_a_value_that_a_study_holds_and_the_space_lacks_is_refused():
    dimension = Dimension(("model.score",), (("dot",), ("additive",)))
    assert dimension.assigned("dot") == {"model.score": "dot"}
    with pytest.raises(UserError, match=r"a value of model\.score that is not in the space; got 'others\.code:score'"):
        dimension.assigned("others.code:score")
