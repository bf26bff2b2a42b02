"""A study's database is data: however it is damaged, or of whatever program, one line names the study and the field."""

import contextlib
import json
import sqlite3

import optuna
import pytest
from sqlalchemy.engine import make_url

from experiments.sweeping.grammar import make_space
from experiments.sweeping.open_study import open_study
from experiments.sweeping.ranking import ranked
from experiments.sweeping.storage import close, open_storage
from experiments.sweeping.study import Search
from tests.fixtures.sweep_records import RANKING, lane
from transformer.errors import UserError

LAYERS = {"model.num_layers": "1,2"}


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'study.db'}"


def study_of(url, points=1, sampler="random", name="s", space=None):
    storage, made = open_storage(url, 1), make_space(space or LAYERS)
    values = list(made.corners())[:points] if sampler == "grid" else [{}] * points
    try:
        return open_study(storage, name, Search(made, sampler, values, 3), mode="max", properties={})
    finally:
        close(storage)  # it opens again where it is used


def put(url, table, value, key="lanes", column="value_json"):
    """Write a text in the place of what a table of the database holds by a key."""
    name = "param_name" if table == "trial_params" else "key"
    with contextlib.closing(sqlite3.connect(make_url(url).database)) as database, database:
        done = database.execute(f"UPDATE {table} SET {column} = ? WHERE {name} = ?", (value, key)).rowcount
    assert done == 1


def change(**keys):
    return json.dumps([{**lane(0, 0.5), **keys}])


DAMAGED_LANES = {
    "3": "lanes is 3 (a whole number), expected a list",
    "[1]": "lanes[0] is 1 (a whole number), expected an object",
    "[{}]": "lanes[0] has no 'seed', 'status', 'score', 'curve', 'validation'",
    change(score="high"): "lanes[0].score is 'high' (a text), expected a number or null",
    change(status="done"): "lanes[0].status is 'done' (a text), expected one of finished, stopped early, halved",
    change(validation=[1.0]): "lanes[0].validation is a list, expected an object",
    change(validation={"loss": None}): "lanes[0].validation.loss is null, expected a number",
    change(validation_loss="low"): "lanes[0].validation_loss is 'low' (a text), expected a number or null",
    change(curve=[[1, 2, 3]]): "lanes[0].curve[0] is a list, expected a step and a score",
    change(seed=-1): "lanes[0].seed is -1 (a whole number), expected a whole number from 0 to 4,294,967,295",
    change(score=10**30): "a whole number has more than 64 bits",
    "[" * 200 + "]" * 200: "it is nested more than 100 levels deep",
    "{cut": "'lanes' in trial_user_attributes is no JSON: Expecting property name",
    "9" * 5000: "'lanes' in trial_user_attributes is no JSON: Exceeds the limit (4300 digits)",
}


def test_damage_to_the_record_of_a_lane_is_one_line_that_names_the_study_and_the_field(url):
    study = study_of(url)
    (taken,) = study.take(1)
    assert study.record_result(taken, [{**lane(0, float("nan")), "of a later version": None}], 0.5)
    assert study_of(url).left() == 0
    for text, message in DAMAGED_LANES.items():
        put(url, "trial_user_attributes", text)
        with pytest.raises(UserError) as caught:
            study_of(url)
        line = str(caught.value)
        assert f"the study 's' in {url} cannot be read: {message}" in line, text[:80]
        assert line.endswith("or choose another --study (or --workdir) and train anew.")
        assert "\n" not in line


def test_a_damaged_record_that_another_worker_stores_later_is_named_where_it_is_read(url):
    study = study_of(url)
    (taken,) = study.take(1)
    study.record_result(taken, [{"by": "another program"}], 0.5)
    with pytest.raises(UserError, match=r"trial 0 of the study 's' in .*: lanes\[0\] has no 'seed'"):
        ranked(study, RANKING["max"])


@pytest.mark.parametrize(
    ("table", "key", "column", "text", "message"),
    [
        ("trial_user_attributes", "point", "value_json", "9", "point is 9 (a whole number), expected a whole number"),
        ("trial_user_attributes", "point", "value_json", "true", "point is True (true or false)"),
        ("trial_user_attributes", "point", "key", "other", "it has no 'point'"),
        ("trial_system_attributes", "fixed_params", "value_json", "[]", "fixed_params is a list, expected an object"),
        ("trial_system_attributes", "fixed_params", "value_json", '{"model.num_layers": "x"}', "not in the space"),
        ("trial_params", "model.num_layers", "distribution_json", "{}", "the study 's' in"),
        ("study_user_attributes", "ready", "value_json", "[]", "ready is a list, expected true or false"),
        ("study_user_attributes", "config", "value_json", "3", "config is 3 (a whole number), expected an object"),
        ("study_user_attributes", "config", "value_json", "", "'config' in study_user_attributes is no JSON"),
    ],
)
def test_damage_elsewhere_in_a_study_is_one_line_too(url, table, key, column, text, message):
    study = study_of(url, 1, "grid")
    study.study.set_user_attr("config", {})
    study.take(1)
    put(url, table, text, key, column)
    with pytest.raises(UserError, match="cannot be read: ") as caught:
        study_of(url, 1, "grid")
    assert message in str(caught.value)


def test_the_study_of_another_program_is_refused_at_once(url):
    storage = open_storage(url, 1)
    optuna.create_study(storage=storage, study_name="theirs", direction="maximize").enqueue_trial({"x": 1})
    optuna.create_study(storage=storage, study_name="two", directions=["maximize", "minimize"])
    for name, message in (("theirs", "it has no 'point'"), ("two", "it has 2 directions, a sweep has one")):
        with pytest.raises(UserError, match=f"the study '{name}' in .* cannot be read: {message}"):
            study_of(url, name=name)
    close(storage)
