"""Programs in turns: their rows, their processes, and the model in PyTorch, which is the same."""

import dataclasses
import functools
import json
import os

import jax
import numpy as np
import pytest

from experiments import bench
from experiments.benchmarks import roof, train_turns
from experiments.benchmarks.compile import compile_seconds
from experiments.benchmarks.processes import Failed, in_a_process, in_turns
from experiments.benchmarks.report import OWN, Report
from experiments.benchmarks.roof import Roof
from experiments.benchmarks.train_peers import torch_model, torch_program
from experiments.benchmarks.train_turns import (
    SAME_LOSSES,
    largest_difference,
    own_program,
    reference_of,
    refuse_other_model,
    rows_of,
    time_in_turns,
)
from experiments.benchmarks.updates import Turn
from tests.experiments.benchmarks.test_updates import SMALL, small
from tests.fixtures.commands import error_of, outcome


def test_the_speed_over_a_program_is_the_median_of_the_ratios_of_rounds():
    own = [Turn([9.0], [1.0, 2.0], 5), *(Turn([seconds] * 3, [], 6) for seconds in (1.0, 2.0, 4.0))]
    other = [Turn([9.0], [1.0, 2.5], 5), *(Turn([seconds] * 3, [], 7) for seconds in (3.0, 3.0, 3.0))]
    mine, its = rows_of({OWN: own, "other": other}, tokens=10, operations=1e9, most=0.3)
    assert mine["tokens/s"] == pytest.approx(5)
    assert mine["ms a step"] == pytest.approx(2000)
    assert "losses differ by" not in mine
    assert its["speed of this library over it"] == pytest.approx(1.5)  # of 3, 1.5, 0.75
    assert its["losses differ by"] == pytest.approx(0.2)
    assert its["peak memory of the process, MB"] == pytest.approx(7e-6)


@pytest.mark.parametrize(("its", "same"), [(4.0003, True), (4.002, False), (float("nan"), False)])
def test_the_speed_of_a_program_with_other_losses_does_not_count(monkeypatch, capsys, its, same):
    found = {OWN: [Turn([], [4.0], 5), Turn([1.0], [], 5)], "PyTorch": [Turn([], [its], 5), Turn([2.0], [], 5)]}
    monkeypatch.setattr(train_turns, "in_turns", lambda *_, **__: found)
    monkeypatch.setattr(train_turns, "reference_of", lambda experiment: None)
    turns = dict(steps=1, rounds=1, processes=1)
    _, row = time_in_turns(Report("train", [], None), "nano_4x128", SMALL, ["PyTorch"], **turns)
    assert ("speed of this library over it" in row) == same
    assert ("not the same training, its speed does not count" in capsys.readouterr().out) == (not same)


def test_settings_that_the_model_in_pytorch_follows_are_not_refused():
    followed = {"optimizer.learning_rate": "5e-4", "model.width": "12", "model.unroll": "false", "seed": "1"}
    refuse_other_model([*followed.items()])
    for name in ("optimizer.schedule", "training.ema_decay"):
        assert f"{name} is not known to the model in PyTorch" in error_of(refuse_other_model, [(name, "none")])


def test_the_largest_difference_is_relative():
    assert largest_difference([1.0, 4.4], [1.0, 4.0]) == pytest.approx(0.1)
    assert np.isnan(largest_difference([1.0, float("nan")], [1.0, 4.0]))


def counting(start):
    """A program that returns its process and the number of the round, counted from `start`."""
    return lambda number: (os.getpid(), start + number)


def broken(start):
    raise ValueError("no compiler\nwas found\nin three lines")


def broken_later(end):
    """A program that returns 0 in its warm-up, and ends its process, or raises, behind it."""

    def run(number):
        if number and end:
            os._exit(1)
        return 0 if number == 0 else broken(0)

    return run


