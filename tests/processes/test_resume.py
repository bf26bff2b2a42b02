"""A run that is killed and started again equals one that never was killed, bit for bit; a signal saves the run."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from experiments import settings, train
from experiments.cli.flags import run
from experiments.storage.checkpoints import Checkpoints

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "tests" / "fixtures" / "tiny_recipe.py"
STEPS = 60
ONE_SHAPE = "data.num_buckets=1"
"""Fewer programs to compile: of batches of one shape."""


def command(workdir: Path, *flags: str) -> list[str]:
    return [sys.executable, "-m", "experiments.train", f"--config={RECIPE}", f"--workdir={workdir}", *flags]


def start(workdir: Path, *flags: str) -> subprocess.Popen:
    return subprocess.Popen(
        command(workdir, *flags),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def finish(workdir: Path, *flags: str) -> str:
    process = start(workdir, *flags)
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    return output


def arrays(workdir: Path, *settings_given: str) -> dict[str, np.ndarray]:
    """Read the last checkpoint's arrays by name: parameters, optimizer state, averages."""
    import jax

    from experiments.training.experiment import set_up

    given = [tuple(text.split("=")) for text in settings_given]
    config, _ = settings.resolve(settings.load_recipe(str(RECIPE)), given)
    experiment = set_up(config)
    example = jax.eval_shape(experiment.initial_state, experiment.hyperparameters)
    with Checkpoints(workdir / "checkpoints", 2, "exact_match", read_only=True) as checkpoints:
        step, state, _ = checkpoints.restore(example)
    assert step == STEPS
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def lines(workdir: Path) -> list[dict]:
    """Read metrics.jsonl without wall times."""
    found = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in found]


