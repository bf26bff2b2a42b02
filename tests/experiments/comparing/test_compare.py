"""Claims about comparing runs: the settings that differ, the scores side by side, the means over seeds."""

import dataclasses
import json
import math
from pathlib import Path

import pytest

from experiments.compare import main
from experiments.comparing.comparison import differing, group_runs
from experiments.comparing.metric_units import metric_of
from experiments.comparing.results import read_result, read_results
from experiments.costs.summary import Costs, write_costs
from experiments.data.examples import Splits
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.storage.units import write_units
from experiments.tasks.config import TaskConfig
from experiments.tasks.rows import BUILT_IN, PREFIX, loaded
from experiments.tasks.task import Metric, TaskSettings
from tests.fixtures.commands import outcome
from tests.fixtures.compared_runs import succeed, table, tables, write
from transformer.errors import UserError

pytestmark = pytest.mark.usefixtures("quick_and_here")


def line_of_error(capsys, *names: str) -> str:
    code, out, error = outcome(main, names, capsys)
    assert (code, out, error.count("\n")) == (2, "", 1)
    return error.removeprefix("error: ").removesuffix("\n")


def test_only_settings_that_differ_are_shown_one_column_for_each_run(capsys):
    one = write("one", scores={"loss": 0.5}, model__norm="layer")
    two = write("two", scores={"loss": 0.4}, model__norm="rms", seed=3)
    three = write("three", scores={"loss": 0.4}, model__norm="rms", training__output__log_every=7)
    assert table(succeed(capsys, one, two, three), "settings") == [
        ["setting", "one", "two", "three"],
        ["model.norm", "layer", "rms", "rms"],
        ["seed", "0", "3", "0"],
        ["training.output.log_every (cannot change the result)", "50", "50", "7"],
    ]


def test_runs_of_one_config_are_reported_as_such(capsys):
    out = succeed(capsys, write("a", scores={"loss": 0.5}), write("b", scores={"loss": 0.5}))
    assert out.startswith("no setting differs\n")


def test_the_last_scores_of_validation_and_test_stand_side_by_side_with_unit_and_direction(capsys):
    one = write("one", earlier=[(1_000, {"loss": 9.0})], scores={"loss": 0.5, "exact_match": 0.25}, test={"loss": 0.75})
    two = write("two", scores={"loss": math.nan, "exact_match": 0.5}, test={"loss": 0.125}, seed=1)
    assert table(succeed(capsys, one, two), "scores") == [
        ["split", "metric", "unit", "better", "one", "two"],
        ["validation", "loss", "nats per token", "lower", "0.5000", "nan"],
        ["validation", "exact_match", "of answers", "higher", "0.2500", "0.5000"],
        ["test", "loss", "nats per token", "lower", "0.7500", "0.1250"],
    ]


def test_a_run_that_is_not_finished_is_marked_with_its_step_and_in_no_mean(capsys):
    names = [write(f"s{seed}", scores={"loss": 0.5}, seed=seed) for seed in (1, 2)]
    going = write("going", step=1_500, scores={"loss": 99.0}, seed=3)
    out = succeed(capsys, *names, going)
    above, head = table(out, "scores")[:2]
    assert above[4:] == ["", "", "going"]
    assert head[4:] == ["s1", "s2", "not finished: step 1,500 of 2,000"]
    assert table(out, "means")[1][4] == "0.5000 (2 seeds: 0.5000, 0.5000; no interval)"
    assert "in no mean: going\n" in out


def test_a_run_that_ran_out_of_patience_is_finished():
    losses = [0.5, 0.6, 0.7]
    evaluations = [(100 * i, {"loss": loss}) for i, loss in enumerate(losses, 1)]
    (*earlier, (step, scores)) = evaluations
    run = dict(earlier=earlier, step=step, scores=scores, training__output__evaluate_every=100)
    assert read_result(write("patient", training__patience=2, **run)).finished
    assert not read_result(write("more", training__patience=3, **run)).finished
    assert not read_result(write("none", **run)).finished


def test_metrics_of_different_objectives_are_refused_with_the_names_of_each(capsys):
    one = write("one", scores={"causal_loss": 1.0}, test={"causal_accuracy": 0.5})
    two = write("two", scores={"masked_loss": 1.0})
    line = line_of_error(capsys, one, two)
    assert "they are of different objectives" in line
    assert "one: causal_loss, causal_accuracy; two: masked_loss" in line


