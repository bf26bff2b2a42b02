"""A run that is killed and started again equals one that never was killed, bit for bit; a signal saves the run."""

import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from experiments import settings
from experiments.storage.checkpoints import Checkpoints
from tests.fixtures.processes import RECIPE, SELDOM, events, finish, lines, newest, start, train_here, wait_until

pytestmark = [pytest.mark.more, pytest.mark.usefixtures("shapes_once", "without_pictures")]

STEPS = 60
QUICK = ("data.num_buckets=1", "model.architecture=decoder_only")
"""Fewer and smaller programs to compile: batches of one shape, one stack; `test_kills` has two stacks."""
QUICK_FLAGS = [f"--config.{setting}" for setting in QUICK]


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


@pytest.fixture(scope="module")
def quick(tmp_path_factory) -> Path:
    """A run of few and small programs."""
    workdir = tmp_path_factory.mktemp("quick") / "run"
    train_here(workdir, *QUICK_FLAGS, SELDOM)
    return workdir


def test_killed_with_sigkill_and_run_again_equals_never_killed(quick, tmp_path, capsys):
    workdir = tmp_path / "run"
    process = start(workdir, *QUICK_FLAGS)
    wait_until(process, lambda: newest(workdir) >= 1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    train_here(workdir, *QUICK_FLAGS, SELDOM)
    assert "Continuing from step" in capsys.readouterr().out.splitlines()[0]
    there, here = arrays(quick, *QUICK), arrays(workdir, *QUICK)
    assert there.keys() == here.keys()
    assert any("average" in name for name in here)
    assert any("optimizer" in name for name in here)
    for name in there:
        assert there[name].tobytes() == here[name].tobytes(), name
    assert lines(workdir) == lines(quick)
    assert events(workdir) == events(quick) != []


def test_a_finished_run_is_not_trained_again(quick):
    before = lines(quick)
    assert "Finished already" in finish(quick, *QUICK_FLAGS, SELDOM).splitlines()[0]
    assert lines(quick) == before
    assert [line["split"] for line in before if line["step"] == STEPS] == ["train", "validation", "test"]


def test_a_damaged_newest_checkpoint_is_passed_over(quick, tmp_path, capsys):
    workdir = tmp_path / "run"
    subprocess.run(["cp", "-r", str(quick), str(workdir)], check=True)
    newest = workdir / "checkpoints" / str(STEPS)
    before = max(int(path.name) for path in newest.parent.iterdir() if path.name.isdigit() and path != newest)
    largest = max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:100])
    capsys.readouterr()
    train_here(workdir, *QUICK_FLAGS, SELDOM)
    output = capsys.readouterr().out
    assert output.splitlines()[0].startswith(f"Continuing from step {before} of {STEPS} ")
    assert f"checkpoint {STEPS} is damaged" in output
    assert lines(workdir) == lines(quick)


def test_another_config_in_the_same_directory_is_refused_with_what_differs(quick, capsys):
    before = {p: p.read_bytes() for p in quick.rglob("*") if p.is_file()}
    train_here(quick, *QUICK_FLAGS, "--config.optimizer.learning_rate=0.5", code=2)
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "optimizer.learning_rate" in error
    assert "0.001 -> 0.5" in error
    assert {p: p.read_bytes() for p in quick.rglob("*") if p.is_file()} == before


def test_settings_that_change_no_result_may_differ_on_resume(quick, tmp_path, capsys):
    workdir = tmp_path / "run"
    subprocess.run(["cp", "-r", str(quick), str(workdir)], check=True)
    train_here(workdir, *QUICK_FLAGS, "--config.model.unroll=true", "--config.training.output.keep_last=3")
    assert "Finished already" in capsys.readouterr().out


def test_two_runs_in_one_directory_the_second_refuses(tmp_path):
    workdir = tmp_path / "run"
    first = start(workdir, *QUICK_FLAGS)
    while not (workdir / "config.json").exists():
        assert first.poll() is None
        time.sleep(0.05)
    error = finish(workdir, *QUICK_FLAGS, code=2)
    assert error.startswith("error: ")
    assert f"process {first.pid}" in error
    assert "Traceback" not in error
    first.send_signal(signal.SIGKILL)
    first.communicate()


def test_a_loss_that_is_not_finite_stops_the_run_before_anything_bad_is_saved(tmp_path):
    workdir = tmp_path / "run"
    flags = (
        *QUICK_FLAGS,
        "--config.optimizer.name=sgd",
        "--config.optimizer.learning_rate=1e6",
        "--config.training.initial_scale=1e6",
        "--config.optimizer.warmup_steps=0",
        "--config.optimizer.clip_norm=none",
    )
    output = finish(workdir, *flags, code=1)
    assert "Traceback" not in output
    error = next(line for line in output.splitlines() if line.startswith("error: "))
    assert "step 2: not finite: loss and gradient norm" in error
    assert "learning rate" in error
    assert "checkpoint" in error
    saved = [int(p.name) for p in (workdir / "checkpoints").glob("[0-9]*") if p.name.isdecimal()]
    assert max(saved, default=0) <= 1
    for line in lines(workdir) if (workdir / "metrics.jsonl").exists() else []:
        assert all(np.isfinite(value) for value in line.values() if not isinstance(value, str))
