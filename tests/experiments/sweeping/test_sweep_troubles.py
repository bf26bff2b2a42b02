"""Failures in the middle of a sweep: what was saved is kept, and the same command goes on."""

import errno
import json
import signal
import time

import pytest
from optuna.exceptions import StorageInternalError

from experiments import sweep
from experiments.cli.flags import explain
from experiments.costs.memory import Memory
from experiments.runs.open_run import open_run
from experiments.storage.checkpoints import Checkpoints
from experiments.sweeping import keeping, worker
from experiments.sweeping.groups import lanes_that_fit
from experiments.sweeping.lanes import Programs
from experiments.sweeping.storage import GRACE, Heartbeat
from experiments.sweeping.study import SweepStudy
from experiments.sweeping.worker import Worker
from experiments.training.signals import StopRequest
from tests.fixtures.processes import newest
from tests.fixtures.tiny_sweep import STEPS
from transformer.errors import UserError

pytestmark = pytest.mark.usefixtures("fused_as_users_have_it")

RECIPE = "--config=tests/fixtures/sweep_recipe.py"


def lines(workdir):
    found = [json.loads(line) for line in (workdir / "results.jsonl").read_text().splitlines()]
    return [{**line, "workdir": ""} for line in found]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the results of a sweep without any failure."""
    workdir = tmp_path_factory.mktemp("whole")
    sweep.main([RECIPE, f"--workdir={workdir}"])
    return lines(workdir)


@pytest.mark.more
def test_a_database_that_is_lost_stops_the_worker_and_what_was_trained_counts_later(
    tmp_path, monkeypatch, capsys, whole
):
    def gone(*_):
        raise StorageInternalError("the server closed the connection")

    monkeypatch.setattr(SweepStudy, "record_result", gone)
    with pytest.raises(UserError) as caught:
        sweep.main([RECIPE, f"--workdir={tmp_path}"])
    assert "the storage was lost: the server closed the connection" in str(caught.value)
    assert "The same command goes on once the storage is back." in str(caught.value)
    monkeypatch.undo()
    assert sweep.main([RECIPE, f"--workdir={tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert "going on with 2 trials of a worker that has ended" in out
    assert "programs of the update compiled here: 0" in out
    assert lines(tmp_path) == whole


@pytest.mark.more
def test_a_disk_that_fills_up_stops_the_worker_and_the_rest_goes_on_later(tmp_path, monkeypatch, whole):
    save, calls = Checkpoints.save, []

    def full(self, step, *arguments):
        calls.append(step)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "the checkpoint could not be written", str(self.directory / str(step)))
        return save(self, step, *arguments)

    monkeypatch.setattr(Checkpoints, "save", full)
    with pytest.raises(OSError, match="could not be written") as caught:
        sweep.main([RECIPE, f"--workdir={tmp_path}"])
    assert "No space left on device. Free some space" in explain(caught.value)
    monkeypatch.undo()
    assert sweep.main([RECIPE, f"--workdir={tmp_path}"]) == 0
    assert lines(tmp_path) == whole


class KilledError(BaseException):
    """The end of a worker at this line."""


def killed_at(number):
    """Return a function that does what another one does, but for the call of this number, at which its worker ends."""

    def killing(function, calls):
        def called(*arguments):
            calls.append(None)
            if len(calls) == number:
                raise KilledError
            return function(*arguments)

        return called

    return lambda function: killing(function, [])


AT_THE_END = [
    (SweepStudy, "record_result", 2),  # the first point has its result
    (Worker, "_keep", 1),  # both have
    (worker, "export", 1),
    (worker, "export_config", 1),  # of the other point: the best has its checkpoints
    (worker, "remove_checkpoints", 1),
    (worker, "remove_lanes", 1),
    (keeping.shutil, "rmtree", 1),  # claims.json is gone
]


@pytest.mark.more
def test_a_worker_killed_anywhere_between_results_and_checkpoints_leaves_what_the_next_one_repairs(
    tmp_path, monkeypatch, capsys
):
    flags = [RECIPE, f"--workdir={tmp_path}", "--sweep.seed=0", "--heartbeat=86400"]
    for owner, name, number in AT_THE_END:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, killed_at(number)(getattr(owner, name)))
            with pytest.raises(KilledError):
                sweep.main(flags)
    kept = {path.parent.name: newest(path.parent) for path in tmp_path.glob("trials/*/checkpoints")}
    assert kept == {"0001-seed0": STEPS}
    assert list((tmp_path / "lanes").iterdir())
    capsys.readouterr()
    assert sweep.main(flags) == 0
    assert "programs of the update compiled here: 0" in capsys.readouterr().out
    assert not list((tmp_path / "lanes").iterdir())
    assert {path.parent.name: newest(path.parent) for path in tmp_path.glob("trials/*/checkpoints")} == kept
    scores = [json.loads(line)["score"] for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert open_run(str(tmp_path / "trials" / "0001-seed0")).step == STEPS
    assert len(scores) == 2


def test_lanes_that_were_asked_for_and_do_not_fit_are_an_error_with_the_number_that_does(tmp_path, monkeypatch):
    monkeypatch.setattr(Programs, "memory", lambda *_: Memory(600, 0, 0, 400))
    monkeypatch.setattr(Programs, "free", lambda _: 650)
    with pytest.raises(
        UserError, match=r"4 lanes do not fit in memory; got .*; expected at most 2 lanes. Lower --lanes"
    ):
        sweep.main([RECIPE, f"--workdir={tmp_path}", "--lanes=4"])


@pytest.mark.more
def test_without_a_number_as_many_lanes_train_as_fit(tmp_path, monkeypatch, whole):
    sizes = []
    program = Programs.program

    def recorded(self, *arguments):
        sizes.append(len(arguments[1]))
        return program(self, *arguments)

    monkeypatch.setattr(Programs, "memory", lambda *_: Memory(600, 0, 0, 400))
    monkeypatch.setattr(Programs, "free", lambda _: 650)
    monkeypatch.setattr(Programs, "program", recorded)
    assert sweep.main([RECIPE, f"--workdir={tmp_path}"]) == 0
    assert set(sizes) == {2}
    assert lines(tmp_path) == whole


@pytest.mark.parametrize(("free", "lanes"), [(1000, 6), (10_000, 64), (None, 8), (100, 0)])
def test_lanes_that_fit_grow_with_the_memory(free, lanes):
    assert lanes_that_fit(Memory(500, 300, 200, 400), free, 8, 2) == lanes


def test_a_heartbeat_that_cannot_be_recorded_stops_the_training():
    class Gone:
        def record_heartbeat(self, trial):
            raise StorageInternalError("gone")

    stop = StopRequest()
    with Heartbeat(Gone(), 0.01, stop) as heartbeat:
        heartbeat.trials.add(1)
        until = time.monotonic() + 20
        while stop.received is None and time.monotonic() < until:
            time.sleep(0.01)
    assert stop.received == signal.SIGTERM
    assert isinstance(heartbeat.lost, StorageInternalError)
    assert GRACE > 1
