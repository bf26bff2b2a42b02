"""Groups of runs that differ in the seed alone: means, intervals, paired differences."""

import json
import math
import statistics
from pathlib import Path

import pytest

from experiments.comparing.comparison import group_runs
from experiments.comparing.results import read_results
from tests.fixtures.compared_runs import succeed, table, tables, write

pytestmark = pytest.mark.usefixtures("quick_and_here")


def study(losses: dict[str, dict[int, float]], metric: str = "loss") -> list[str]:
    """Write runs of two norms: norm -> seed -> score."""
    return [
        write(f"{norm}{seed}", scores={metric: score}, seed=seed, model__norm=norm)
        for norm, scores in losses.items()
        for seed, score in scores.items()
    ]


def test_groups_have_means_over_seeds_and_differences_paired_by_seed(capsys):
    layer, rms = {0: 11.0, 1: 12.0, 2: 14.0, 5: 19.0}, {2: 13.5, 1: 11.625, 0: 10.5, 7: 10.0}
    out = succeed(capsys, *study({"layer": layer, "rms": rms}))
    head, cells = table(out, "means")
    assert head == ["split", "metric", "unit", "better", "group 1", "group 2", "group 2 - group 1, paired by seed"]
    pairs = [rms[seed] - layer[seed] for seed in (0, 1, 2)]
    for values, t, cell in [(layer.values(), 3.182446, cells[4]), (rms.values(), 3.182446, cells[5])]:
        half = t * statistics.stdev(values) / math.sqrt(len(values))
        assert cell == f"{statistics.fmean(values):.4f} ± {half:.4f} (4 seeds)"
    half = 4.302653 * statistics.stdev(pairs) / math.sqrt(3)
    assert cells[6] == f"{statistics.fmean(pairs):+.4f} ± {half:.4f} (3 seeds), excludes 0: better"
    assert "group 1: model.norm = layer; layer0 (seed 0), layer1 (seed 1)" in out
    assert "group 2: model.norm = rms; rms2 (seed 2)" in out


@pytest.mark.parametrize(
    ("metric", "shift", "verdict"),
    [
        ("loss", 0.5, "excludes 0: worse"),
        ("loss", -0.5, "excludes 0: better"),
        ("exact_match", 0.5, "excludes 0: better"),
        ("exact_match", -0.5, "excludes 0: worse"),
        ("of_my_own", 0.5, "excludes 0"),
        ("loss", 0.01, "includes 0"),
    ],
)
def test_a_difference_shows_whether_its_interval_excludes_zero_and_what_is_better(metric, shift, verdict, capsys):
    noise = {0: 0.02, 1: -0.03, 2: 0.01}
    losses = {"layer": {0: 2.0, 1: 3.0, 2: 5.0}}
    losses["rms"] = {seed: value + shift + noise[seed] for seed, value in losses["layer"].items()}
    assert table(succeed(capsys, *study(losses, metric)), "means")[1][6].endswith(f"(3 seeds), {verdict}")


def test_a_group_of_one_seed_has_no_interval_and_neither_has_a_difference_of_one_pair(capsys):
    cells = table(succeed(capsys, *study({"layer": {0: 1.0, 1: 2.0}, "rms": {1: 2.5}})), "means")[1]
    assert cells[5:] == ["2.5000 (1 seed, no interval)", "+0.5000 (1 seed, no interval)"]
    cells = table(succeed(capsys, *study({"rms": {3: 1.0, 4: 2.0}, "layer": {5: 2.5}})), "means")[1]
    assert cells[6] == "no common seed"


def test_diverged_runs_are_counted_and_not_averaged(capsys):
    cells = table(succeed(capsys, *study({"layer": {0: 1.0, 1: 1.0, 2: math.inf}, "rms": {0: 2.0, 1: 2.0}})), "means")[
        1
    ]
    assert cells[4] == "1.0000 (2 seeds: 1.0000, 1.0000; no interval, 1 not finite)"
    assert cells[6].startswith("+1.0000 (2 seeds: +1.0000, +1.0000; no interval)")


def test_without_several_seeds_there_is_no_table_of_means(capsys):
    out = succeed(capsys, *study({"layer": {0: 1.0}, "rms": {1: 2.0}}))
    assert "no means over seeds" in out
    assert not [title for title in tables(out) if title.startswith("means")]


def test_settings_that_cannot_change_the_result_make_no_groups():
    names = [write(f"s{seed}", scores={"loss": 0.5}, seed=seed, training__output__log_every=seed) for seed in (1, 2)]
    assert len(group_runs(read_results(names))) == 1


def test_what_the_data_fills_in_for_a_seed_makes_no_groups_unless_it_was_given():
    filled = [write(f"s{seed}", scores={"loss": 0.5}, seed=seed, model__vocab_size=90 + seed) for seed in (1, 2)]
    assert len(group_runs(read_results(filled))) == 1
    given = write("given", scores={"loss": 0.5}, seed=2, model__vocab_size=500)
    assert len(group_runs(read_results([*filled, given]))) == 3


def test_the_same_experiment_in_another_directory_counts_once(capsys):
    runs = {"a": (1.0, 0), "b": (2.0, 1), "c": (9.0, 1)}
    names = [write(name, scores={"loss": loss}, seed=seed) for name, (loss, seed) in runs.items()]
    out = succeed(capsys, *names)
    assert table(out, "means")[1][4].startswith("1.5000 (2 seeds: 1.0000, 2.0000; ")
    assert "left out, since group 1 has its seed already: c\n" in out


def started(name, seed, origin, **scores):
    """Write a run that started from another run or a checkpoint."""
    write(name, scores=scores or {"loss": 2.0}, seed=seed)
    path = Path(name) / "config.json"
    record = {"checkpoint": "best", "only": [], "skip": [], "step": 3, "checksum": 7, **origin}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"origin": record}))
    return name


def test_runs_that_started_from_other_parameters_are_other_groups(capsys):
    fresh = [write(f"fresh{seed}", scores={"loss": 2.0 + seed}, seed=seed) for seed in (0, 1)]
    bert = [
        started(f"bert{seed}", seed, {"workdir": "/bert", "family": "bert"}, loss=1.0 + 1.5 * seed) for seed in (0, 1)
    ]
    part = [
        started(f"part{seed}", seed, {"workdir": "/bert", "family": "bert", "only": ["encoder"]}) for seed in (0, 1)
    ]
    groups = group_runs(read_results([*fresh, *bert, *part]))
    assert [[result.name for result in group.results] for group in groups] == [fresh, bert, part]
    out = succeed(capsys, *fresh, *bert)
    assert "group 2: parameters at the start = of a checkpoint; bert0 (seed 0), bert1 (seed 1)" in out
    assert table(out, "means")[1][6].startswith("-0.7500 (2 seeds: -1.0000, -0.5000")


def test_each_seed_may_start_from_a_run_of_its_own():
    own = [started(f"own{seed}", seed, {"workdir": f"/before{seed}", "checksum": seed}) for seed in (0, 1)]
    other = [started(f"other{seed}", seed, {"workdir": f"/another{seed}", "checksum": 9 + seed}) for seed in (0, 1)]
    assert len(group_runs(read_results(own))) == 1
    assert len(group_runs(read_results([*own, *other]))) > 1
