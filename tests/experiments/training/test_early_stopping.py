"""Claims about early stopping: when patience ends, and that a run that is stopped and resumed ends at the same step."""

import dataclasses
import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from experiments import settings
from experiments.runs import report
from experiments.storage.checkpoints import Checkpoints
from experiments.storage.metrics import Metrics
from experiments.storage.retention import Retention
from experiments.training import loop
from experiments.training.early_stopping import EarlyStopping
from experiments.training.loop import restore_or_start
from experiments.training.progress import progress
from experiments.training.signals import StopRequest
from experiments.training.update import State

RECIPE = Path(__file__).parents[2] / "fixtures" / "tiny_recipe.py"
NAN = float("nan")


def stops_at(scores: list[float], mode: str, patience: int | None, record_after: int | None = None) -> int | None:
    """The number of the evaluation that ends training; after `record_after` of them, on from a checkpoint's record."""
    early_stopping = EarlyStopping("loss")
    for number, score in enumerate(scores, start=1):
        early_stopping = early_stopping.after(10 * number, score, mode, patience)
        if early_stopping.stopped:
            return number
        if number == record_after:
            record = json.loads(json.dumps(early_stopping.to_record()))
            early_stopping = EarlyStopping.from_record(record, "loss", patience)
    return None


CASES = [
    ([3, 2, 1, 1.5, 1.2, 0.9, 2, 2, 2], "min", 3, 9),
    ([3, 2, 1, 1.5, 1.2, 0.9, 2, 2, 2], "min", 2, 5),
    ([3, 2, 1, 1.5, 1.2, 0.9, 2, 2, 2], "min", None, None),
    ([1, 2, 3, 3, 3], "max", 2, 5),  # equal is not better
    ([3, 2, 1], "max", 2, 3),
    ([NAN, NAN, 1, NAN, 0.5, NAN, NAN], "min", 2, 2),  # NaN is never better, nor what the next is compared with
    ([1, NAN, 0.5, NAN, NAN], "min", 2, 5),
    ([2, 3, 1], "min", 1, 2),
    ([0, 0], "max", 1, 2),
]


@pytest.mark.parametrize(("scores", "mode", "patience", "expected"), CASES)
def test_training_ends_after_so_many_evaluations_in_a_row_without_a_better_one(scores, mode, patience, expected):
    assert stops_at(scores, mode, patience) == expected
    for number in range(1, len(scores)):
        assert stops_at(scores, mode, patience, record_after=number) == expected


def test_another_metric_counts_anew_but_a_stopped_run_stays_stopped_until_it_is_given_more_patience():
    early_stopping = EarlyStopping("loss", best=1.0, best_step=10, since=2)
    assert EarlyStopping.from_record(early_stopping.to_record(), "accuracy", 3) == EarlyStopping("accuracy")
    assert EarlyStopping.from_record(None, "accuracy", 3) == EarlyStopping("accuracy")
    stopped = early_stopping.after(20, 2.0, "min", 3)
    assert EarlyStopping.from_record(stopped.to_record(), "accuracy", 3).stopped
    for patience in (4, None):
        more = EarlyStopping.from_record(stopped.to_record(), "loss", patience)
        assert (more.since, more.stopped) == (3, False)


def test_an_evaluation_between_two_that_count_changes_nothing():
    early_stopping = EarlyStopping("loss", best=1.0, best_step=10, since=2)
    assert early_stopping.after(24, 2.0, "min", 3, every=10) == early_stopping
    assert early_stopping.after(24, 0.5, "min", 3, every=10) == early_stopping
    assert early_stopping.after(30, 2.0, "min", 3, every=10).stopped


class Toy:
    """An experiment whose one parameter counts steps, its average double, so that its scores follow the step."""

    not_finite_at = 0  # the step whose loss is not a number
    placement = None

    def __init__(self, **training: object):
        given = {f"training.{name}": str(value) for name, value in training.items()}
        self.config = settings.resolve(settings.load_recipe(str(RECIPE)), given.items())[0]
        self.model = self.hyperparameters = None
        self.task = SimpleNamespace(
            named=lambda metrics: metrics,
            splits=SimpleNamespace(validation=SCORES, test=SCORES),
        )

    def started(self) -> State:
        return State(jnp.int32(0), {"w": jnp.zeros(())}, (), {"w": jnp.zeros(())})

    @property
    def state_shapes(self) -> State:
        return jax.eval_shape(self.started)

    def training_batches(self, first: int):
        return itertools.repeat({"labels": np.zeros((2, 3))})

    def put(self, batch: dict) -> dict:
        return batch

    def update(self):
        def update(state: State, batch: dict, _: None) -> tuple[State, dict]:
            w = {"w": state.params["w"] + 1}
            names = ("loss", "accuracy", "gradient_norm", "learning_rate", "tokens")
            average = {"w": state.average["w"] + 2}
            metrics = dict.fromkeys(names, state.params["w"])
            metrics["loss"] = jnp.where(state.step + 1 == self.not_finite_at, jnp.nan, metrics["loss"])
            return State(state.step + 1, w, (), average), metrics

        return update


