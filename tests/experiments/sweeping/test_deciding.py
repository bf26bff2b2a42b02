"""The decision of a sweep's trials against a reference, and the seeds that are added until each is decided."""

import json
import math
from types import SimpleNamespace

import pytest

from experiments import api, sweep
from experiments.comparing.decision import decide
from experiments.sweeping import deciding, verdicts
from experiments.sweeping.deciding import Criterion, criterion_lines, judged, looks_up_to, reference_of, undecided
from experiments.sweeping.ranking import ranked
from experiments.sweeping.search import make_sweep
from tests.fixtures.commands import error_of, fails
from tests.fixtures.sweep_records import RANKING, study
from tests.fixtures.tiny_sweep import recipe

RECIPE = "--config=tests/fixtures/sweep_recipe.py"
NOISE = (0.01, -0.02, 0.0, 0.03, -0.01, 0.02, -0.03, 0.01)
CRITERION = Criterion(0.1, (4, 8), 0, True)


def point(mean, seeds=4, status="finished", spread=1.0):
    """Return a point of the fixture: layers, rate, the score of each seed, status."""
    return 2, 1e-3, [mean + seed / 7 + spread * NOISE[seed] for seed in range(seeds)], status


def decided(*points, criterion=CRITERION, mode="min"):
    results = ranked(study(*points), RANKING[mode])
    return results, judged(results, criterion, RANKING[mode])


def test_each_trial_is_decided_against_the_reference_and_never_against_the_best():
    results, found = decided(point(2.0), point(1.0, spread=2.0), point(2.01, spread=3.0), point(3.0, spread=0.5))
    assert results[0].point == 1
    assert [(one.result.point, one.decision.word) for one in found] == [
        (1, "holds"),
        (2, "fails"),
        (3, "reversed"),
    ]
    expected = decide([1.0 - noise for noise in NOISE[:4]], margin=0.1, looks=(4, 8))
    assert found[0].decision.low == pytest.approx(expected.low)
    _, other = decided(*[point(2.0), point(1.0, spread=2.0)], criterion=CRITERION._replace(reference=1))
    assert [(one.result.point, one.decision.word) for one in other] == [(0, "reversed")]
    _, higher = decided(point(0.2), point(0.5, spread=2.0), mode="max")
    assert higher[0].decision.word == "holds"


def test_scores_that_all_lie_at_an_end_of_the_range_are_not_tested_and_get_no_seeds():
    nothing = (2, 1e-3, [0.0] * 4, "finished")
    results, (one,) = decided(nothing, nothing, mode="max")
    assert one.decision.word == "not tested"
    assert "rank by another metric" in verdicts.MEANINGS[one.decision.word]
    assert undecided(results, CRITERION, RANKING["max"], 0) == []


def test_seeds_are_added_to_what_is_not_decided_and_to_the_reference():
    results, _ = decided(point(2.0), point(1.0, spread=2.0), point(2.01, spread=3.0))
    assert undecided(results, CRITERION, RANKING["min"], 0) == [0, 2]
    results, _ = decided(point(2.0), point(1.0, spread=2.0))
    assert undecided(results, CRITERION, RANKING["min"], 0) == []
    # A trial that is decided by the seeds of a later look was not by those of the first, and comes again.
    later = [point(2.0, 8), (2, 1e-3, [*point(2.01, 4, spread=3.0)[2], *point(1.0, 8)[2][4:]], "finished")]
    assert undecided(ranked(study(*later), RANKING["min"]), CRITERION, RANKING["min"], 0) == [0, 1]
    # A trial whose further seeds could not be trained is not asked for again.
    short = [point(2.0, 8), point(2.01, 4, spread=3.0)]
    assert undecided(ranked(study(*short), RANKING["min"]), CRITERION, RANKING["min"], 1) == []


