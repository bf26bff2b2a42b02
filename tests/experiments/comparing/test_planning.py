"""Claims about the table of power before a comparison: effects, equality, deviations of finished runs, mistakes."""

import math
import statistics

import numpy as np
import pytest
from scipy import stats

from experiments import plan
from experiments.comparing import planning
from experiments.comparing.decision import LOOKS, levels
from experiments.comparing.results import read_results
from tests.fixtures.commands import error_of, fails, outcome
from tests.fixtures.compared_runs import write

RECIPE = "--config=tests/fixtures/sweep_recipe.py"


@pytest.fixture
def runs(quick_and_here):
    """Write runs of two norms with the losses of four seeds each, and one that is not finished."""
    losses = {"layer": (1.0, 2.0, 4.0, 3.5), "rms": (1.5, 2.25, 4.75, 4.0)}
    names = {
        norm: [write(f"{norm}{s}", scores={"loss": x}, seed=s, model__norm=norm) for s, x in enumerate(own)]
        for norm, own in losses.items()
    }
    write("going", step=100, scores={"loss": 99.0}, seed=9)
    return names


def test_the_deviation_is_that_of_paired_differences_and_of_one_group_alone_larger(runs):
    found = planning.deviation_of(read_results([*runs["layer"], *runs["rms"], "going"]), "loss")
    assert found.value == pytest.approx(statistics.stdev([0.5, 0.25, 0.75, 0.5]))
    assert found.source == "of the differences of 2 groups, seed by seed, in loss"
    alone = planning.deviation_of(read_results(runs["rms"]), "loss")
    assert alone.value == pytest.approx(math.sqrt(2) * statistics.stdev([1.5, 2.25, 4.75, 4.0]))
    assert "as if pairs had nothing in common" in alone.source
    assert "Did you mean 'loss'?" in error_of(planning.deviation_of, read_results(runs["rms"]), "los")
    few = error_of(planning.deviation_of, read_results(["layer0", "rms1"]), "loss")
    assert "cannot be estimated; got no two finished seeds of one setting; " not in few
    assert "four or more, or give --deviation" in few


def test_the_least_margin_is_the_one_that_simulated_studies_show_four_times_in_five():
    margin = planning.least_margin(2.0, 8, 0.985)
    values = np.random.default_rng(0).normal(0.0, 2.0, size=(20_000, 8))
    half = stats.t.ppf(0.9925, 7) * values.std(1, ddof=1) / math.sqrt(8)
    shown = (np.abs(values.mean(1)) + half < margin).mean()
    assert shown == pytest.approx(0.8, abs=0.015)
    assert planning.least_margin(0.0, 8, 0.985) == 0.0


def cells(table):
    return [[str(cell) for cell in column.cells] for column in table.columns]


def test_the_table_has_a_row_for_each_look_and_is_in_units_of_the_deviation_where_it_is_not_known():
    unknown = planning.table(LOOKS, None, 0.05, None)
    assert [str(column.header) for column in unknown.columns][2:] == [
        "least effect (in standard deviations)",
        "least margin of equality (in standard deviations)",
    ]
    known = planning.table(LOOKS, planning.Deviation(0.5, "as given"), 1.0, 30.0)
    seeds, intervals, effects, margins, within, costs = cells(known)
    assert seeds == ["4", "8", "16"]
    assert intervals == [f"{100 * level:.1f} %" for level in levels()]
    assert [2 * float(x) for x in effects] == pytest.approx([float(x) for x in cells(unknown)[2]], abs=2e-4)
    assert [float(x) <= 1.0 for x in margins] == [text.startswith("can be shown") for text in within]
    assert within[0].startswith("seldom shown")
    assert within[2] == "can be shown (power 1.00)"
    assert costs == ["2 min 0 s", "4 min 0 s", "8 min 0 s"]


def test_what_the_table_rests_on_is_told():
    assert planning.lines(None, 0.1, 2)[1] == "--margin is compared with the deviation, which is not known."
    known = planning.lines(planning.Deviation(0.5, "as given"), 0.1, 6)
    assert known[0] == "Deviation of the difference of two runs of one seed: 0.5, as given."
    assert known[1].startswith("A seed costs 6 runs, since 6 settings are compared")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--margin=0.1"], "--margin is not read without --power; got 0.1. Add --power, or leave --margin out."),
        (["--from=x"], "--from is not read without --power"),
        (["--power", "--deviation=0.1", "--from=x"], "--from is not read with --deviation; got x."),
        (["--power", "--metric=loss"], "--metric is not read without --from"),
        (["--power", "--seeds=8,4"], "--seeds is out of range; got (8, 4); expected rising numbers of seeds"),
        (["--power", "--deviation=-1"], "--deviation is out of range"),
        (["--power", "--from=nowhere,elsewhere"], "nowhere does not exist"),
    ],
)
def test_a_mistake_is_one_line(flags, message, capsys):
    error = fails(plan.main, [RECIPE, *flags], capsys)
    assert message in error
    assert error.count("\n") == 1


def test_a_plan_ends_with_the_power_and_the_cost_of_the_whole_sweep(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    flags = [RECIPE, "--power", "--deviation=0.02", "--margin=0.05", "--seeds=4,8", "--probe_steps=1"]
    code, out, error = outcome(plan.main, flags, capsys)
    assert code == 0, error
    assert "what seeds show with a power of 0.8" in out
    assert "no difference within 0.05" in out
    assert out.index("fits: ") < out.index("least effect") < out.index("of one seed: 0.02, as given.")
    assert "A seed costs 2 runs, since two settings are compared" in out
    assert "cost" in out[out.index("least effect") :].splitlines()[0]
