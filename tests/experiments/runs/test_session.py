"""A session of training: called in another thread, where it fails, and the commands that it prints at its end."""

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments import settings
from experiments.cli.terminal import terminal
from experiments.runs import report, session
from experiments.runs.report import train_and_report
from experiments.storage.metrics import read

TINY = Path(__file__).parents[2] / "fixtures" / "tiny_recipe.py"
SMALL = {"training.steps": "2", "data.num_buckets": "1", "training.output.tensorboard": "false"}


def train_in_another_thread(workdir: Path) -> list:
    """Train in a thread that is not the main one; return the exit code, or the error."""
    config, notes = settings.resolve(settings.load_recipe(str(TINY)), SMALL.items())
    found = []

    def work() -> None:
        try:
            found.append(train_and_report(config, workdir, notes, ["experiments.train"]))
        except RuntimeError as error:
            found.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found


@pytest.mark.more
def test_training_in_another_thread_trains_and_a_failure_releases_the_lock(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no state")

    with monkeypatch.context() as patch:
        patch.setattr(session, "restore_or_start", fail)
        assert train_in_another_thread(tmp_path / "run") == ["no state"]
    assert train_in_another_thread(tmp_path / "run") == [0]
    assert [line["step"] for line in read(tmp_path / "run")][-1] == 2


def test_the_commands_to_try_next_import_what_the_run_imported(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(report, "example_text", lambda _: "May 2")
    config = SimpleNamespace(training=SimpleNamespace(output=SimpleNamespace(tensorboard=False)))
    report.print_files(terminal(), SimpleNamespace(config=config), tmp_path, {}, ["--import=a,b.c"])
    _, after = capsys.readouterr().out.split("Next:\n")
    commands = after.splitlines()
    modules = [command.split()[2] for command in commands]
    assert modules == [f"experiments.{name}" for name in ("evaluate", "explore", "generate")]
    assert all(f"--workdir={tmp_path} --import=a,b.c" in command for command in commands)