def test_a_seed_that_diverged_is_infinitely_worse_and_a_halved_trial_is_not_tested():
    statuses = ["diverged", "finished", "finished", "finished"]
    lost = (2, 1e-3, point(1.0)[2], statuses)
    results, (found, *_) = decided(point(2.0), lost, point(1.0, status="halved"))
    assert (found.decision.word, found.decision.diverged) == ("undecided", 1)
    assert [one.result.point for one in decided(point(2.0), lost, point(1.0, status="halved"))[1]] == [1]
    written = "\n".join(verdicts.lines([found], CRITERION, results))
    assert "not tested, since stopped by a halving: trial 2" in written
    assert "trial 1: at 1 seed it or the reference diverged, which counts as infinitely worse" in written
    results, none = decided(point(2.0, status="halved"), point(1.0))
    assert none == []
    assert verdicts.lines([], CRITERION, results) == [
        "nothing is decided: the reference, trial 0, was stopped by a halving"
    ]


def test_what_several_comparisons_leave_standing_and_several_changes_are_named():
    points = [point(2.0), point(1.0, spread=2.0), (4, 1e-2, point(1.0, spread=3.0)[2], "finished")]
    results, found = decided(*points)
    written = "\n".join(verdicts.lines(found, CRITERION, results))
    assert "trial 2 differs from the reference in several settings" in written
    assert "of 2 comparisons with one reference, the differences that stand" in written
    assert "(Benjamini and Hochberg 1995): trials 1, 2" in written
    assert "every seed reads the same data" in written


@pytest.mark.parametrize(
    ("most", "looks"),
    [(4, (4,)), (5, (4, 5)), (8, (4, 8)), (16, (4, 8, 16)), (17, (4, 8, 16, 17)), (64, (4, 8, 16, 32, 64))],
)
def test_looks_double_up_to_the_most_seeds(most, looks):
    assert looks_up_to(most) == looks


SEARCH = make_sweep(
    recipe(),
    [],
    {"model.norm": "layer,rms", "optimizer.learning_rate": "1e-3,1e-2"},
    data="shared",
    sampler=None,
    trials=None,
).search


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (None, 0),
        ("2", 2),
        ("model.norm=rms,optimizer.learning_rate=0.001", 2),
        ("optimizer.learning_rate=0.01,model.norm=layer", 1),
    ],
)
def test_a_reference_is_a_number_or_the_settings_of_one_trial(text, number):
    assert reference_of(text, SEARCH) == number


def test_a_reference_that_is_none_lists_the_trials():
    assert "--reference names several; got model.norm=rms" in error_of(reference_of, "model.norm=rms", SEARCH)
    error = error_of(reference_of, "4", SEARCH)
    assert "--reference names no trial; got 4; expected the number of a trial, or settings that it alone has" in error
    assert "3: model.norm=rms,optimizer.learning_rate=0.01" in error


def test_a_criterion_that_is_given_or_changed_after_the_runs_is_named():
    kept = SimpleNamespace(user_attrs={}, set_user_attr=lambda key, value: kept.user_attrs.__setitem__(key, value))
    done = []
    holder = SimpleNamespace(study=kept, results=lambda: done)
    assert deciding.keep_criterion(holder, CRITERION).changes == ()
    done += [1, 2]
    assert deciding.keep_criterion(holder, CRITERION).changes == ()
    changed = deciding.keep_criterion(holder, CRITERION._replace(margin=0.2))
    assert changed.changes == (
        "the criterion was changed after 2 trials had ended, to margin 0.2, looks at 4, 8 seeds, against trial 0",
    )
    assert deciding.keep_criterion(holder, CRITERION._replace(margin=0.2)).changes == changed.changes
    assert len(kept.user_attrs["criteria"]) == 2
    late = criterion_lines([CRITERION.record(3)])
    assert late == [
        "the criterion (margin 0.1, looks at 4, 8 seeds, against trial 0) was given after 3 trials had ended, not"
        " before the runs"
    ]


FLAGS = [RECIPE, "--sweep.seed=0", "--sweep.model.norm=layer,rms", "--sweep.optimizer.learning_rate=1e-3,1e-2"]
FLAGS += ["--config.model.dropout=none", "--decide", "--max_seeds=6", "--margin=0.001", "--heartbeat=5"]