@pytest.mark.more
def test_programs_take_turns_in_processes_of_their_own_and_one_that_fails_is_left_out():
    programs = {name: functools.partial(counting, start) for name, start in (("a", 0), ("b", 10))}
    failing = {"c": functools.partial(broken, 0)}
    failing |= {name: functools.partial(broken_later, end) for name, end in (("d", False), ("e", True))}
    found = in_turns({**programs, **failing}, 2, optional=[*failing])
    assert [number for _, number in found["a"]] == [0, 1, 2]
    assert [number for _, number in found["b"]] == [10, 11, 12]
    processes = {name: {process for process, _ in found[name]} for name in programs}
    assert len(processes["a"] | processes["b"] | {os.getpid()}) == 3
    assert found["c"] == found["d"] == Failed("ValueError: no compiler was found")
    assert "BrokenProcessPool" in found["e"].reason
    with pytest.raises(ValueError, match="no compiler"):
        in_turns({"c": functools.partial(broken, 0)}, 1)


@pytest.mark.more
def test_a_program_has_new_processes_for_parts_of_the_rounds():
    advanced = []
    found = in_turns({"a": functools.partial(counting, 0)}, 3, processes=2, advance=advanced.append)["a"]
    assert [number for _, number in found] == [0, 1, 3, 2]  # the warm-up of the second process is left out
    processes = [process for process, _ in found]
    assert len({*processes[:3]}) == 1
    assert processes[3] != processes[0]
    assert advanced == [1] * 5


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
    shallow, deep = table["rows"]
    assert (shallow["layers"], deep["layers"]) == (2, 8)
    assert deep["times the first"] == pytest.approx(deep["together, s"] / shallow["together, s"])
    for row in table["rows"]:
        assert row["together, s"] == pytest.approx(row["trace and lower, s"] + row["compile, s"])


def test_the_first_step_is_compiled_and_not_read_from_the_cache(monkeypatch):
    set_to = {}
    monkeypatch.setattr(jax.config, "update", set_to.__setitem__)
    traced, compiled = compile_seconds("nano_4x128", SMALL)
    assert set_to == {"jax_enable_compilation_cache": False}
    assert traced > 0
    assert compiled > 0


@pytest.fixture(scope="module")
def ours():
    return own_program("nano_4x128", SMALL, 1)(0).losses


@pytest.mark.peers
def test_the_model_in_pytorch_has_the_same_losses(ours):
    its = torch_program(reference_of(small()), False, 1)(0).losses
    assert len(its) == 20
    assert largest_difference(ours, its) < 1e-5


@pytest.mark.peers
def test_the_model_in_pytorch_has_losses_in_bfloat16_that_are_near_and_its_states_are_bfloat16():
    import torch

    dtype = ("model.dtype", "bfloat16")
    reference, types = reference_of(small(dtype)), set()
    ours = own_program("nano_4x128", [*SMALL, dtype], 1)(0).losses
    assert largest_difference(ours, torch_program(reference, False, 1)(0).losses) < SAME_LOSSES["bfloat16"]
    model = torch_model(reference.model, reference.params)
    for module in (model.norm, *(part for block in model.blocks for part in (block, block.norm1, block.norm2))):
        module.register_forward_hook(lambda _, x, y: types.update((x[0].dtype, y.dtype)))
    tokens = torch.ones((2, 7), dtype=torch.long)
    with torch.autocast("cpu", torch.bfloat16):
        model(tokens, tokens)
    assert types == {torch.bfloat16}


@pytest.mark.peers
@pytest.mark.parametrize(
    ("name", "value"), [("weight_decay", 0.05), ("beta2", 0.5), ("clip_norm", 2.0), ("learning_rate", 5e-4)]
)
def test_the_losses_show_another_optimizer(ours, name, value):
    reference = reference_of(small())
    other = dataclasses.replace(reference.optimizer, **{name: value})
    its = torch_program(reference._replace(optimizer=other), False, 1)(0).losses
    assert largest_difference(ours, its) > 1e-5


@pytest.mark.peers
@pytest.mark.parametrize(("name", "value"), [("num_heads", 6), ("norm_epsilon", 1e-3)])
def test_the_losses_show_another_model(ours, name, value):
    reference = reference_of(small())
    other = dataclasses.replace(reference.model, **{name: value})
    its = torch_program(reference._replace(model=other), False, 1)(0).losses
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
