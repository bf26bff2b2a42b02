"""Programs in turns: their rows, their processes, and the model in PyTorch, which is the same."""

import dataclasses
import functools
import json
import os

import jax
import numpy as np
import pytest

from experiments import bench
from experiments.benchmarks import roof
from experiments.benchmarks.compile import first_step
from experiments.benchmarks.processes import Failed, in_a_process, in_turns
from experiments.benchmarks.roof import Roof
from experiments.benchmarks.train_peers import torch_program
from experiments.benchmarks.train_turns import OWN, largest_difference, own_program, rows_of, twin_of
from experiments.benchmarks.updates import Turn
from tests.experiments.benchmarks.test_updates import SMALL, small
from tests.fixtures.commands import outcome


def test_the_speed_over_a_program_is_the_median_of_the_ratios_of_rounds():
    own = [Turn([9.0], [1.0, 2.0], 5), *(Turn([seconds] * 3, [], 6) for seconds in (1.0, 2.0, 4.0))]
    other = [Turn([9.0], [1.0, 2.5], 5), *(Turn([seconds] * 3, [], 7) for seconds in (3.0, 3.0, 3.0))]
    mine, its = rows_of({OWN: own, "other": other}, tokens=10, operations=1e9)
    assert mine["tokens/s"] == pytest.approx(5)
    assert mine["ms a step"] == pytest.approx(2000)
    assert "losses differ by" not in mine
    assert its["speed of this library over it"] == pytest.approx(1.5)  # of 3, 1.5, 0.75
    assert its["losses differ by"] == pytest.approx(0.2)
    assert its["peak memory, MB"] == pytest.approx(7e-6)


def test_the_largest_difference_is_relative():
    assert largest_difference([1.0, 4.4], [1.0, 4.0]) == pytest.approx(0.1)
    assert np.isnan(largest_difference([1.0, float("nan")], [1.0, 4.0]))


def counting(start):
    """A program that returns its process and the number of the round, counted from `start`."""
    return lambda number: (os.getpid(), start + number)


def broken(start):
    raise ValueError("no compiler\nwas found\nin three lines")


@pytest.mark.more
def test_programs_take_turns_in_processes_of_their_own_and_one_that_fails_is_left_out():
    programs = {name: functools.partial(counting, start) for name, start in (("a", 0), ("b", 10))}
    found = in_turns({**programs, "c": functools.partial(broken, 0)}, 2, optional=["c"])
    assert [number for _, number in found["a"]] == [0, 1, 2]
    assert [number for _, number in found["b"]] == [10, 11, 12]
    processes = {name: {process for process, _ in found[name]} for name in programs}
    assert len(processes["a"] | processes["b"] | {os.getpid()}) == 3
    assert found["c"] == Failed("ValueError: no compiler was found")
    with pytest.raises(ValueError, match="no compiler"):
        in_turns({"c": functools.partial(broken, 0)}, 1)


@pytest.mark.more
def test_a_process_imports_the_modules_that_are_named():
    assert in_a_process(imported, modules=["tests.fixtures.own_rows"])
    assert not in_a_process(imported)


def imported():
    import sys

    return "tests.fixtures.own_rows" in sys.modules


@pytest.mark.more
def test_compiling_is_timed_without_the_cache_for_both_depths(tmp_path, capsys):
    argv = ["compile", *(f"--config.{name}={value}" for name, value in SMALL), "--rounds=1"]
    code, _, error = outcome(bench.main, [*argv, f"--json={tmp_path / 'numbers.json'}"], capsys)
    assert code == 0, error
    (table,) = json.loads((tmp_path / "numbers.json").read_text())["tables"]
    assert [row["layers"] for row in table["rows"]] == [2, 8]
    assert table["rows"][0]["times the first"] == 1
    for row in table["rows"]:
        assert row["together, s"] == pytest.approx(row["trace and lower, s"] + row["compile, s"])


def test_the_first_step_is_compiled_and_not_read_from_the_cache(monkeypatch):
    set_to = {}
    monkeypatch.setattr(jax.config, "update", set_to.__setitem__)
    traced, compiled = first_step("nano_4x128", SMALL)
    assert set_to == {"jax_enable_compilation_cache": False}
    assert traced > 0
    assert compiled > 0


STEPS = (20, 2)


@pytest.fixture(scope="module")
def ours():
    return own_program("nano_4x128", SMALL, STEPS)(0).losses


@pytest.mark.peers
def test_the_model_in_pytorch_has_the_same_losses(ours):
    its = torch_program(twin_of(small()), False, STEPS)(0).losses
    assert len(its) == 20
    assert largest_difference(ours, its) < 1e-5


@pytest.mark.peers
@pytest.mark.parametrize(
    ("name", "value"), [("weight_decay", 0.05), ("beta2", 0.5), ("clip_norm", 2.0), ("learning_rate", 5e-4)]
)
def test_the_losses_show_another_optimizer(ours, name, value):
    twin = twin_of(small())
    other = dataclasses.replace(twin.optimizer, **{name: value})
    its = torch_program(twin._replace(optimizer=other), False, STEPS)(0).losses
    assert largest_difference(ours, its) > 1e-5


@pytest.mark.peers
@pytest.mark.parametrize(("name", "value"), [("num_heads", 6), ("norm_epsilon", 1e-3)])
def test_the_losses_show_another_model(ours, name, value):
    twin = twin_of(small())
    other = dataclasses.replace(twin.model, **{name: value})
    its = torch_program(twin._replace(model=other), False, STEPS)(0).losses
    assert largest_difference(ours, its) > 1e-5


@pytest.mark.peers
def test_pytorch_is_timed_in_turns_and_what_cannot_compile_is_left_out_with_its_reason(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(roof, "roofs", lambda: {name: Roof(1e12, 8) for name in roof.TYPES})
    monkeypatch.setenv("CXX", str(tmp_path / "no compiler"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    path = tmp_path / "numbers.json"
    argv = ["train", *(f"--config.{name}={value}" for name, value in SMALL), "--peers", "--steps=3", "--rounds=2"]
    code, out, error = outcome(bench.main, [*argv, f"--json={path}"], capsys)
    assert code == 0, error
    assert "PyTorch, compiled is left out: " in out
    record = json.loads(path.read_text())
    assert record["versions"]["torch"]
    own, eager = record["tables"][0]["rows"]
    assert (own["program"], eager["program"]) == (OWN, "PyTorch")
    assert eager["losses differ by"] < 1e-5