def events(workdir: Path) -> list[tuple]:
    """Read (tag, step, value) of all TensorBoard event files."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in (workdir / "tensorboard").glob("events.out.tfevents.*"):
        data = path.read_bytes()
        at = 0
        while at < len(data):
            length = int.from_bytes(data[at : at + 8], "little")
            event = Event.FromString(data[at + 12 : at + 12 + length])
            found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
            at += 12 + length + 4
    return sorted(found)


def train_here(workdir: Path, *flags: str, code: int = 0) -> None:
    """Trains in this process, which spares the start of another."""
    with pytest.raises(SystemExit) as stop:
        run(train.main, command(workdir, *flags)[3:])
    assert stop.value.code == code


@pytest.fixture(scope="module")
def never_killed(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("never_killed") / "run"
    train_here(workdir)
    return workdir


@pytest.fixture(scope="module")
def quick(tmp_path_factory) -> Path:
    """A run of batches of one shape."""
    workdir = tmp_path_factory.mktemp("quick") / "run"
    train_here(workdir, f"--config.{ONE_SHAPE}")
    return workdir


def kill_at(workdir: Path, step: int, number: int, *flags: str) -> str:
    """Send a signal at a random moment after a checkpoint of `step` or later exists; return the output."""
    process = start(workdir, *flags)
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        found = [int(p.name) for p in (workdir / "checkpoints").glob("[0-9]*") if p.name.isdecimal()]
        if max(found, default=-1) >= step:
            break
        time.sleep(0.01)
    time.sleep(random.Random(step).random() * 0.1)
    process.send_signal(number)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number), output
    return output


def test_killed_with_sigkill_and_run_again_equals_never_killed(quick, tmp_path, capsys):
    killed_and_run_again(quick, tmp_path / "run", capsys, (1,), ONE_SHAPE)


@pytest.mark.more
def test_killed_twice_and_run_again_equals_never_killed(never_killed, tmp_path, capsys):
    killed_and_run_again(never_killed, tmp_path / "run", capsys, (1, 20))


def killed_and_run_again(never_killed, workdir, capsys, steps, *settings_given):
    flags = [f"--config.{text}" for text in settings_given]
    for step in steps:
        kill_at(workdir, step, signal.SIGKILL, *flags)
    train_here(workdir, *flags)
    assert "Continuing from step" in capsys.readouterr().out.splitlines()[0]
    there, here = arrays(never_killed, *settings_given), arrays(workdir, *settings_given)
    assert there.keys() == here.keys()
    assert any("average" in name for name in here)
    assert any("optimizer" in name for name in here)
    for name in there:
        assert there[name].tobytes() == here[name].tobytes(), name
    assert lines(workdir) == lines(never_killed)
    assert events(workdir) == events(never_killed) != []


@pytest.mark.more
def test_sigterm_saves_and_prints_the_command_that_continues(never_killed, tmp_path):
    workdir = tmp_path / "run"
    output = kill_at(workdir, 1, signal.SIGTERM)
    stopped = next(line for line in output.splitlines() if line.startswith("Stopped at step"))
    step = int(stopped.split()[3].rstrip(";"))
    assert (workdir / "checkpoints" / str(step)).is_dir()
    assert f"--config={RECIPE}" in output.splitlines()[-1]
    process = start(workdir)
    assert process.stdout.readline().startswith(f"Continuing from step {step} of {STEPS}")
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 130, output
    assert f"Stopped at step {step + 1}; saved." in output
    finish(workdir)
    assert lines(workdir) == lines(never_killed)


@pytest.mark.more
def test_a_finished_run_is_not_trained_again(never_killed):
    before = lines(never_killed)
    assert "Finished already" in finish(never_killed).splitlines()[0]
    assert lines(never_killed) == before
    assert [line["split"] for line in before if line["step"] == STEPS] == ["train", "validation", "test"]


@pytest.mark.more
def test_a_damaged_newest_checkpoint_is_passed_over(never_killed, tmp_path):
    workdir = tmp_path / "run"
    subprocess.run(["cp", "-r", str(never_killed), str(workdir)], check=True)
    newest = workdir / "checkpoints" / str(STEPS)
    before = max(int(path.name) for path in newest.parent.iterdir() if path.name.isdigit() and path != newest)
    largest = max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:100])
    output = finish(workdir)
    assert output.splitlines()[0].startswith(f"Continuing from step {before} of {STEPS} ")
    assert f"checkpoint {STEPS} is damaged" in output
    assert lines(workdir) == lines(never_killed)


def refused(workdir: Path, *flags: str) -> str:
    result = subprocess.run(command(workdir, *flags), cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert result.returncode == 2, result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    assert result.stderr.startswith("error: ")
    return result.stderr


def test_another_config_in_the_same_directory_is_refused_with_what_differs(quick, capsys):
    before = {p: p.read_bytes() for p in quick.rglob("*") if p.is_file()}
    train_here(quick, f"--config.{ONE_SHAPE}", "--config.optimizer.learning_rate=0.5", code=2)
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "optimizer.learning_rate" in error
    assert "0.001 -> 0.5" in error
    assert {p: p.read_bytes() for p in quick.rglob("*") if p.is_file()} == before


@pytest.mark.more
def test_settings_that_change_no_result_may_differ_on_resume(quick, tmp_path, capsys):
    workdir = tmp_path / "run"
    subprocess.run(["cp", "-r", str(quick), str(workdir)], check=True)
    train_here(workdir, f"--config.{ONE_SHAPE}", "--config.model.unroll=true", "--config.training.output.keep_last=3")
    assert "Finished already" in capsys.readouterr().out


@pytest.mark.more
def test_two_runs_in_one_directory_the_second_refuses(tmp_path):
    workdir = tmp_path / "run"
    first = start(workdir)
    while not (workdir / "config.json").exists():
        assert first.poll() is None
        time.sleep(0.05)
    assert f"process {first.pid}" in refused(workdir)
    first.send_signal(signal.SIGKILL)
    first.communicate()


@pytest.mark.more
def test_a_loss_that_is_not_finite_stops_the_run_before_anything_bad_is_saved(tmp_path):
    workdir = tmp_path / "run"
    flags = (
        "--config.optimizer.learning_rate=1e25",
        "--config.optimizer.warmup_steps=0",
        "--config.optimizer.clip_norm=none",
    )
    result = subprocess.run(command(workdir, *flags), cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "step 2: not finite: loss and gradient norm" in result.stderr
    assert "learning rate" in result.stderr
    assert "checkpoint" in result.stderr
    saved = [int(p.name) for p in (workdir / "checkpoints").glob("[0-9]*") if p.name.isdecimal()]
    assert max(saved, default=0) <= 1
    for line in lines(workdir) if (workdir / "metrics.jsonl").exists() else []:
        assert all(np.isfinite(value) for value in line.values() if not isinstance(value, str))
