"""Trials as lanes from start to end: each as its own run would be, resumed, halved, written out."""

import json
import math
import signal

import jax
import numpy as np
import pytest

from experiments.runs.report import train_and_report
from experiments.storage import metrics
from experiments.storage.bitwise import first_difference, read_saved
from experiments.sweeping.groups import grouped
from experiments.sweeping.keeping import export
from experiments.sweeping.lanes import row
from experiments.sweeping.ranking import rungs
from experiments.training.signals import StopRequest
from tests.fixtures.tiny_sweep import STEPS, make_trials, programs_of, run_lanes
from transformer.errors import UserError

pytestmark = pytest.mark.usefixtures("fused_as_users_have_it")

POINTS = [
    {"seed": "0"},
    {"seed": "1", "optimizer.learning_rate": "1e-2", "model.dropout": "0"},
    {"seed": "2", "optimizer.weight_decay": "0"},
]


def lines(workdir):
    return [{k: v for k, v in line.items() if k != "seconds"} for line in metrics.read(workdir)]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("swept")
    trials, compiled = make_trials(folder, POINTS), []
    result = run_lanes(trials, folder, programs_of(trials[0], count=lambda *key: compiled.append(key)))
    return trials, result, compiled


def test_trials_that_differ_in_hyperparameters_alone_are_one_group(tmp_path):
    points = [*POINTS, {"model.width": "8"}, {"model.width": "16"}, {"model.dropout": "none"}, {"training.steps": "4"}]
    sizes = [len(group) for group in grouped(make_trials(tmp_path, points), shared=True)]
    assert sizes == [4, 1, 1, 1]
    points = [{"seed": "0", "data.seed": "1"}, {"seed": "0", "data.seed": "2"}, {"seed": "5", "data.seed": "2"}]
    trials = make_trials(tmp_path, points, data_seed=None)
    assert [len(group) for group in grouped(trials, shared=True)] == [1, 2]
    assert [len(group) for group in grouped(trials, shared=False)] == [3]


def test_an_exported_lane_is_the_working_directory_of_its_solo_run(swept, tmp_path):
    trials, result, _ = swept
    export(result.lanes[1], row(result.last, 1), row(result.best, 1), "cpu")
    train_and_report(trials[1].experiment.config, tmp_path / "solo", [], ["experiments.train"])
    lane, solo = (read_saved(path, STEPS, path.name) for path in (trials[1].workdir, tmp_path / "solo"))
    assert len(solo.lines) > 4
    assert first_difference(lane, solo) is None
    configs = [json.loads((p / "config.json").read_text())["config"] for p in (trials[1].workdir, tmp_path / "solo")]
    assert configs[0] == configs[1]


