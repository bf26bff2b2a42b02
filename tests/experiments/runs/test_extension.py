"""Claims about runs that go on to other numbers of steps: to the bit where the schedule allows it, else with a line."""

import functools
import json
import shutil
from pathlib import Path

import pytest

from experiments import api, settings, train
from experiments.runs import report
from experiments.runs.extension import extend, same_rates
from experiments.runs.open_run import open_run
from experiments.runs.stored_config import stored_config
from experiments.storage.checkpoint_format import read_arrays
from experiments.storage.metrics import read
from experiments.storage.retention import steps_in
from experiments.training.schedules import SCHEDULES
from tests.fixtures.stored_run import make_run, pairs, put_setting
from tests.fixtures.tiny_recipes import tiny_flags, write_files
from tests.fixtures.tiny_sweep import recipe
from transformer.errors import UserError

SAME = {"constant": 90, "inverse_sqrt": 90, "wsd": 81, "linear": 11, "cosine": 11}
"""Number of first updates, of 90, whose rates are those of a run twice as long; warm-up is of 10 steps."""


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_rates_of_a_longer_run_are_the_same_until_the_schedule_reads_the_number_of_steps(schedule):
    given = {"optimizer.schedule": schedule, "optimizer.warmup_steps": "10", "training.steps": "200"}
    config, _ = settings.resolve(settings.defaults(), given.items())
    assert same_rates(config, 100, 200, 90) == SAME[schedule]
    assert same_rates(config, 200, 100, 90) == SAME[schedule]
    assert same_rates(config, 100, 200, 5) == 5


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A run of 4 steps with checkpoints of steps 1 and 2."""
    folder = tmp_path_factory.mktemp("stored")
    make_run(folder / "run", pairs(folder / "pairs.tsv"))
    return folder / "run"


@pytest.fixture
def run(stored, tmp_path):
    """A copy of it without warm-up."""
    shutil.copytree(stored, tmp_path / "run")
    put_setting(tmp_path / "run", "optimizer.warmup_steps", 0)
    return tmp_path / "run"


def extended(run: Path, new: int, schedule: str = "constant", **optimizer) -> tuple[dict, list[str]]:
    """The record of the extension from 4 steps, and the lines about it."""
    for name, value in {"schedule": schedule, **optimizer}.items():
        put_setting(run, f"optimizer.{name}", value)
    config, printed = stored_config(run)[0], []
    return extend(run, config, printed.append, {"training.steps": (4, new)}), printed


@pytest.mark.parametrize("schedule", ["constant", "inverse_sqrt"])
def test_a_schedule_that_reads_no_number_of_steps_goes_on_to_the_bit(run, schedule):
    record, (line,) = extended(run, 8, schedule)
    assert record == {"step": 2, "training.steps": [4, 8], "to_the_bit": True}
    assert "training.steps was 4 and is 8" in line
    assert "goes on to the bit" in line


@pytest.mark.parametrize(("schedule", "before", "after"), [("linear", 0.775, 0.8875), ("cosine", 0.8682, 0.9657)])
def test_another_schedule_goes_on_with_a_line_about_the_rate_before_and_after(run, schedule, before, after):
    record, (line,) = extended(run, 16, schedule, learning_rate=1.0)
    assert record == {"step": 2, "training.steps": [4, 16], "to_the_bit": False}
    assert f"the learning rate is {before} before step 2 and {after} after it" in line
    assert "no checkpoint" not in line


def test_a_run_goes_back_to_before_its_decay_and_keeps_its_end_as_a_run(run):
    record, printed = extended(run, 8, "wsd", decay_fraction=0.999)
    assert record == {"step": 1, "training.steps": [4, 8], "to_the_bit": True}
    assert "goes back to its checkpoint of step 1" in printed[0]
    assert steps_in(run / "checkpoints") == [1]
    assert not (run / "checkpoints" / "checksums" / "2.json").exists()
    ended = open_run(str(run / "ended" / "4"), "last")
    assert (ended.step, ended.experiment.config.training.steps) == (2, 4)
    assert [line["step"] for line in read(run / "ended" / "4")] == [1, 1, 2, 2]
    assert open_run(str(run), "last").step == 1


def test_without_a_checkpoint_before_the_decay_a_run_goes_on_from_its_end_with_a_line(run):
    shutil.rmtree(run / "checkpoints" / "1")
    record, (line,) = extended(run, 8, "wsd", decay_fraction=0.999)
    assert (record["step"], record["to_the_bit"]) == (2, False)
    assert "no checkpoint before the decay is kept" in line
    assert steps_in(run / "checkpoints") == [2]


def test_a_damaged_checkpoint_before_the_decay_is_none_to_go_back_to(run):
    file = next(path for path in (run / "checkpoints" / "1" / "state").rglob("*") if path.is_file())
    file.write_bytes(b"")
    assert not extended(run, 8, "wsd", decay_fraction=0.999)[0]["to_the_bit"]


def test_fewer_steps_than_are_trained_are_refused_and_more_are_not(run):
    with pytest.raises(UserError, match=r"training.steps; got 2; expected more than 2, the step of its newest"):
        extended(run, 2)
    assert extended(run, 3)[0]["step"] == 2


def test_patience_can_only_grow_and_steps_do_not_continue_what_it_has_ended(run):
    config = stored_config(run)[0]
    grown = functools.partial(extend, run, config, print)
    for old, new in ((None, 3), (3, 2)):
        with pytest.raises(UserError, match=rf"training.patience of a run .* got {new}"):
            grown({"training.patience": (old, new)})
    assert grown({"training.patience": (3, 4)}) == {"step": 2, "training.patience": [3, 4]}

    file = next((run / "checkpoints" / "2" / "extra").rglob("metadata"))
    record = json.loads(file.read_text())
    record["extra"]["early_stopping"] |= {"stopped": True, "since": 3}
    del record["crc"]
    file.write_text(json.dumps(record))
    shutil.rmtree(run / "checkpoints" / "checksums")
    (run / "checkpoints" / "2" / "checksums.json").unlink()
    put_setting(run, "training.patience", 3)
    with pytest.raises(UserError, match=r"ended by training.patience = 3 at step 2.*above 3 too"):
        extended(run, 8)


@pytest.mark.more
@pytest.mark.parametrize("schedule", ["constant", "wsd"])
def test_a_run_that_is_made_longer_ends_with_the_bits_of_one_that_was_as_long_from_the_start(
    tmp_path, monkeypatch, schedule
):
    monkeypatch.setattr(report, "draw_run", lambda _: {})
    given = {"optimizer.schedule": schedule, "training.output.evaluate_every": "3"}
    given |= {"optimizer.decay_fraction": "0.5"} if schedule == "wsd" else {}

    def trained(name: str, steps: int) -> dict:
        config, notes = settings.resolve(recipe(), [*given.items(), ("training.steps", str(steps))])
        assert report.train_and_report(config, tmp_path / name, notes, ["experiments.train"]) == 0
        return read_arrays(tmp_path / name / "checkpoints" / str(steps))

    trained("longer", 6)
    longer, whole = trained("longer", 10), trained("whole", 10)
    assert longer.keys() == whole.keys()
    assert all((longer[name] == whole[name]).all() for name in whole)


@pytest.mark.more
def test_a_run_whose_sizes_follow_the_data_is_made_longer_with_the_warm_up_that_it_has(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "draw_run", lambda _: {})
    given = tiny_flags("text_to_text", write_files(tmp_path))
    del given["tokenizer.vocab_size"]
    words = ["--config=configs/text_to_text.py", f"--workdir={tmp_path}/run"]
    words += [f"--config.{name}={text}" for name, text in given.items()]
    assert train.main([*words, "--config.training.steps=20"]) == 0
    assert "A flag takes the place of any of them." in capsys.readouterr().out
    for more, step in ((["--config.training.steps=30"], 30), ([], 30)):
        assert train.main([*words, *more]) == 0
        assert "optimizer.warmup_steps=2." in " ".join(capsys.readouterr().out.split())
        assert steps_in(tmp_path / "run" / "checkpoints")[-1] == step
    config = stored_config(tmp_path / "run")[0]
    assert (config.training.steps, config.training.output.evaluate_every, config.optimizer.warmup_steps) == (30, 2, 2)
    overrides = {"data": config.data, "model": config.model, "training.batch_size": config.training.batch_size}
    with pytest.warns(UserWarning, match="as the run has them: .*training.steps=30"):
        assert api.train("text_to_text", overrides, workdir=tmp_path / "run", progress=False).step == 30

    source, target = tmp_path / "source.txt", tmp_path / "target.txt"
    for path in (source, target):  # words for which the rule has another dropout
        path.write_text(path.read_text() * 30)
    with pytest.raises(UserError, match="was made with other data: the names or the content of the files have changed"):
        train.main([*words, "--config.training.steps=40"])
