"""The proof of resuming succeeds where it should, fails where it should, and never proves nothing."""

import contextlib
import dataclasses
import io
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from experiments import settings, train
from experiments.comparing import configs
from experiments.runs import verify_resume
from experiments.runs.run_data import write_run_data
from experiments.runs.verify_resume import ATTEMPTS, Trainer, flags_of, next_batches, run_and_kill
from experiments.storage.workdir import open_workdir
from experiments.training import processes
from experiments.training.experiment import set_up
from tests.fixtures.commands import fails
from transformer.errors import UserError

ROOT = Path(__file__).parents[3]
TINY = ROOT / "tests" / "fixtures" / "tiny_recipe.py"


@dataclasses.dataclass
class FakeTrainer:
    """A stand-in for a Trainer: run i saves step `saves[i]`, and prints a line of training."""

    saves: list[int]
    line: str = "Continuing from step {first} of 10 in DIR"
    steps: int = 10
    console: Console = dataclasses.field(default_factory=lambda: Console(file=io.StringIO()))
    started: list[Path] = dataclasses.field(default_factory=list)

    def run(self, workdir: Path, doing: str, until: int) -> int:
        first = max((int(p.name) for p in workdir.glob("checkpoints/*")), default=0)
        step = self.saves[len(self.started)]
        self.started.append(workdir)
        (workdir / "checkpoints" / str(step)).mkdir(parents=True)
        workdir.with_suffix(".log").write_text(self.line.format(first=first))
        return step


def test_a_run_that_ended_before_it_was_killed_is_not_taken_for_one_that_was(tmp_path):
    trainer = FakeTrainer([10, 10, 6, 10])
    killed, workdir = run_and_kill(trainer, tmp_path, 5)
    assert killed == 6
    assert trainer.started[2:] == [workdir, workdir]
    assert len(set(trainer.started)) == 3


def test_a_run_that_never_can_be_killed_in_time_is_an_error(tmp_path):
    with pytest.raises(UserError, match="Make --verify_steps larger"):
        run_and_kill(FakeTrainer([10] * ATTEMPTS), tmp_path, 5)


def test_a_run_that_starts_anew_proves_nothing(tmp_path):
    with pytest.raises(UserError, match="did not continue from step 5; got Starting at step 0"):
        run_and_kill(FakeTrainer([5, 10], "Starting at step 0 of 10 in DIR"), tmp_path, 5)


TRAINING = """
import pathlib, time
print("step 3/20  loss 4.2", flush=True)
while not pathlib.Path({shown!r}).exists():
    time.sleep(0.001)
pathlib.Path({workdir!r}, "checkpoints", "20").mkdir(parents=True)
time.sleep(60)
"""


class Shown(io.StringIO):
    """An output that makes a file once something is written, for which the process that trains waits."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def write(self, text):
        if text.strip():
            self.path.touch()
        return super().write(text)


def test_progress_is_shown_while_a_run_trains_and_the_run_ends_with_the_goal(tmp_path, monkeypatch):
    script = TRAINING.format(workdir=str(tmp_path / "run"), shown=str(tmp_path / "shown"))

    @contextlib.contextmanager
    def child(_, log):
        with processes.child([sys.executable, "-c", script], log) as process:
            while not log.read_text():  # a slow machine takes its time to start it
                time.sleep(0.001)
            yield process

    monkeypatch.setattr(verify_resume, "child", child)
    monkeypatch.setattr(verify_resume, "LINE_SECONDS", 0.1)
    console = Console(file=Shown(tmp_path / "shown"))
    assert Trainer(["--config=x.py"], 20, console).run(tmp_path / "run", "at once, 20 steps", 20) == 20
    first, *_, last = console.file.getvalue().splitlines()
    assert re.fullmatch(r"at once, 20 steps, \d+ s: step 3/20  loss 4\.2", first)
    assert re.fullmatch(r"at once, 20 steps: \d+ s, killed with checkpoint 20 complete", last)


@pytest.mark.parametrize("n", [1, 3, 10, 12])
def test_step_n_stands_between_two_lines_of_metrics_and_has_a_checkpoint(n):
    flags = flags_of(str(TINY), [("training.steps", "500"), ("training.ema_decay", "0.5")], n)
    values = dict(flag.removeprefix("--config.").split("=") for flag in flags)
    assert n % int(values["training.output.log_every"])
    assert values["training.output.evaluate_every"] == str(n)
    assert values["training.steps"] == str(2 * n)
    assert values["training.ema_decay"] == "0.5"
    assert values["decoding.max_new_tokens"] == "1"


def test_what_a_flag_gives_is_kept_and_what_is_not_read_is_left_out():
    flags = flags_of(str(TINY), [("decoding.max_new_tokens", "4")], 5)
    assert "--config.decoding.max_new_tokens=4" in flags
    files = [("data.source", "files"), ("data.path", "no_file.tsv")]
    assert not [flag for flag in flags_of(str(TINY), files, 5) if "evaluation_examples" in flag]


def test_a_mistake_in_the_settings_is_an_error_before_anything_runs():
    with pytest.raises(UserError, match=r"model\.widht"):
        flags_of(str(TINY), [("model.widht", "4")], 5)


def test_the_next_batches_are_those_of_the_step_and_the_seed(tmp_path):
    found = {}
    for name, overrides in {"one": [], "same": [], "other": [("seed", "1")]}.items():
        config, _ = settings.resolve(settings.load_recipe(str(TINY)), overrides)
        experiment = set_up(config)
        stored = settings.to_json_dict(experiment.config)
        open_workdir(tmp_path / name, stored, differences=configs.differences, devices="none").close()
        write_run_data(tmp_path / name, experiment.task)
        found[name] = [next_batches(tmp_path / name, step) for step in (4, 5)]
    assert found["one"] == found["same"]
    assert len({*found["one"], *found["other"]}) == 4


def prove(*flags: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "experiments.train", f"--config={TINY}", "--verify_resume", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800)


COMBINED = {
    "parts and an average": [],
    "windows of text, early stopping": [
        "--config.task.name=language_modelling",
        "--config.data.source=source_code",
        "--config.model.architecture=decoder_only",
        "--config.task.context=16",
        "--config.training.patience=1",
    ],
    "muon": ["--config.optimizer.name=muon", "--config.training.accumulation=1", "--config.training.ema_decay=none"],
}


@pytest.mark.full
@pytest.mark.parametrize("what", COMBINED)
def test_a_killed_run_ends_with_the_same_bits(what):
    result = prove("--verify_steps=4", *COMBINED[what])
    assert result.returncode == 0, result.stdout + result.stderr
    assert "the same bits at step 8" in result.stdout
    assert "seed 0, step 8" in result.stdout


@pytest.mark.full
def test_a_run_that_is_another_in_each_process_fails_with_the_first_line_that_differs():
    score = "--config.model.score=tests.fixtures.own_scores_unrepeatable:of_this_process"
    result = prove("--verify_steps=4", score, "--config.data.num_buckets=1", "--config.model.dropout=none")
    assert result.returncode == 1, result.stdout + result.stderr
    assert "not the same bits" in result.stdout
    assert "metrics.jsonl, line 1 (step 3, train)" in result.stdout


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--workdir=runs/x"], "expected none, since --verify_resume trains in a temporary one"),
        (["--verify_steps=0"], "from 1 to 2^30 - 1"),
        (["--config.model.widht=3"], "Did you mean model.width?"),
    ],
)
def test_a_mistake_gets_one_line(flags, message, capsys):
    error = fails(train.main, [f"--config={TINY}", "--verify_resume", *flags], capsys)
    assert message in error
    assert len(error.splitlines()) == 1