def test_one_program_compiles_for_a_group_and_a_number_of_lanes(swept):
    _, result, compiled = swept
    assert [key[0] for key in compiled] == [-(-len(POINTS) // jax.device_count()) * jax.device_count()]
    assert [lane.status for lane in result.lanes] == ["finished"] * 3


def test_the_best_state_is_that_of_the_best_evaluation(swept):
    _, result, _ = swept
    for i, lane in enumerate(result.lanes):
        step, score = lane.best
        assert score == min(value for _, value in lane.curve)
        assert int(row(result.best, i).step) == step


@pytest.mark.more
def test_lanes_that_were_stopped_go_on_to_the_same_bits(swept, tmp_path):
    _, whole, _ = swept
    trials = make_trials(tmp_path, POINTS)
    first = run_lanes(trials, tmp_path, stop=StopAfter(5))
    assert [lane.status for lane in first.lanes] == ["running"] * 3
    again = run_lanes(make_trials(tmp_path, POINTS), tmp_path)
    for one, other in zip(jax.tree.leaves(again.last), jax.tree.leaves(whole.last), strict=True):
        np.testing.assert_array_equal(one, other)
    for trial, before in zip(trials, swept[0], strict=True):
        assert lines(trial.workdir) == lines(before.workdir)


class StopAfter(StopRequest):
    """A request to stop that comes after this many reads of it."""

    def __init__(self, reads):
        self._reads = reads

    @property
    def received(self):
        self._reads -= 1
        return signal.SIGTERM if self._reads < 0 else None

    @received.setter
    def received(self, value):
        pass


@pytest.mark.more
def test_a_progress_line_has_the_mean_loss_over_the_lanes_of_the_step_that_it_names(tmp_path):
    points = [{"training.output.log_every": "1", "seed": str(seed)} for seed in range(2)]
    trials, shown = make_trials(tmp_path, points), {}
    run_lanes(trials, tmp_path, show=lambda now: shown.update({now.step: now.loss}))
    written = [
        {line["step"]: line["continuation_loss"] for line in lines(t.workdir) if line["split"] == "train"}
        for t in trials
    ]
    assert sorted(shown) == sorted(written[0]) == list(range(1, STEPS + 1))
    for step, loss in shown.items():
        assert loss == pytest.approx(np.mean([own[step] for own in written]), rel=1e-6)


@pytest.mark.more
def test_halving_stops_the_worse_half_and_shrinks_the_program(tmp_path):
    points = [{"optimizer.learning_rate": str(rate)} for rate in (1e-9, 1e-2, 1e-9, 1e-2)]
    trials, compiled = make_trials(tmp_path, points), []
    printed = []
    result = run_lanes(
        trials,
        tmp_path,
        programs_of(trials[0], count=lambda *key: compiled.append(key)),
        halvings=1,
        print_line=printed.append,
    )
    assert [lane.status for lane in result.lanes] == ["halved", "finished", "halved", "finished"]
    assert [lane.step for lane in result.lanes] == [4, STEPS, 4, STEPS]
    assert len({key[0] for key in compiled}) == len(compiled) == 2
    assert "step 4: 2 of 4 trials stop, the worse half" in printed
    alone = run_lanes(make_trials(tmp_path / "alone", points[1:2]), tmp_path / "alone")
    for one, other in zip(jax.tree.leaves(row(result.last, 1)), jax.tree.leaves(row(alone.last, 0)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.more
def test_a_lane_that_diverges_is_reported_and_the_others_finish(tmp_path):
    printed = []
    points = [{"optimizer.learning_rate": "1e6", "training.initial_scale": "1e6"}, {}]
    trials = make_trials(tmp_path, points)
    result = run_lanes(trials, tmp_path, print_line=printed.append)
    assert [lane.status for lane in result.lanes] == ["diverged", "finished"]
    assert any("trial 0, seed 0 has diverged: its loss or gradient is not finite at step" in line for line in printed)
    assert result.lanes[0].outcome()["score"] is None
    last = lines(trials[0].workdir)[-1]
    assert f"not finite at step {last['step']}" in "".join(printed)
    assert not math.isfinite(float(last["gradient_norm"]))
    alone = run_lanes(make_trials(tmp_path / "alone", points[1:]), tmp_path / "alone")
    assert lines(trials[1].workdir) == lines(tmp_path / "alone" / "trials" / "0000-seed0")
    assert int(alone.last.step[0]) == STEPS


@pytest.mark.more
def test_each_lane_may_learn_from_its_own_data(tmp_path):
    points = [{"seed": "0"}, {"seed": "1"}]
    trials = make_trials(tmp_path, points, data_seed=None)
    assert len(grouped(trials, shared=False)) == 1
    result = run_lanes(trials, tmp_path, shared=False)
    for i in range(2):
        train_and_report(trials[i].experiment.config, tmp_path / "solo" / str(i), [], ["experiments.train"])
        assert lines(trials[i].workdir) == lines(tmp_path / "solo" / str(i))
    assert result.lanes[0].curve != result.lanes[1].curve


def test_rungs_fall_on_evaluations():
    assert rungs(800, 100, 3) == [100, 200, 400]
    assert rungs(1000, 100, 2) == [300, 500]
    assert rungs(100, 10, 0) == []


@pytest.mark.parametrize(("steps", "every", "halvings"), [(100, 100, 1), (100, 50, 2)])
def test_halvings_between_too_few_evaluations_are_an_error(steps, every, halvings):
    with pytest.raises(UserError, match=r"too few evaluations.*evaluate_every"):
        rungs(steps, every, halvings)
