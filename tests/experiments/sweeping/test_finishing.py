"""A trial of a sweep that goes on to more steps: which trial, from what, to which bits, and what is refused."""

import errno
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from experiments import api, settings, sweep
from experiments.comparing import configs
from experiments.runs import report
from experiments.storage.checkpoint_format import read_arrays
from experiments.storage.retention import steps_in
from experiments.sweeping import finishing
from experiments.sweeping.finishing import Chosen, choose, config_of, prepare
from experiments.sweeping.ranking import ranked
from experiments.sweeping.search import make_sweep
from tests.fixtures.sweep_records import RANKING, study
from tests.fixtures.tiny_recipes import tiny_flags, write_files
from tests.fixtures.tiny_sweep import recipe
from transformer import UserError, schema

RECIPE = "--config=tests/fixtures/sweep_recipe.py"
WORKDIR = Path("runs/s")


def results(*points, metric="min"):
    return ranked(study(*points), RANKING[metric])


THREE = [(2, 1e-3, [1.0, 3.0], "finished"), (4, 1e-2, [1.5, 0.5], "finished"), (2, 1e-2, [None, None], "diverged")]


def test_the_best_trial_is_the_first_of_the_ranking_and_its_seed_that_with_the_best_score():
    chosen = choose(results(*THREE), "best", RANKING["min"], WORKDIR)
    assert (chosen.point, chosen.name, chosen.workdir) == (1, "0001-seed1", WORKDIR / "trials" / "0001-seed1")
    assert chosen.values == {"model.num_layers": 4, "optimizer.learning_rate": 1e-2}
    for trial in ("0", 0):
        assert choose(results(*THREE), trial, RANKING["min"], WORKDIR).name == "0000-seed0"
    more = [(2, 1e-3, [0.5, 0.5], "finished", [2.0, 1.0])]
    assert choose(results(*more, metric="max"), "best", RANKING["max"], WORKDIR).name == "0000-seed1"


@pytest.mark.parametrize(
    ("points", "trial", "parts"),
    [
        ([], "best", ("no trial has ended", "none", "a trial that has", "the same command without --finish")),
        (THREE, "7", ("no trial of this number has ended", "7", "best, or one of 0, 1, 2", "The table of the sweep")),
        (THREE, "2", ("trial 2 has no score", "diverged", "one of 0, 1", "Choose another trial.")),
        (THREE[2:], "best", ("all diverged", "best", "one of 0", "Name a trial by its number")),
    ],
)
def test_a_trial_that_cannot_go_on_is_refused_with_those_that_can(points, trial, parts):
    with pytest.raises(UserError) as caught:
        choose(results(*points), trial, RANKING["min"], WORKDIR)
    message, at = str(caught.value), 0
    for part in parts:
        assert part in message[at:], message
        at = message.index(part, at) + len(part)


def planned(**varied):
    return make_sweep(recipe(), [], varied, data="shared", sampler=None, trials=None)


def test_the_run_has_the_settings_of_the_trial_and_another_length():
    plan = planned(**{"optimizer.learning_rate": "1e-3,1e-2", "training.steps": "4,8", "seed": "0:3"})
    values = {"optimizer.learning_rate": 1e-2, "training.steps": 4}
    chosen = Chosen(1, values, {"seed": 2, "step": 4}, WORKDIR)
    for steps in (12, "12"):
        config, _ = config_of(plan, chosen, {"training.steps": steps, "training.patience": "3"}, WORKDIR)
        trial = plan.resolve(values, 2)
        found = configs.differences(settings.to_json_dict(trial), settings.to_json_dict(config))
        assert [one[:3] for one in found] == [("training.steps", 4, 12), ("training.patience", None, 3)]


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ({}, r"training.steps must be given.*got none; expected more than 8 steps.*Give --config.training.steps=16"),
        ({"training.steps": 8}, r"trial 1 has as many steps already; got training.steps 8; expected more than 8\."),
    ],
)
def test_no_more_steps_than_the_trial_has_are_refused(lengths, message):
    chosen = Chosen(1, {"optimizer.learning_rate": 1e-2}, {"seed": 2, "step": 8}, WORKDIR)
    with pytest.raises(UserError, match=message):
        config_of(planned(**{"optimizer.learning_rate": "1e-3,1e-2"}), chosen, lengths, WORKDIR)


@pytest.fixture
def trial(tmp_path):
    """A trial with a file in its checkpoints."""
    workdir = tmp_path / "trials" / "0001-seed2"
    (workdir / "checkpoints" / "8").mkdir(parents=True)
    (workdir / "config.json").write_text("{}")
    return Chosen(1, {"optimizer.learning_rate": 1e-2}, {"seed": 2, "step": 8}, workdir)


