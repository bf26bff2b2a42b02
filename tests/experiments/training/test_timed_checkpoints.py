"""Checkpoints that are due by the clock: one an interval, in one process and in several."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from experiments.parallel.agreement import Agreement
from experiments.training import loop
from experiments.training.signals import StopRequest


def saved_steps(monkeypatch, several, keep_every=None):
    """The steps that are saved of 40, a second each, where a checkpoint is due after ten."""
    now, saved, never = [0.0], [], 10**9
    output = SimpleNamespace(log_every=never, evaluate_every=never, keep_every=keep_every, checkpoint_seconds=10)
    training = SimpleNamespace(steps=never, patience=None, output=output)
    config = SimpleNamespace(training=training, decoding=None, seed=None)
    experiment = SimpleNamespace(config=config, placement=None)
    checkpoints = SimpleNamespace(best_metric="loss", save=lambda step, *_: saved.append(step))
    metrics = SimpleNamespace(flush=lambda: None)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: now[0]))
    run = loop.Loop(experiment, {}, checkpoints, metrics, StopRequest(), pytest.fail, evaluation=SimpleNamespace())
    if several:
        run._agreement = Agreement(Mesh(np.array(jax.devices()[:1]), ("data",)), 2)
    for step in range(1, 41):
        now[0] = float(step)
        assert not run._boundary(step, None, loop.MetricsWindow([]))
    return saved


def test_one_process_saves_when_the_interval_is_over(monkeypatch):
    assert saved_steps(monkeypatch, several=False) == [10, 20, 30, 40]


def test_several_processes_save_once_an_interval_and_one_step_later(monkeypatch):
    assert saved_steps(monkeypatch, several=True) == [11, 22, 33]


def test_several_processes_save_no_second_time_what_was_saved_for_another_reason(monkeypatch):
    assert saved_steps(monkeypatch, several=True, keep_every=10) == [10, 20, 30, 40]
