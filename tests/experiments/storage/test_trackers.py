"""Trackers get what a run writes, keep one id over its sessions, and never cost it."""

import json
from typing import ClassVar

import pytest

from experiments import settings
from experiments.runs import tracking
from experiments.storage import trackers
from experiments.storage.metrics import Metrics, read
from experiments.storage.run_facts import RunFacts
from experiments.storage.trackers import Row, Trackers
from transformer.errors import UserError


class Kept:
    """A tracker that keeps its calls."""

    calls: ClassVar[list] = []
    fails = ""

    def __init__(self, facts, key):
        self.key = key or "id-7"
        self._do("start", facts.config, key)

    def _do(self, name, *values):
        if name == self.fails:
            raise RuntimeError("no network\nsecond line")
        self.calls.append((name, *values))

    def log(self, line, moment):
        self._do("log", dict(line))

    def picture(self, name, path, step):
        self._do("picture", name, path.name, step)

    def flush(self):
        self._do("flush")

    def close(self, status):
        self._do("close", status)


@pytest.fixture
def kept(monkeypatch):
    monkeypatch.setattr(Kept, "calls", [])
    monkeypatch.setattr(trackers, "TRACKERS", {**trackers.TRACKERS, "kept": Row("json", "", Kept)})
    return Kept


def test_a_tracker_gets_each_line_and_the_end_and_knows_the_run_again(tmp_path, kept):
    for first in (True, False):
        with Metrics(tmp_path, Trackers(["kept"], RunFacts(tmp_path, {"seed": 1}))) as metrics:
            metrics.write(2, "train", {"loss": 0.5})
        assert kept.calls[0] == ("start", {"seed": 1}, None if first else "id-7")
        assert kept.calls[1:] == [("log", {"step": 2, "split": "train", "loss": 0.5}), ("close", "FINISHED")]
        kept.calls.clear()
    assert json.loads((tmp_path / "trackers.json").read_text()) == {"kept": "id-7"}


def test_the_end_is_a_failure_where_the_run_raised(tmp_path, kept):
    with pytest.raises(ZeroDivisionError), Metrics(tmp_path, Trackers(["kept"], RunFacts(tmp_path, {}))):
        raise ZeroDivisionError
    assert kept.calls[-1] == ("close", "FAILED")


@pytest.mark.parametrize("fails", ["start", "log", "flush", "close"])
def test_a_tracker_that_fails_costs_the_run_nothing_but_a_note(tmp_path, kept, monkeypatch, capsys, fails):
    monkeypatch.setattr(kept, "fails", fails)
    with Metrics(tmp_path, Trackers(["kept"], RunFacts(tmp_path, {}))) as metrics:
        for step in (1, 2):
            metrics.write(step, "train", {"loss": 0.5})
            metrics.flush()
    assert [line["step"] for line in read(tmp_path)] == [1, 2]
    note = "note: kept failed, so it gets no more metrics; training goes on (RuntimeError: no network)\n"
    assert capsys.readouterr().err == note


def test_pictures_go_to_the_run_after_its_end(tmp_path, kept, monkeypatch):
    recipe = settings.defaults()
    config, _ = settings.resolve(recipe)
    monkeypatch.setattr(tracking, "names_of", lambda config: ["kept"])
    (tmp_path / "a.png").write_bytes(b"")
    tracking.log_pictures(tmp_path, config, {"curves": tmp_path / "a.png", "gone": tmp_path / "b.png"}, 9)
    assert [call[0] for call in kept.calls] == ["start", "picture", "close"]
    assert kept.calls[1] == ("picture", "curves", "a.png", 9)
    assert kept.calls[0][1]["model.num_layers"] == config.model.num_layers


def test_a_tracker_without_its_package_names_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(trackers, "TRACKERS", {"wandb": Row("no_such_package", "wandb", Kept)})
    with pytest.raises(UserError, match=r"needs a package that is not installed.*pip install 'transformer\[wandb\]'"):
        trackers.refuse_missing(["wandb"])