def test_a_trial_is_copied_once_and_whole(trial, tmp_path, monkeypatch):
    target = tmp_path / "finished" / trial.name
    replace = os.replace

    def fails(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="the trial cannot be copied"):
        prepare(trial, target)
    assert [path.name for path in target.parent.iterdir()] == ["lock"]
    monkeypatch.setattr(os, "replace", replace)
    (target.parent / f".{trial.name}" / "checkpoints").mkdir(parents=True)  # of a copy that was killed
    line = prepare(trial, target)
    assert line == f"trial 1, seed 2 (optimizer.learning_rate=0.01) goes on from its checkpoints in a copy, {target}"
    assert steps_in(target / "checkpoints") == [8]
    assert not list(target.parent.glob(".*"))
    (target / "checkpoints" / "9").mkdir()
    assert "goes on in" in prepare(trial, target)
    assert steps_in(target / "checkpoints") == [8, 9]


def test_a_trial_whose_checkpoints_are_gone_is_trained_from_the_start(trial, tmp_path):
    shutil.rmtree(trial.workdir / "checkpoints")
    assert "trained from the start" in prepare(trial, tmp_path / "finished" / trial.name)
    assert not (tmp_path / "finished" / trial.name).exists()


def test_a_trial_that_another_run_writes_to_is_not_copied(trial, tmp_path, monkeypatch):
    with finishing.locked(trial.workdir), pytest.raises(UserError, match="another run is writing to"):
        prepare(trial, tmp_path / "finished" / trial.name)
    assert not (tmp_path / "finished" / trial.name).exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--finish=best"], "holds no study; got no study.db; expected that of a sweep. Sweep first"),
        (["--finish=first"], "--finish is out of range; got 'first'; expected best, or the number of a trial"),
        (["--finish=best", "--workers=2"], "--workers is not read with --finish; got 2"),
        (["--init_only=decoder"], "--init_only is not read without --init_from"),
        (["--init_from=nowhere"], "--init_from=nowhere: .*nowhere does not exist"),
    ],
)
def test_a_mistake_writes_nothing(flags, message, tmp_path):
    with pytest.raises(UserError, match=message):
        sweep.main([RECIPE, f"--workdir={tmp_path}/w", "--config.training.steps=20", *flags])
    assert not (tmp_path / "w").exists()


@pytest.mark.more
def test_a_sweep_starts_from_a_run_and_its_best_trial_goes_on_from_python(tmp_path):
    steps = {"training.steps": 4, "optimizer.schedule": "constant"}
    origin = api.train(recipe(), steps, workdir=tmp_path / "origin", progress=False)
    space = {"optimizer.learning_rate": [1e-5, 1e-6]}
    begin = {"init_from": tmp_path / "origin@last", "init_skip": ["decoder.final_norm"]}
    found = api.sweep(recipe(), space, steps, workdir=tmp_path / "s", progress=False, **begin, keep="all")
    run = found.best()
    before, after = (one.params["embedding"]["table"] for one in (origin, run))
    assert abs(before - after).max() < 1e-3, "the trial did not start from the run"
    record = json.loads((run.workdir / "config.json").read_text())["origin"]
    assert (record["step"], record["skip"]) == (4, ["decoder.final_norm"])

    with pytest.warns(UserWarning, match="the run goes on to the bit"):
        finished = found.finish(steps=6, progress=False)
    assert found.finish(steps=6, trial="best", progress=False).step == 6
    assert (finished.step, finished.workdir.parent) == (6, tmp_path / "s" / "finished")
    assert finished.config.optimizer.learning_rate == run.config.optimizer.learning_rate
    with pytest.raises(UserError, match="exists with another init_from"):
        api.sweep(recipe(), space, steps, workdir=tmp_path / "s", progress=False, init_from=found.best().workdir)
    with pytest.raises(UserError, match="exists with another init_from"):
        api.sweep(recipe(), space, steps, workdir=tmp_path / "s", progress=False)
    alone = api.train(
        recipe(), {**steps, "optimizer.learning_rate": 1e-6}, workdir=tmp_path / "alone", progress=False, **begin
    )
    assert abs(alone.params["embedding"]["table"] - before).max() < 1e-3


