"""The loop beside the bare update: a checkpoint in each round, the same batches, nothing left behind."""

import tempfile
from pathlib import Path

import pytest

from experiments import settings
from experiments.benchmarks import loop_overhead
from experiments.storage.checkpoints import Checkpoints
from experiments.training.experiment import Experiment, set_up
from experiments.training.loop import batch_size_of

RECIPE = Path(__file__).parents[2] / "fixtures" / "tiny_recipe.py"


@pytest.fixture(scope="module")
def experiment():
    overrides = {"training.accumulation": "1", "data.num_buckets": "1", "training.ema_decay": "none"}
    overrides |= {"model.architecture": "decoder_only", "model.dropout": "none"}  # the quickest to compile
    return set_up(settings.resolve(settings.load_recipe(RECIPE), overrides.items())[0])


def test_the_loop_saves_in_the_middle_of_each_round_on_the_batches_of_the_bare_update(
    experiment, tmp_path, monkeypatch
):
    saved, read, compiled = [], [], []
    real_save, real_batches, real_update = Checkpoints.save, type(experiment.task).training_batches, Experiment.update

    def save(self, step, *rest):
        saved.append(step)
        return real_save(self, step, *rest)

    def training_batches(self, start=0):
        read.append(start)
        return real_batches(self, start)

    def update(self):
        compiled.append(self)
        return real_update(self)

    monkeypatch.setattr(Checkpoints, "save", save)
    monkeypatch.setattr(type(experiment.task), "training_batches", training_batches)
    monkeypatch.setattr(Experiment, "update", update)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    advanced = []
    bare, queued, loop = loop_overhead.time_loop(experiment, rounds=2, every=6, advance=advanced.append)
    assert advanced == [1, 1, 1]
    assert saved == [6, 9, 12, 15, 18, 21]  # in the middle, and at the end, which is not timed
    assert read == [3, 3, 5, 9, 9, 11, 15, 15, 17]
    assert len(compiled) == 1
    assert not list(tmp_path.iterdir())
    assert 0 < bare["least"] <= bare["ms a step"] <= bare["most"]
    assert (bare["part"], queued["part"]) == ("bare update, each waited for", "bare update, one queued")
    assert loop["part"] == "training loop"
    assert ["overhead" in row for row in (bare, queued, loop)] == [False, False, True]


def test_the_overhead_is_the_median_of_the_ratios_of_rounds_to_the_faster_bare_update():
    bare, _, loop = loop_overhead.rows_of({"a": [1.0, 2.0, 6.0], "b": [7.0, 7.0, 4.0]}, [3.0, 3.0, 12.0])
    assert bare["ms a step"] == pytest.approx(2000)
    assert (bare["least"], bare["most"]) == (pytest.approx(1000), pytest.approx(6000))
    assert loop["ms a step"] == pytest.approx(3000)
    assert loop["overhead"] == pytest.approx(1.0)  # of 3 / 1, 3 / 2, 12 / 6


def test_the_bare_update_is_timed_on_the_steps_that_the_marks_of_the_loop_span(experiment, monkeypatch):
    made, ran = loop_overhead.without_end(experiment, 6), []
    state = made.initial_state(made.hyperparameters)

    def update(state, batch, hyperparameters):
        ran.append(batch_size_of(batch)["tokens"])
        return state, None

    monkeypatch.setattr(loop_overhead.CompiledOnce, "update", lambda self: update)
    _, before = loop_overhead._bare(made, state, 3, 6)
    _, after = loop_overhead._bare(made, state, 5, 8)
    tokens = {step: batch_size_of(made.task.batches.at(step))["tokens"] for step in range(3, 8)}
    assert ran == [tokens[step] for step in (3, 4, 5, 3, 4, 5, 5, 6, 7, 5, 6, 7)]
    # The first of each is not timed, so that 4, 5, 6 and 7 are, of a round from 3 to 8.
    assert min(*before.values(), *after.values()) > 0