def test_where_some_metrics_are_shared_the_others_have_a_dash_and_no_difference(capsys):
    common = {"loss": 1.0}
    names = [write(f"l{s}", scores={**common, "bleu": 20.0 + s}, seed=s, task__bleu="13a") for s in (0, 1)]
    names += [write(f"r{s}", scores={**common, "exact_match": 0.5}, seed=s) for s in (0, 1)]
    out = succeed(capsys, *names)
    assert [row[1:2] + row[4:] for row in table(out, "scores")[1:]] == [
        ["loss", "1.0000", "1.0000", "1.0000", "1.0000"],
        ["bleu", "20.0000", "21.0000", "-", "-"],
        ["exact_match", "-", "-", "0.5000", "0.5000"],
    ]
    loss, bleu, exact_match = (row[4:] for row in table(out, "means")[1:])
    assert loss[2] == "+0.0000 (2 seeds: +0.0000, +0.0000; no interval)"
    assert bleu[1:] == ["-", "-"]
    assert exact_match[0] == exact_match[2] == "-"


def test_runs_of_other_data_are_warned_of_and_never_one_group(capsys):
    names = [write(f"s{seed}", scores={"loss": 1.0}, seed=seed, data="abc" if seed < 2 else "def") for seed in range(4)]
    code, out, error = outcome(main, names, capsys)
    assert code == 0
    assert error.startswith("warning: ")
    assert error.count("\n") == 1
    assert ["fingerprint of the data", "abc", "abc", "def", "def"] in table(out, "settings")
    assert "group 2: fingerprint of the data = def; s2 (seed 2), s3 (seed 3)" in out
    assert not outcome(main, names[:2], capsys)[2]


def test_a_run_of_a_version_without_fingerprints_is_not_of_other_data():
    names = [write("new", scores={"loss": 1.0}, data="abc"), write("old", scores={"loss": 1.0}, seed=1)]
    record = json.loads(Path("old/config.json").read_text())
    del record["data"]
    del record["config"]["seed"]
    Path("old/config.json").write_text(json.dumps(record))
    assert differing(read_results(names)) == []


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["rnus/a", "runs/a"], "rnus/a does not exist"),
        (
            ["runs/aa", "runs/b"],
            "runs/aa does not exist; expected the working directory of a run or a sweep. Did you mean runs/a?",
        ),
        (
            ["runs", "runs/a"],
            "runs holds no config.json, so no run was started in it. There are runs in it",
        ),
        (["nothing", "runs/a"], "nothing holds no config.json, so no run was started in it. Name the --workdir"),
        (["runs/a"], "one run alone has nothing to be compared with; got runs/a; expected two runs or more"),
        (["runs/a", "runs/b", "runs/a/"], "runs/a is given twice. Give each run once."),
        (["runs/a", "link"], "link is given twice, once as runs/a."),
        (["runs/a", "new"], "new was not evaluated yet; got metrics up to step 10 of training. Wait"),
        (["runs/a", "empty"], "empty was not evaluated yet; got no metrics. Wait"),
        ([], "RUNS ... (two or more working directories of trainings, or one of a sweep) must be given."),
        (["--runs=runs/a"], "unknown flag --runs. RUNS ... are written without a flag"),
        (["--workdir=runs/a"], "unknown flag --workdir. RUNS ... are written without a flag"),
    ],
)
def test_a_wrong_run_is_one_line_that_names_it(words, line, capsys):
    write("runs/a", scores={"loss": 1.0})
    write("runs/b", scores={"loss": 1.0}, seed=1)
    write("new")
    write("empty")
    Path("empty/metrics.jsonl").unlink()
    Path("nothing").mkdir()
    Path("link").symlink_to("runs/a")
    assert line_of_error(capsys, *words).startswith(line)