SCORES = {5: 0.1, 10: 0.3, 15: 0.3, 20: 0.2, 25: 0.4, 30: 0.4, 35: 0.1, 40: 0.0, 45: 0.9, 50: 0.9, 55: 0.9, 60: 0.9}
"""Step -> exact match. With a patience of 3 training ends at 40, the best being that of 25."""


def test_evaluations_during_training_draw_by_the_seed_of_the_run(monkeypatch):
    drawn = []
    monkeypatch.setattr(loop, "Evaluation", lambda model, task, decoding, seed=None, **_: drawn.append(seed))
    toy = Toy()
    toy.config = dataclasses.replace(toy.config, seed=7)
    loop.Loop(toy, {}, SimpleNamespace(best_metric="exact_match"), None, StopRequest(), print)
    assert drawn == [7]


class ToyEvaluation:
    def __init__(self, *_: object, **__: object):
        pass

    def score(self, params: dict, scores: dict[int, float]) -> dict[str, float]:
        return {"exact_match": scores.get(int(params["w"]) // 2, 0.0)}  # of the average


def train(toy: Toy, workdir: Path, stop_at: int | None = None) -> tuple[int, list[str]]:
    """A session of the loop that a signal stops after the evaluation of `stop_at`: its last step, the lines printed."""
    printed, stop = [], StopRequest()
    workdir.mkdir(exist_ok=True)

    def print_line(line: str) -> None:
        printed.append(line)
        if line.startswith(f"step {stop_at}:"):
            stop(15, None)

    with (
        Checkpoints(workdir / "checkpoints", Retention(2, averaged=3, every=4), "exact_match") as checkpoints,
        Metrics(workdir) as metrics,
        progress(60, 0, Console(quiet=True)) as shown,
    ):
        state, recent_metrics, early_stopping = restore_or_start(toy, checkpoints, metrics)
        run = loop.Loop(toy, settings.to_json_dict(toy.config), checkpoints, metrics, stop, print_line)
        return int(run.run(state, recent_metrics, early_stopping, shown).step), printed


def lines(workdir: Path) -> list[dict]:
    found = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in found]


def steps(workdir: Path) -> list[int]:
    return sorted(int(p.name) for p in (workdir / "checkpoints").glob("[0-9]*"))


INTERVALS = {"output.evaluate_every": 5, "output.log_every": 7, "output.checkpoint_seconds": 1000}


def test_a_run_out_of_patience_ends_as_the_last_step_does_and_the_same_if_interrupted(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "Evaluation", ToyEvaluation)
    toy = Toy(patience=3, **INTERVALS)
    step, printed = train(toy, tmp_path / "whole")
    assert step == 40
    assert printed[-1] == (
        "Stopping at step 40 of 60: validation exact_match was not better than 0.4 of step 25 in 3 evaluations"
        " (training.patience)"
    )
    written = lines(tmp_path / "whole")
    assert sorted(line["split"] for line in written if line["step"] == 40) == ["test", "train", "validation"]
    assert [line["step"] for line in written if line["split"] == "test"] == [40]
    assert steps(tmp_path / "whole")[-1] == 40

    for stop_at in (10, 30, 35):
        assert train(toy, tmp_path / "parts", stop_at)[0] == stop_at
    assert train(toy, tmp_path / "parts")[0] == 40
    for workdir in (tmp_path / "parts", tmp_path / "whole"):
        assert lines(workdir) == written
        assert train(toy, workdir) == (40, [])  # and is not trained on
        assert lines(workdir) == written


def test_more_patience_or_more_steps_continue_a_run_as_if_they_had_been_given_from_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "Evaluation", ToyEvaluation)
    assert train(Toy(patience=6, **INTERVALS), tmp_path / "whole")[0] == 60
    assert train(Toy(patience=3, **INTERVALS), tmp_path / "patience")[0] == 40
    assert train(Toy(patience=6, **INTERVALS), tmp_path / "patience")[0] == 60
    assert train(Toy(patience=3, steps=33, **INTERVALS), tmp_path / "steps")[0] == 33  # between two evaluations
    assert train(Toy(patience=3, **INTERVALS), tmp_path / "steps")[0] == 40
    ends = {"whole": (60,), "patience": (40, 60), "steps": (33, 40)}
    found = {
        name: [line for line in lines(tmp_path / name) if line["split"] == "validation" and line["step"] != 33]
        for name in ends
    }
    assert found["patience"] == found["whole"]
    assert found["steps"] == [line for line in found["whole"] if line["step"] <= 40]
    for name, steps_of_test in ends.items():
        written = lines(tmp_path / name)
        assert tuple(line["step"] for line in written if line["split"] == "test") == steps_of_test