@pytest.mark.more
@pytest.mark.usefixtures("fused_as_users_have_it")
def test_the_trials_of_a_sweep_go_on_to_the_bits_of_longer_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "draw_run", lambda _: {})
    common = [RECIPE, f"--workdir={tmp_path}/s", "--heartbeat=5", "--config.optimizer.schedule=constant"]
    assert sweep.main(common) == 0
    capsys.readouterr()
    kept = [path.parent for path in sorted((tmp_path / "s" / "trials").glob("*/checkpoints"))]
    best = json.loads((tmp_path / "s" / "results.jsonl").read_text().splitlines()[0])
    other = next(point for point in (0, 1) if point != best["point"])

    longer = [*common, "--config.training.steps=12"]
    found = {}
    for trial in ("best", str(other)):
        assert sweep.main([*longer, f"--finish={trial}"]) == 0
        out = capsys.readouterr().out
        expected = "as if that had been given from the start" if trial == "best" else "it is trained from the start"
        assert expected in out
        (found[trial],) = set((tmp_path / "s" / "finished").glob("[0-9]*")) - set(found.values())
    assert found["best"].name in [path.name for path in kept]
    assert all(steps_in(path / "checkpoints")[-1] == 8 for path in kept)

    whole = tmp_path / "whole"
    for name, path in found.items():
        number, _, seed = path.name.partition("-seed")
        rate = (1e-3, 1e-2)[int(number)]
        given = {"training.steps": 12, "optimizer.learning_rate": rate, "seed": int(seed), "data.seed": 0}
        given["optimizer.schedule"] = "constant"
        api.train(Path(RECIPE.partition("=")[2]), given, workdir=whole / name, progress=False)
        ours, theirs = (read_arrays(folder / "checkpoints" / "12") for folder in (path, whole / name))
        assert all((ours[one] == theirs[one]).all() for one in theirs)

    assert sweep.main([*longer, "--finish=best"]) == 0
    assert "Finished already at step 12 of 12" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"has as many steps already; got training\.steps 8"):
        sweep.main([*common, "--config.training.steps=8", "--finish=best"])
    with pytest.raises(UserError, match="no trial of this number has ended; got 5; expected best, or one of 0, 1"):
        sweep.main([*longer, "--finish=5"])
    with pytest.raises(UserError, match="was made with another config"):
        sweep.main([*longer, "--finish=best", "--config.training.batch_size=8"])


@pytest.mark.more
def test_a_trial_whose_sizes_follow_the_data_goes_on_with_those_that_it_has(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "draw_run", lambda _: {})
    given = tiny_flags("classify", write_files(tmp_path), data__num_buckets="1", training__output__tensorboard="false")
    common = ["--config=configs/classify.py", "--sweep.optimizer.learning_rate=1e-3,1e-2", f"--workdir={tmp_path}/s"]
    common += ["--heartbeat=5", *(f"--config.{name}={text}" for name, text in given.items())]
    assert sweep.main([*common, "--config.training.steps=20"]) == 0
    best = json.loads((tmp_path / "s" / "results.jsonl").read_text().splitlines()[0])["point"]
    for trial, steps in (("best", 30), (str(1 - best), 40)):  # the other from the start
        capsys.readouterr()
        assert sweep.main([*common, f"--config.training.steps={steps}", f"--finish={trial}"]) == 0
        (line,) = re.findall(r"sizes from the data .*?\.(?= )", " ".join(capsys.readouterr().out.split()))
        assert "as the run has them: model.dropout=0.2, training.output.evaluate_every=2" in line
    finished = [json.loads(path.read_text())["config"] for path in (tmp_path / "s" / "finished").glob("*/config.json")]
    assert sorted(config["training"]["steps"] for config in finished) == [30, 40]
    assert [config["optimizer"]["warmup_steps"] for config in finished] == [2, 2]

    labels = tmp_path / "labels.tsv"
    before = labels.read_text()
    labels.write_text(before + "l0\ta text that was added\n")
    with pytest.raises(UserError, match="was made with other data"):
        sweep.main([*common, "--config.training.steps=50", "--finish=best"])
    labels.write_text(before)

    space, overrides = {"optimizer.learning_rate": [1e-3, 1e-2]}, settings_of(given, 10)
    with pytest.warns(UserWarning, match="sizes from the data"):
        found = api.sweep("classify", space, overrides, workdir=tmp_path / "api", progress=False)
    with pytest.warns(UserWarning, match=r"training.steps was 10 and is 20"):
        run = found.finish(steps=20, progress=False)
    assert (run.step, run.config.optimizer.warmup_steps, run.config.training.output.evaluate_every) == (20, 1, 1)


def settings_of(given: dict, steps: int) -> dict:
    """The values of flags, and a number of steps."""
    leaves = schema.settings(settings.Config)
    return {name: schema.parse(text, leaves[name]) for name, text in given.items()} | {"training.steps": steps}
