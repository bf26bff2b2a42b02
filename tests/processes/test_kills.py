"""Ten kills of trainings and sweeps at random moments: the same command continues, and ends with the same bits.

Commands that do not train end with one line where they are interrupted, and take along the processes they started.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from experiments.storage.bitwise import first_difference, read_saved
from tests.fixtures.processes import (
    RECIPE,
    SELDOM,
    events,
    lines,
    newest,
    start,
    start_command,
    train_here,
    wait_until,
)

pytestmark = [pytest.mark.more, pytest.mark.usefixtures("without_pictures")]

STEPS = 100
FLAGS = (
    f"--config.training.steps={STEPS}",
    "--config.data.num_buckets=1",
    "--config.decoding.max_new_tokens=1",
    "--config.training.output.checkpoint_seconds=0.02",
)
SWEPT = ("--config.training.steps=60", "--config.training.output.evaluate_every=5", "--heartbeat=1", "--keep=all")


def rng_with_seed() -> random.Random:
    """A source of random moments, whose seed is printed where a test fails."""
    seed = int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}")
    return random.Random(seed)


def writing(workdir: Path) -> bool:
    """Return whether a checkpoint is being written."""
    return any("tmp" in path.name for path in (workdir / "checkpoints").glob("*"))


def strike(process: subprocess.Popen, numbers: list[int], rng: random.Random, may_end: bool = False) -> str:
    """Send signals, some of them a random time apart; check the exit code and return the output.

    Args:
        may_end: a command that has done its work before the signal, with exit code 0, is right too.
    """
    for number in numbers:
        process.send_signal(number)
        time.sleep(rng.choice([0.0, 0.01, 0.1, 0.3, 0.6]))
    output = process.communicate(timeout=120)[0]
    expected = -signal.SIGKILL if numbers[-1] == signal.SIGKILL else 128 + numbers[-1]
    if may_end and process.returncode == 0:
        return output
    assert process.returncode == expected, (numbers, output)
    assert "Traceback" not in output
    ended = [line for line in output.splitlines() if line.startswith(("Interrupted by", "Stopped"))]
    assert len(ended) <= 1, output
    assert len(ended) == 1 or len(numbers) > 1 or expected < 0, output
    return output


@pytest.mark.usefixtures("shapes_once")
def test_a_run_that_is_killed_seven_times_ends_with_the_bits_of_one_that_never_was(tmp_path, capsys):
    rng, whole, broken = rng_with_seed(), tmp_path / "whole", tmp_path / "broken"
    train_here(whole, *FLAGS, SELDOM)
    plan = [
        [signal.SIGKILL],
        [signal.SIGKILL],
        ["writing", signal.SIGKILL],
        ["writing", signal.SIGKILL],
        [signal.SIGTERM],
        [signal.SIGINT] * 2,
        [signal.SIGINT] * 3,
    ]
    rng.shuffle(plan)
    for kind in plan:
        before, process = newest(broken), start(broken, *FLAGS)
        assert process.stdout.readline().startswith(f"Continuing from step {before} " if before >= 0 else "Starting")
        wait_until(process, lambda before=before: newest(broken) > before)
        time.sleep(rng.uniform(0, 0.2))
        if kind[0] == "writing":
            wait_until(process, lambda: writing(broken))
        assert newest(broken) < STEPS, "training is over too early to be killed"
        print(kind, "at", newest(broken))
        output = strike(process, [number for number in kind if number != "writing"], rng)
        if kind == [signal.SIGTERM]:
            *_, stopped, command = output.splitlines()
            assert stopped == f"Stopped at step {newest(broken)}; saved. Continue with the same command:"
            assert f"-m experiments.train --config={RECIPE} --workdir={broken}" in command
    before, printed = newest(broken), capsys.readouterr().out
    train_here(broken, *FLAGS, SELDOM)
    output = capsys.readouterr().out
    print(printed, output)  # the seed among it, where the test fails
    assert f"Continuing from step {before} " in output
    same_bits(whole, broken, STEPS)
    assert lines(whole) == lines(broken)
    assert events(whole) == events(broken) != []


def same_bits(one: Path, other: Path, step: int) -> None:
    """Compare every array, record and line of metrics of two runs."""
    assert first_difference(*(read_saved(workdir, step, workdir.name) for workdir in (one, other))) is None


def test_a_sweep_that_is_killed_three_times_ends_with_the_bits_of_one_that_never_was(tmp_path):
    rng = rng_with_seed()

    def started(workdir: Path) -> subprocess.Popen:
        return start_command("sweep", "--config=tests/fixtures/sweep_recipe.py", f"--workdir={workdir}", *SWEPT)

    def steps() -> int:
        return max((newest(path) for path in (tmp_path / "broken" / "lanes").glob("*")), default=-1)

    whole = started(tmp_path / "whole")
    output = whole.communicate(timeout=240)[0]
    assert whole.returncode == 0, output
    for numbers in rng.sample([[signal.SIGKILL], [signal.SIGTERM], [signal.SIGINT] * 2], 3):
        before, process = steps(), started(tmp_path / "broken")
        wait_until(process, lambda before=before: steps() > before)
        time.sleep(rng.uniform(0, 0.1))
        print(numbers, "at", steps())
        strike(process, numbers, rng)
    again = started(tmp_path / "broken")
    output = again.communicate(timeout=240)[0]
    assert again.returncode == 0, output
    assert "going on with 2 trials of a worker that has ended" in output
    assert (tmp_path / "whole" / "trials").is_dir()
    for trial in sorted((tmp_path / "whole" / "trials").iterdir()):
        same_bits(trial, tmp_path / "broken" / "trials" / trial.name, 60)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("trained") / "run"
    flags = ("training.steps=2", "data.num_buckets=1", "model.architecture=decoder_only")
    train_here(workdir, *(f"--config.{flag}" for flag in flags))
    return workdir


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "--workdir={run}"],
        ["generate", "--workdir={run}"],  # waits for its standard input
        ["explore", "--workdir={run}", "--output={folder}/picture.png"],
        ["compare", "{run}", "{other}"],
        ["plan", f"--config={RECIPE}"],
        ["train", f"--config={RECIPE}", "--workdir={folder}/new"],
    ],
    ids=lambda words: words[0],
)
def test_a_command_that_is_interrupted_ends_with_one_line(words, trained, tmp_path):
    rng = rng_with_seed()
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    name, *flags = [word.format(run=trained, other=other, folder=tmp_path) for word in words]
    numbers = [rng.choice([signal.SIGINT, signal.SIGTERM])] * rng.choice([1, 2, 5])
    for wait in (2.5, 1.5, 0.8, 0.4):  # seconds; a machine may be so fast that the command has ended before the signal
        process = start_command(name, *flags)
        time.sleep(rng.uniform(0.3, wait))
        output = strike(process, numbers, rng, may_end=True)
        if process.returncode != 0:
            break
    assert output.splitlines()[-1] == f"Interrupted by {signal.Signals(numbers[0]).name}"
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("numbers", [[signal.SIGHUP], [signal.SIGINT, signal.SIGINT, signal.SIGINT]], ids=len)
def test_the_workers_of_a_sweep_save_when_its_terminal_hangs_up_or_it_is_interrupted_again(numbers, tmp_path):
    """Nothing is checkpointed before: all that is there afterwards was saved at the signal."""
    words = ["--config=tests/fixtures/sweep_recipe.py", f"--workdir={tmp_path}/run", "--workers=1", "--heartbeat=1"]
    rare = ("steps=1000000", "output.evaluate_every=1000000", "output.log_every=1", "output.checkpoint_seconds=100000")
    process = start_command("sweep", *words, *(f"--config.training.{flag}" for flag in rare))

    def logged() -> int:
        paths = list((tmp_path / "run" / "trials").glob("*/metrics.jsonl"))
        return min((path.read_bytes().count(b"\n") for path in paths), default=0)

    wait_until(process, lambda: logged() > 20)
    assert not list(tmp_path.glob("run/lanes/*/checkpoints/[0-9]*"))
    before = logged()
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.3)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 128 + numbers[0], output
    assert output.splitlines()[-1] == "Stopped; saved. The same command goes on."
    assert "Traceback" not in output
    (lanes,) = (tmp_path / "run" / "lanes").iterdir()
    assert newest(lanes) >= before
    assert not processes_of(tmp_path)


def processes_of(folder: Path) -> list[int]:
    """List the processes whose command names a folder."""
    found = subprocess.run(["ps", "-ww", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in found.splitlines() if str(folder) in line]


def children_of(process: subprocess.Popen, module: str) -> list[int]:
    """List the processes that a process has started to run a module."""
    found = subprocess.run(["ps", "-ww", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in found.splitlines()[1:]]
    return [int(pid) for pid, parent, args in rows if int(parent) == process.pid and module in args]


def test_the_process_that_compiles_a_plan_ends_with_its_command():
    process = start_command("plan", "--config=dates", "--config.mesh.fsdp=8", "--config.model.vocab_size=800")
    wait_until(process, lambda: children_of(process, "experiments.costs.mesh_plan"))
    (compiling,) = children_of(process, "experiments.costs.mesh_plan")
    assert strike(process, [signal.SIGTERM], rng_with_seed()) == "Interrupted by SIGTERM\n"
    with pytest.raises(ProcessLookupError):
        os.kill(compiling, 0)


@pytest.mark.parametrize("name", ["verify_resume", "workers"])
def test_processes_that_a_command_started_end_with_it_and_its_temporary_files_are_removed(name, tmp_path, monkeypatch):
    rng = rng_with_seed()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    if name == "verify_resume":
        process = start_command("train", f"--config={RECIPE}", "--verify_resume")
    else:
        words = ["--config=tests/fixtures/sweep_recipe.py", f"--workdir={tmp_path}/run", "--workers=2"]
        process = start_command("sweep", *words)
    children = 1 if name == "verify_resume" else 2
    wait_until(process, lambda: len(set(processes_of(tmp_path)) - {process.pid}) >= children)
    time.sleep(rng.uniform(0.2, 2))
    strike(process, [signal.SIGINT] * 2, rng)
    assert not processes_of(tmp_path)
    assert not list(tmp_path.glob("verify_resume_*"))
