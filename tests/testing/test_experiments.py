"""The properties of the experiments' axes: rows of the project have them, and each finds a row without it."""

import dataclasses

import pytest

from experiments import check as command
from experiments.testing import AXES, check
from experiments.training.schedules import SCHEDULES
from tests.fixtures import faulty_rows, own_metrics
from tests.fixtures.commands import error_of, fails, outcome
from transformer import testing
from transformer.tables import TABLES
from transformer.testing import find_axis

FAULTY = {
    "tokenizer": faulty_rows.TOKENIZERS,
    "source": faulty_rows.SOURCES,
    "file_format": faulty_rows.FORMATS,
    "optimizer": faulty_rows.OPTIMIZERS,
    "schedule": faulty_rows.SCHEDULES_WITH_FAULTS,
    "metric": faulty_rows.METRICS,
}
"""Axis -> property -> row that lacks it."""

RAISED = {("optimizer", "lanes"), ("schedule", "lanes"), ("metric", "empty"), ("metric", "texts")}
"""Faults that show as errors."""


def results(axis, row, names, settings=None):
    """Return the results of some properties by name."""
    some = AXES[axis]._replace(properties=tuple(own for own in AXES[axis].properties if own[0] in names))
    row = dataclasses.replace(TABLES[axis].find(row), exempt={})
    report = testing.check(axis, row, settings=settings, axes={axis: some})
    return {result.property: result for result in report.results}


def cheap(axis):
    """List the properties of an axis that start no process."""
    return [name for name, _ in AXES[axis].properties if name != "process"]


def test_the_axes_are_those_of_models_and_of_the_experiments():
    assert {*AXES} == {*testing.AXES, *FAULTY}
    assert {*AXES} <= {*TABLES}


@pytest.mark.parametrize("axis", ["tokenizer", "source", "file_format", "schedule"])
def test_rows_of_the_project_have_the_properties_of_their_axis_or_state_why_not(axis):
    for name, row in TABLES[axis].items():
        report = results(axis, name, [name for name in cheap(axis) if name not in row.exempt])
        assert not [own for own in report.values() if own.result == "FAILS"], name


def test_an_optimizer_of_the_project_has_the_properties_of_its_axis():
    assert {own.result for own in results("optimizer", "sgd", cheap("optimizer")).values()} == {"holds"}


@pytest.mark.more
@pytest.mark.parametrize("axis", [axis for axis in FAULTY if axis != "metric"])
def test_every_row_of_the_project_passes_the_check(axis):
    for name in TABLES[axis]:
        report = check(axis, name)
        assert report.passed, str(report)


def test_a_metric_that_is_a_mean_has_the_properties_of_its_axis():
    right = faulty_rows.TextMetric(faulty_rows.mean(lambda a, r: float(a == r)), bounds=(0.0, 1.0))
    report = check("metric", right)
    assert [result.result for result in report.results] == ["holds"] * 7
    distance = results("metric", own_metrics.distance, ["order", "split", "bounds", "best"], {"power": 1.0})
    assert {own.result for own in distance.values()} == {"holds"}


FAULTS = [(axis, name) for axis, rows in FAULTY.items() for name in rows if name != "process"]


@pytest.mark.parametrize(("axis", "name"), FAULTS)
def test_a_fault_is_found_by_its_property(axis, name, tmp_path):
    settings = {}
    if axis == "file_format":
        (tmp_path / "pairs.tsv").write_text("a\tb\nc\td\ne\tf\n")
        settings = {"path": str(tmp_path / "pairs.tsv")}
    found = results(axis, FAULTY[axis][name], [name], settings)[name]
    assert found.result == "FAILS"
    assert ("Error" in found.detail) == ((axis, name) in RAISED), found.detail


def test_every_property_that_starts_no_process_has_a_row_that_lacks_it():
    assert {(axis, name) for axis in FAULTY for name in cheap(axis)} == {*FAULTS}


@pytest.mark.more
@pytest.mark.parametrize(("axis", "name"), [("tokenizer", "Unordered"), ("source", "unordered")])
def test_the_order_of_a_set_is_found_by_another_process(axis, name):
    found = {own.property: own for own in check(axis, f"tests.fixtures.faulty_rows:{name}").results}
    assert found["process"].result == "FAILS"
    assert "in another process" in found["process"].detail
    assert found["repeated"].result == "holds"


def test_a_fault_is_reported_with_the_smallest_example():
    found = results("metric", faulty_rows.METRICS["split"], ["split", "order"])
    assert found["split"].result == "FAILS"
    assert found["split"].detail.endswith("smallest example found: 3")
    assert found["order"].result == "holds"


def test_a_schedule_that_branches_on_the_step_is_refused():
    assert "fails on a small example" in error_of(check, "schedule", faulty_rows.branching)


def test_settings_reach_the_example_and_wrong_ones_are_errors():
    assert error_of(check, "schedule", "wsd", settings={"decay_fracton": 0.5}).count("Did you mean") == 1
    assert "unknown setting of a metric; got x; expected power" in error_of(
        check, "metric", own_metrics.distance, settings={"x": 1}
    )
    example = AXES["schedule"].example.make(SCHEDULES["wsd"], {"decay_fraction": 0.5}, 8)
    assert example.numbers.decay_fraction == 0.5


def test_a_format_of_ones_own_needs_a_file():
    assert "--path=PATH" in error_of(check, "file_format", faulty_rows.FORMATS["prefix"])


def test_the_axis_of_a_path_is_that_of_its_class():
    for path, axis in {
        "tests.fixtures.faulty_rows:Lower": "tokenizer",
        "tests.fixtures.own_data:doubling": "source",
        "tests.fixtures.own_data:csv": "file_format",
        "tests.fixtures.own_training:averaged": "optimizer",
        "tests.fixtures.own_training:waves": "schedule",
        "tests.fixtures.own_metrics:distance": "metric",
        "tests.fixtures.own_rows:kerple": "position",
        "muon": "optimizer",
    }.items():
        assert find_axis(path, AXES) == axis
    error = error_of(find_axis, "tests.fixtures.own_metrics:letters", AXES)
    first, second, *_ = AXES
    assert "the table of 'tests.fixtures.own_metrics:letters' is not known" in error
    assert f"Name its axis: check({first!r}, ...), or another of {second}, " in error


def test_the_command_checks_rows_of_the_experiments(capsys):
    code, output, _ = outcome(command.main, ["tests.fixtures.own_metrics:distance", "wsd"], capsys)
    assert code == 1
    assert "metric tests.fixtures.own_metrics:distance" in output
    assert "empty     FAILS   ZeroDivisionError" in output
    assert "longer  holds" in output
    assert "--path is not read; got a row of schedule" in fails(command.main, ["wsd", "--path=x"], capsys)
    first, second, *_ = AXES
    error = fails(command.main, ["tests.fixtures.own_metrics:letters"], capsys)
    assert f"Name its axis: --axis={first}, or another of {second}, " in error
    assert "Write my_lab.variants:kerple, with" in fails(command.main, ["my_lab/variants.py:kerple"], capsys)