def test_a_sweeps_directory_stands_for_its_trials_and_names_those_that_are_left_out(capsys):
    for point, loss in enumerate((2.0, 3.0)):
        for seed in range(3):
            name = f"runs/sweep/trials/000{point}-seed{seed}"
            write(name, scores={"loss": loss + seed}, seed=seed, model__width=8 << point)
    Path("runs/sweep/lanes").mkdir()
    Path("runs/sweep/trials/0002-seed0").mkdir()
    Path("runs/sweep/trials/0002-seed0/metrics.jsonl").write_text("")
    code, out, error = outcome(main, ["runs/sweep"], capsys)
    assert code == 0
    assert table(out, "scores")[0][4:] == [f"000{point}-seed{seed}" for point in range(2) for seed in range(3)]
    assert table(out, "means")[1][6] == "+1.0000 ± 0.0000 (3 seeds), excludes 0: worse"
    assert error.startswith("note: left out")
    assert error.endswith(": 0002-seed0\n")


def test_a_sweep_without_an_evaluated_trial_is_one_line(capsys):
    Path("runs/sweep/trials/0000-seed0").mkdir(parents=True)
    Path("runs/sweep/lanes").mkdir()
    code, out, error = outcome(main, ["runs/sweep"], capsys)
    assert (code, out) == (2, "")
    assert "the sweep in runs/sweep has no trial that was evaluated" in error


def test_costs_stand_below_the_scores_and_a_dash_where_they_were_not_written(capsys):
    one, two = (write(f"runs/{name}", scores={"loss": 1.0}, seed=len(name)) for name in ("a", "bb"))
    write_costs(Path(one), Costs(12_345, 6.78e6))
    rows = table(succeed(capsys, one, two), "costs")
    assert rows[0] == ["cost", "a", "bb"]
    assert rows[1:3] == [
        ["parameters", "12,345", "-"],
        ["MFLOPs of matrix products per example and step", "6.8", "-"],
    ]
    assert rows[3][0].startswith("seconds")
    assert all(float(cell) < 60.0 for cell in rows[3][1:])


def test_help_names_the_runs(capsys):
    assert "RUNS ...  two or more working directories of trainings, or one of a sweep" in succeed(capsys, "--help")


@pytest.mark.parametrize("path", [*(row.task for row in BUILT_IN.values()), PREFIX])
def test_endings_of_names_agree_with_the_tasks(path):
    config = TaskConfig(bleu="13a")
    task = object.__new__(loaded(path))
    for field, value in (
        ("settings", TaskSettings(config, "seq2seq")),
        ("splits", Splits([], [], [])),
        ("tokenizers", TokenizerPair),
    ):
        object.__setattr__(task, field, value)
    for metric, row in task.metrics.items():
        assert metric_of(metric, {}).mode == row.mode
        assert metric_of(metric, {}).unit == row.unit or metric in ("bleu", "chrf")


def test_scores_from_outside_have_the_units_and_bounds_that_the_run_stored(capsys):
    """Runs that differ in seed alone, by a task whose code is not there."""
    names = [write(f"runs/{seed}", scores={"distance": seed + 1.5}, seed=seed) for seed in range(3)]
    config = dataclasses.replace(TaskConfig(), metrics=("tests.fixtures.own_metrics:distance",))
    assert table(succeed(capsys, *names), "scores")[1][2:4] == ["-", "-"]
    for name in names:
        write_units(Path(name), TaskConfig(), {"distance": Metric("min", "letters", (0.0, math.inf))})
    assert table(succeed(capsys, *names), "scores")[1][2:4] == ["-", "-"]  # no row is from outside
    for name in names:
        write_units(Path(name), config, {"distance": Metric("min", "letters", (1.0, math.inf))})
    out = succeed(capsys, *names)
    assert table(out, "scores")[1][2:4] == ["letters", "lower"]
    assert list(tables(out).values())[-1][1][2:4] == ["letters", "lower"]
    (group,) = group_runs(read_results(names))
    assert group.mean("validation", "distance").interval[0] == 1.0
    (Path(names[0]) / "units.json").write_text('{"distance": {"mode": "up", "unit": "", "low": null, "high": null}}')
    code, _, error = outcome(main, names, capsys)
    assert code == 2
    assert """units.json cannot be read: distance.mode is 'up' (a text), expected "max" or "min".""" in error


def test_an_ending_is_of_whole_words():
    assert metric_of("gloss", {}) is None
    assert metric_of("my_label_loss", {}).unit == "nats per label"
    with pytest.raises(UserError):
        read_result("nowhere")
