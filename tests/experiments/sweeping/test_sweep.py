"""`experiments.sweep` from the command line to its results, and the errors for mistakes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from experiments import compare, evaluate, sweep
from experiments.storage.bitwise import first_difference, read_saved
from experiments.sweeping import launch
from experiments.sweeping.storage import sqlite_url
from transformer.errors import UserError

RECIPE = "--config=tests/fixtures/sweep_recipe.py"


def lines(workdir):
    return [json.loads(line) for line in (workdir / "results.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("sweep")
    assert sweep.main([RECIPE, f"--workdir={workdir}", "--heartbeat=5"]) == 0
    return workdir


def test_results_have_a_line_for_each_trial_the_best_first(swept):
    found = lines(swept)
    assert [(line["optimizer.learning_rate"], line["seed"]) for line in found] == [
        (0.01, 0),
        (0.01, 1),
        (1e-3, 0),
        (1e-3, 1),
    ]
    assert {line["status"] for line in found} == {"finished"}
    means = [np.mean([line["score"] for line in found[i : i + 2]]) for i in (0, 2)]
    assert means[0] < means[1]
    for line in found:
        last = [json.loads(text) for text in (Path(line["workdir"]) / "metrics.jsonl").read_text().splitlines()]
        assert line["validation"]["continuation_loss"] == last[-1 if not line["test"] else -2]["continuation_loss"]


def test_pictures_are_drawn(swept):
    assert {path.name for path in (swept / "plots").iterdir()} == {"settings.png", "curves.png"}


def test_the_best_trials_are_ordinary_working_directories_and_no_others_have_checkpoints(swept, capsys):
    kept = sorted(path.parent.name for path in (swept / "trials").glob("*/checkpoints"))
    assert kept == ["0001-seed0", "0001-seed1"]
    evaluate.main([f"--workdir={swept}/trials/0001-seed0", "--split=validation"])
    out = capsys.readouterr().out
    assert f"{lines(swept)[0]['score']:.4f}" in out
    assert not list((swept / "lanes").iterdir())


def test_the_same_command_again_prints_the_same_and_trains_nothing(swept, capsys):
    before = lines(swept)
    assert sweep.main([RECIPE, f"--workdir={swept}", "--heartbeat=5"]) == 0
    out = capsys.readouterr().out
    assert "2 trials of 2 seeds, 0 left" in out
    assert "programs of the update compiled here: 0" in out
    assert "best: --config.optimizer.learning_rate=0.01" in out
    assert lines(swept) == before
    assert "note:" not in out


def test_the_table_for_other_programs_has_a_row_for_each_trial_and_the_scores_in_full(swept, tmp_path):
    table = tmp_path / "trials.json"
    assert sweep.main([RECIPE, f"--workdir={swept}", "--heartbeat=5", f"--output={table}"]) == 0
    rows = json.loads(table.read_text())["data"]
    results = lines(swept)
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    for row in rows:
        own = [line for line in results if line["point"] == row["trial"]]
        assert row["value"] == pytest.approx(sum(line["score"] for line in own) / len(own), rel=1e-12)
        assert (row["metric"], row["seeds"]) == (own[0]["metric"], len(own))
        assert all(row[f"config.{name}"] == own[0][name] for name in own[0] if "." in name)


def test_a_study_that_goes_on_under_other_flags_of_xla_has_a_note(swept, capsys, monkeypatch):
    before = os.environ.get("XLA_FLAGS", "")
    monkeypatch.setenv("XLA_FLAGS", f"{before} --another=1")
    assert sweep.main([RECIPE, f"--workdir={swept}", "--heartbeat=5"]) == 0
    line = "note: XLA_FLAGS have changed since the study's first start, so bits may differ: "
    assert f"{line}{before or 'none'} -> {before} --another=1\n" in capsys.readouterr().out


def test_a_worker_that_joins_a_study_with_nothing_left_prints_the_table(swept, tmp_path, capsys):
    storage = sqlite_url(swept / "study.db")
    assert sweep.main([RECIPE, f"--workdir={tmp_path}/late?1 %20", f"--storage={storage}", "--heartbeat=5"]) == 0
    out = capsys.readouterr().out
    assert "nothing left to do: every trial of the study is done" in out
    assert "by validation continuation_loss, lower is better" in out
    assert lines(tmp_path / "late?1 %20") == lines(swept)
    assert {line["metric"] for line in lines(swept)} == {"continuation_loss"}


def test_all_trials_of_a_sweep_can_be_compared_with_their_costs(swept, capsys):
    compare.main([str(swept)])
    out, error = capsys.readouterr()
    assert "0000-seed0" in out
    assert "beside 3 other trials" in out
    assert "group 2: optimizer.learning_rate = 0.01" in out
    assert not error
    with pytest.raises(UserError, match="a trial of a sweep, which writes those of its best trial"):
        evaluate.main([f"--workdir={swept}/trials/0000-seed0"])


@pytest.mark.more
def test_a_sweep_whose_trials_all_diverge_has_no_best_and_keeps_nothing(tmp_path, capsys):
    flags = [
        "--sweep.optimizer.learning_rate=1e5,1e6",
        "--config.training.initial_scale=1e6",
        "--config.optimizer.name=sgd",
        "--config.optimizer.warmup_steps=0",
    ]
    flags += ["--config.optimizer.clip_norm=none", "--sweep.seed=0"]
    assert sweep.main([RECIPE, f"--workdir={tmp_path}", *flags]) == 1
    out = capsys.readouterr().out
    assert "all diverged: no trial is the best" in out
    assert "best: " not in out
    assert not list(tmp_path.glob("trials/*/checkpoints"))
    assert {line["status"] for line in lines(tmp_path)} == {"diverged"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--sweep.model.widht=8,16"], "unknown setting model.widht. Did you mean model.width"),
        (["--sweep.optimizer.learning_rate=log:0:1"], "the log range of optimizer.learning_rate goes through zero"),
        (["--sweep.optimizer.learning_rate=log:1e-3:1e-2"], "--trials must be given: the space has ranges"),
        (["--sweep.optimizer.learning_rate=log:1e-3:1e-2", "--sampler=grid"], "a space with ranges has no grid"),
        (
            ["--config.optimizer.learning_rate=0.1"],
            "is varied by the sweep and fixed by --config.optimizer.learning_rate",
        ),
        (
            ["--sweep.optimizer.beta2=0.9,0.95", "--config.optimizer.name=sgd"],
            "beta2 is not read by optimizer.name 'sgd'",
        ),
        (["--sweep.model.num_heads=2,3"], "in the sweep, at optimizer.learning_rate=0.001, model.num_heads=3"),
        (["--halvings=2"], "the halvings fall between too few evaluations"),
        (["--sweep.seed=0:0"], "the range of seed is empty"),
        (["--storage=postgresql://me:pw@127.0.0.1:1/x"], "the storage cannot be reached"),
        (["--lanes=0"], "--lanes is out of range"),
        (["--slurm_options=partition=gpu"], "--slurm_options is not read by this process alone; got partition=gpu"),
        (["--halvings=1", "--lanes=2"], "--halvings is not read where a program trains one combination"),
        (["--data=own", "--config.data.seed=3"], "--data=own is not read where data.seed is set; got data.seed 3"),
        (["--sampler=tpe"], "--trials must be given: --sampler=tpe draws as many points as it names"),
        (["--study="], "--study is out of range; got ''; expected at least one character"),
        (["--sweep.optimizer.learning_rate=1e-4:1e-2"], "expected log:1e-4:1e-2 or linear:1e-4:1e-2"),
        (["--slurm=true"], "there is no Slurm here"),
        (["--workers=2", "--slurm_options=timeout_min=60"], "--slurm_options are read with --slurm alone"),
    ],
)
def test_mistakes_get_a_clear_line_and_write_no_results(flags, message, tmp_path):
    with pytest.raises(UserError) as caught:
        sweep.main([RECIPE, f"--workdir={tmp_path}/w", *flags])
    assert message in str(caught.value)
    assert not (tmp_path / "w" / "results.jsonl").exists()


def test_another_recipe_for_the_same_study_is_refused(swept):
    with pytest.raises(UserError, match=r"made with another config:\n.*training\.batch_size: 4 -> 8"):
        sweep.main([RECIPE, f"--workdir={swept}", "--config.training.batch_size=8"])


def start(workdir, *flags):
    words = [sys.executable, "-m", "experiments.sweep", RECIPE, f"--workdir={workdir}", "--heartbeat=1", *flags]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def until(reached, seconds=240.0):
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "the time is over"
        time.sleep(0.02)


LONG = ("--config.training.steps=60", "--config.training.output.evaluate_every=10")


@pytest.mark.full
def test_a_sweep_that_is_killed_in_the_middle_goes_on_to_the_same_bits(tmp_path):
    whole = start(tmp_path / "whole", *LONG, "--keep=all")
    out, _ = whole.communicate()
    assert whole.returncode == 0, out
    killed = start(tmp_path / "killed", *LONG, "--keep=all")
    until(lambda: list((tmp_path / "killed" / "lanes").glob("*/checkpoints/checksums/10.json")))
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    again = start(tmp_path / "killed", *LONG, "--keep=all")
    out, _ = again.communicate()
    assert again.returncode == 0, out
    assert "going on with 2 trials of a worker that has ended" in out
    trials = sorted(path.name for path in (tmp_path / "whole" / "trials").iterdir())
    assert len(trials) == 4
    for name in trials:
        one, other = (read_saved(tmp_path / side / "trials" / name, 60, side) for side in ("whole", "killed"))
        assert first_difference(one, other) is None


@pytest.mark.full
def test_a_sweep_that_is_killed_while_it_adds_seeds_goes_on_with_them(tmp_path):
    flags = ("--sweep.seed=0", "--sweep.model.norm=layer,rms", "--decide", "--max_seeds=5", "--margin=1e-4", *LONG)
    killed = start(tmp_path, *flags)
    until(lambda: list((tmp_path / "lanes").glob("seeds4to4-*/checkpoints/checksums/10.json")))
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    again = start(tmp_path, *flags)
    out, _ = again.communicate()
    assert again.returncode == 0, out
    assert "0 left" in out
    assert "of a worker that has ended" in out
    assert not list((tmp_path / "lanes").iterdir())
    assert {line["step"] for line in lines(tmp_path)} == {60}
    assert {line["seed"] for line in lines(tmp_path)} == {0, 1, 2, 3, 4}


@pytest.mark.full
def test_three_workers_do_every_trial_once_though_one_is_killed(tmp_path):
    rates = "--sweep.optimizer.learning_rate=" + ",".join(f"{i}e-3" for i in range(1, 13))
    flags = (*LONG, rates, "--lanes=2", f"--storage=sqlite:///{tmp_path}/study.db")
    workers = [start(tmp_path / name, *flags) for name in "abc"]
    until(lambda: list((tmp_path / "a" / "lanes").glob("*/checkpoints/checksums/10.json")))
    os.kill(workers[0].pid, signal.SIGKILL)
    outputs = [worker.communicate()[0] for worker in workers]
    assert [worker.returncode for worker in workers[1:]] == [0, 0], outputs
    found = lines(tmp_path / "b")
    assert sorted((line["optimizer.learning_rate"], line["seed"]) for line in found) == sorted(
        (float(f"{i}e-3"), seed) for i in range(1, 13) for seed in range(2)
    )
    assert {line["status"] for line in found} == {"finished"}
    assert {line["step"] for line in found} == {60}
    assert lines(tmp_path / "c") == found


def test_workers_are_counted_in_words(capsys, tmp_path):
    launch._print_workers("on this machine", ["7-0"], ["x"], tmp_path)
    launch._print_workers("as Slurm jobs", ["1", "2"], ["x"], tmp_path)
    first, _, second, _ = capsys.readouterr().out.splitlines()
    assert first == f"1 worker on this machine, output in {tmp_path}: 7-0"
    assert second == f"2 workers as Slurm jobs, output in {tmp_path}: 1, 2"


@pytest.mark.full
def test_workers_are_started_as_processes(tmp_path):
    words = [
        sys.executable,
        "-m",
        "experiments.sweep",
        RECIPE,
        f"--workdir={tmp_path}/w",
        "--workers=2",
        "--heartbeat=1",
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(lines(tmp_path / "w")) == 4