@pytest.fixture(scope="module")
def added(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("decided")
    assert sweep.main([*FLAGS, f"--workdir={workdir}"]) == 0
    return workdir


def lines(workdir):
    return [json.loads(line) for line in (workdir / "results.jsonl").read_text().splitlines()]


@pytest.mark.more
def test_a_sweep_adds_seeds_to_what_is_undecided_and_the_same_command_trains_nothing(added, capsys):
    seeds = {}
    for line in lines(added):
        seeds.setdefault(line["point"], []).append(line["seed"])
    assert {point: sorted(own) for point, own in seeds.items()} == {
        0: [0, 1, 2, 3, 4, 5],
        1: [0, 1, 2, 3, 4, 5],
        2: [0, 1, 2, 3],
        3: [0, 1, 2, 3],
    }
    before = lines(added)
    assert sweep.main([*FLAGS, f"--workdir={added}"]) == 0
    out = capsys.readouterr().out
    assert (
        "look at 6 seeds: trial 1 is not decided yet at 4; seeds 4, 5 are added, also to the reference, trial 0" in out
    )
    assert out.count("nothing left to do") == 2
    assert out.count("programs of the update compiled here: 0") == 2
    assert "decided against trial 0, seed by seed" in out
    assert "trial 1: 6 seeds show an effect of" in out
    assert lines(added) == before
    assert not list((added / "lanes").iterdir())


@pytest.mark.more
def test_a_margin_that_is_changed_after_the_runs_is_said_and_keeps_what_was_trained(added, capsys):
    assert sweep.main([*FLAGS, f"--workdir={added}", "--margin=0.5"]) == 0
    out = capsys.readouterr().out
    assert (
        "the criterion was changed after 4 trials had ended, to margin 0.5, looks at 4, 6 seeds, against trial 0" in out
    )
    assert "no difference" in out
    assert "look at 6 seeds" not in out


@pytest.mark.more
def test_a_sweep_that_decided_can_be_read_from_python_and_finished(added):
    space = {"model.norm": ["layer", "rms"], "optimizer.learning_rate": [1e-3, 1e-2], "seed": [0]}
    options = {"decide": True, "max_seeds": 6, "margin": 0.001, "study": "sweep_recipe", "heartbeat": 5}
    found = api.sweep(recipe(), space, {"model.dropout": None}, workdir=added, progress=False, **options)
    rows = found.decisions()
    rows = rows if isinstance(rows, list) else rows.to_dict("records")
    assert [row["trial"] for row in rows] == [1, 2, 3]
    assert {row["seeds"] for row in rows} == {4, 6}
    assert {row["word"] for row in rows} <= {"holds", "undecided", "reversed", "no difference", "fails"}
    assert "changed after 4 trials" in "".join(found.criterion.changes)
    assert found.best().workdir.parent == added / "trials"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--decide"], "--decide needs a margin; got none; expected the least difference that matters"),
        (["--margin=0.1", "--max_seeds=8"], "--max_seeds is not read without --decide; got 8. Add --decide."),
        (["--reference=1"], "--reference is not read without --margin"),
        (["--decide", "--margin=0.1", "--max_seeds=3"], "--max_seeds is out of range; got 3"),
        (["--margin=0"], "--margin is out of range; got 0.0; expected a number above 0"),
        (["--decide", "--margin=0.1"], "--decide adds the seeds itself; got seeds 0, 1; expected the first seed alone"),
        (["--decide", "--margin=0.1", "--sweep.seed=0", "--halvings=1"], "--halvings is not read with --decide"),
        (["--margin=0.1", "--sampler=random", "--trials=3"], "--margin is for a grid; got points drawn by random"),
        (["--margin=0.1", "--sweep.optimizer.learning_rate=0.1"], "nothing can be decided; got one combination"),
        (["--margin=0.1", "--reference=model.norm=rms"], "--reference names no trial"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_trained(flags, message, tmp_path, capsys):
    error = fails(sweep.main, [RECIPE, f"--workdir={tmp_path}/w", *flags], capsys)
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "w" / "study.db").exists()


def test_an_advantage_without_a_common_seed_is_a_preview():
    found = decide([], margin=0.1)
    assert math.isnan(found.middle)
    assert verdicts.MEANINGS[found.word] == "fewer than 4 seeds: no verdict"