@pytest.mark.parametrize("step", [20, 23])
def test_a_loss_that_is_not_finite_ends_training_and_nothing_of_it_is_saved(tmp_path, monkeypatch, step):
    monkeypatch.setattr(loop, "Evaluation", ToyEvaluation)
    toy = Toy(**INTERVALS)
    toy.not_finite_at = step
    with pytest.raises(loop.NotFiniteError, match=f"step {step}: not finite: loss"):
        train(toy, tmp_path / "run")
    assert steps(tmp_path / "run")[-1] == step - step % 5 - 5 * (step == 20)
    *before, last = [line for line in lines(tmp_path / "run") if line["split"] == "train"]
    assert all(np.isfinite(line["loss"]) for line in before)
    assert last["step"] == step
    assert not np.isfinite(float(last["loss"]))


def test_checkpoints_to_average_are_saved_at_their_interval_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "Evaluation", ToyEvaluation)
    toy = Toy(patience=3, **INTERVALS | {"output.keep_every": 4})
    train(toy, tmp_path / "whole")
    assert steps(tmp_path / "whole") == [25, 32, 36, 40]  # 25 is the first of the best
    for stop_at in (10, 35, None):
        train(toy, tmp_path / "parts", stop_at)
    assert steps(tmp_path / "parts") == [25, 32, 36, 40]


def test_intervals_decide_what_is_written(tmp_path, monkeypatch):
    """Each interval of `output`: the steps of lines of training, of evaluations, and of checkpoints."""
    monkeypatch.setattr(loop, "Evaluation", ToyEvaluation)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=itertools.count(0.0, 0.01).__next__))
    saved = []
    monkeypatch.setattr(loop.Loop, "_save", lambda run, step, *_: saved.append(step))
    found = {}
    for name, other in (("", 0), ("log_every", 20), ("evaluate_every", 30), ("checkpoint_seconds", 0.001)):
        saved.clear()
        train(Toy(**INTERVALS | ({f"output.{name}": other} if name else {})), tmp_path / f"run_{name}")
        written = lines(tmp_path / f"run_{name}")
        by_split = [[x["step"] for x in written if x["split"] == split] for split in ("train", "validation")]
        found[name] = (*by_split, [*saved])
    before = found[""]
    assert found["log_every"] == ([20, 40, 60], *before[1:])
    assert found["evaluate_every"] == (before[0], [30, 60], [30, 60])
    assert found["checkpoint_seconds"] == (*before[:2], [*range(1, 61)])


@pytest.mark.more
def test_a_command_out_of_patience_is_finished_and_prints_so_again(tmp_path, monkeypatch, capsys):
    """A learning rate that moves nothing: exact match stays what it is at the first evaluation."""
    monkeypatch.setattr(report, "draw_run", lambda *_: {})
    flags = {
        "optimizer.learning_rate": "1e-12",
        "training.patience": "1",
        "training.output.evaluate_every": "1",
        "training.accumulation": "1",
        "model.architecture": "encoder_only",
        "data.num_buckets": "1",
    }
    config, _ = settings.resolve(settings.load_recipe(str(RECIPE)), flags.items())
    for line in ("Stopping at step 2 of 60: validation exact_match", "Finished already at step 2 of 60"):
        assert report.train_and_report(config, tmp_path, [], ["experiments.train"]) == 0
        assert line in capsys.readouterr().out
    assert [line["split"] for line in lines(tmp_path) if line["step"] == 2] == ["validation", "train", "test"]
