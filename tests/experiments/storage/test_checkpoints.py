"""Claims about checkpoints: exact, checked, kept by the rule, and safe from a kill or a full disk."""

import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.storage.checkpoints import Checkpoints
from tests.fixtures.checkpoints import bits_of, open_at, state_of
from tests.fixtures.speeds import more
from transformer.errors import UserError


def test_restored_arrays_and_numbers_have_the_same_bits(tmp_path):
    state, extra = state_of(1), {"a": 0.1 + 0.2, "b": 5e-324, "nested": {"list": [1 / 3, "é", None, True]}}
    with open_at(tmp_path) as checkpoints:
        assert checkpoints.save(7, state, extra)
    with open_at(tmp_path) as checkpoints:
        for example in (state_of(2), jax.eval_shape(lambda: state_of(2))):
            step, restored, found = checkpoints.restore(example)
            assert (step, found) == (7, extra)
            assert jax.tree.structure(restored) == jax.tree.structure(state)
            assert bits_of(restored) == bits_of(state)


def test_what_happens_to_the_state_after_save_is_not_in_the_checkpoint(tmp_path):
    update = jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)
    state = update({"w": jax.random.normal(jax.random.key(0), (300, 1000))})
    expected, extra = bits_of(state), {"pending": [1.0]}
    with open_at(tmp_path) as checkpoints:
        checkpoints.save(1, state, extra)
        extra["pending"].append(2.0)
        for _ in range(10):
            state = update(state)
        _, restored, found = checkpoints.restore(state)
    assert bits_of(restored) == expected
    assert found == {"pending": [1.0]}


def test_saving_does_not_hold_up_training(tmp_path):
    state = {"w": jax.random.normal(jax.random.key(0), (1_000_000,))}
    with open_at(tmp_path) as checkpoints:
        checkpoints.save(0, state, {})  # the first makes threads and directories
        checkpoints.wait()
        started = time.monotonic()
        checkpoints.save(1, state, {})
        blocked = time.monotonic() - started
        checkpoints.wait()
        complete = time.monotonic() - started
    assert blocked < 0.5
    assert complete < 5.0


def test_the_newest_and_the_best_are_kept_and_those_without_a_metric_count_as_newest(tmp_path):
    scores = {1: float("nan"), 2: 0.9, 3: 0.4, 4: 0.2, 5: None, 6: 0.3, 7: None}
    with open_at(tmp_path) as checkpoints:
        for step, score in scores.items():
            checkpoints.save(step, state_of(step), {}, None if score is None else {"exact_match": score, "loss": 1.0})
        checkpoints.wait()
        assert checkpoints.steps() == [2, 6, 7]
    with open_at(tmp_path) as checkpoints:  # what is best is known again
        assert checkpoints.best_step() == 2
        assert checkpoints.latest_step() == 7
        checkpoints.save(8, state_of(8), {}, {"exact_match": 0.95})
        checkpoints.wait()
        assert checkpoints.steps() == [7, 8]
        step, restored, _ = checkpoints.restore(state_of(0), "best")
        assert step == 8
        assert bits_of(restored) == bits_of(state_of(8))


def test_the_best_may_be_the_smallest_and_of_equals_the_first(tmp_path):
    with Checkpoints(tmp_path, 1, "loss", "min") as checkpoints:
        for step, loss in ((1, 0.3), (2, 0.3), (3, 0.7), (4, 0.5)):
            checkpoints.save(step, state_of(step), {}, {"loss": loss})
        checkpoints.wait()
        assert checkpoints.best_step() == 1
        assert checkpoints.steps() == [1, 4]


def test_ties_are_broken_by_the_loss_then_by_the_first_also_when_read_back(tmp_path):
    with open_at(tmp_path, loss="loss") as checkpoints:
        for step, score, loss in ((1, 0.0, 4.5), (2, 0.0, 1.5), (3, 0.0, 1.5), (4, 0.0, math.nan), (5, 0.0, 2.0)):
            checkpoints.save(step, state_of(step), {}, {"exact_match": score, "loss": loss})
        checkpoints.wait()
        assert checkpoints.best_step() == 2
    with open_at(tmp_path, loss="loss", read_only=True) as checkpoints:
        assert checkpoints.best_step() == 2


def test_an_empty_directory_has_no_latest_step(tmp_path):
    with open_at(tmp_path / "absent", read_only=True) as checkpoints:
        assert checkpoints.latest_step() is None
        assert checkpoints.best_step() is None
        with pytest.raises(UserError, match=r"there is none\. Train first"):
            checkpoints.restore(state_of(1))
    assert not (tmp_path / "absent").exists()


def test_a_step_that_is_not_there_is_named_with_those_that_are(two):
    with (
        open_at(two, read_only=True) as checkpoints,
        pytest.raises(UserError, match=r"no checkpoint 15 .*: there are 10, 20"),
    ):
        checkpoints.restore(state_of(1), 15)


def test_a_step_is_saved_once(two, tmp_path):
    shutil.copytree(two, tmp_path / "c")
    with open_at(tmp_path / "c") as checkpoints:
        assert not checkpoints.save(20, state_of(1), {})
        assert bits_of(checkpoints.restore(state_of(0)).state) == bits_of(state_of(20))


def test_a_best_metric_that_is_not_measured_is_refused(tmp_path):
    with (
        open_at(tmp_path) as checkpoints,
        pytest.raises(UserError, match="got exact_match; expected one of accuracy, loss"),
    ):
        checkpoints.save(1, state_of(1), {}, {"loss": 1.0, "accuracy": 0.5})


def test_a_checkpoint_of_another_shape_is_refused_by_the_name_of_the_parameter(two):
    with open_at(two, read_only=True) as checkpoints:
        with pytest.raises(UserError) as shape:
            checkpoints.restore(state_of(0, width=6))
        assert "params.block.bias is (5,) bfloat16 in the checkpoint, (6,) bfloat16 in this model" in str(shape.value)
        other = state_of(0)
        other["odd"] = other["odd"].astype(jnp.bfloat16)
        with pytest.raises(UserError, match=r"odd is \(6,\) float32 in the checkpoint, \(6,\) bfloat16 in"):
            checkpoints.restore(other)
        with pytest.raises(UserError, match=r"params\.more is absent in the checkpoint, \(1,\) float32 in"):
            checkpoints.restore({**state_of(0), "params": {**state_of(0)["params"], "more": jnp.zeros(1)}})
        with pytest.raises(UserError, match=r"odd is \(6,\) float32 in the checkpoint, absent in"):
            checkpoints.restore({k: v for k, v in state_of(0).items() if k != "odd"})


# A limit on the size of files stands for a full disk: it holds for every user, and writing fails half-way.
FULL_DISK = """
import resource, sys
import jax.numpy as jnp
from experiments.storage.checkpoints import Checkpoints
state = {"w": jnp.arange(400.0), "b": jnp.ones(3)}
checkpoints = Checkpoints(sys.argv[1], 1, "exact_match")
checkpoints.save(1, state, {})
checkpoints.wait()
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), -1))
for _ in range(2):
    try:
        checkpoints.save(2, state, {}, {"exact_match": 1.0})
        checkpoints.wait()
    except OSError as error:
        print(error.filename, checkpoints.steps(), checkpoints.restore(state).step)
checkpoints.close()
"""
UNFORESEEN = "from experiments.storage import checkpoint_format\ncheckpoint_format.require_space = lambda *_: None\n"


def run_script(script: str, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    root = Path(__file__).parents[3]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return subprocess.run(command, cwd=root, env=environment, timeout=60, check=False, capture_output=True, text=True)


@pytest.mark.more
def test_a_full_disk_is_an_os_error_with_the_path_and_nothing_else(tmp_path):
    ended = run_script(FULL_DISK, tmp_path, 5000)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [f"{tmp_path} [1] 1"] * 2
    assert {path.name for path in tmp_path.iterdir()} == {"1", "checksums"}


def test_a_checkpoint_larger_than_the_free_space_is_not_begun(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 10**6, 10**6))
    with open_at(tmp_path) as checkpoints, pytest.raises(OSError, match="needs 5 MB, the disk has 1 MB left"):
        checkpoints.save(1, {"w": jnp.zeros(1_000_000)}, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.more
def test_a_save_that_fails_half_way_leaves_the_checkpoints_before_it(tmp_path):
    ended = run_script(UNFORESEEN + FULL_DISK, tmp_path, 500)
    assert ended.returncode == 0
    assert "absl" not in ended.stderr
    assert ended.stdout.splitlines() == [f"{tmp_path / '2'} [1] 1"] * 2
    with open_at(tmp_path) as checkpoints:  # and once there is room again
        state = checkpoints.restore({"w": jnp.zeros(400), "b": jnp.zeros(3)}).state
        np.testing.assert_array_equal(state["w"], np.arange(400.0))
        assert checkpoints.save(2, state, {})


KILLED_WHILE_SAVING = """
import os, sys, threading, time
import jax.numpy as jnp
from experiments.storage.checkpoints import Checkpoints
checkpoints = Checkpoints(sys.argv[1], 1, "exact_match")
checkpoints.save(1, {"w": jnp.full((400, 1000), 1.0)}, {})
checkpoints.wait()
threading.Thread(target=lambda: (time.sleep(float(sys.argv[2])), os.kill(os.getpid(), 9)), daemon=True).start()
for step in range(2, 1000):
    checkpoints.save(step, {"w": jnp.full((400, 1000), float(step))}, {})
"""


@pytest.mark.parametrize("seconds", [0.03, more(0.08)])
def test_a_kill_while_saving_leaves_a_checkpoint_that_is_whole(tmp_path, seconds):
    ended = run_script(KILLED_WHILE_SAVING, tmp_path, seconds)
    assert ended.returncode == -signal.SIGKILL
    with open_at(tmp_path, [], keep_last=1) as checkpoints:
        step, restored, _ = checkpoints.restore({"w": jnp.zeros((400, 1000))})
        assert step >= 1
        np.testing.assert_array_equal(restored["w"], float(step))
        checkpoints.save(step + 1, restored, {})
        checkpoints.wait()
        checkpoints.save(step + 2, restored, {})
        checkpoints.wait()
        assert checkpoints.steps() == [step + 2]
    assert not list(tmp_path.glob("*tmp*"))


def test_what_a_killed_save_left_is_removed_by_the_next(two, tmp_path):
    directory = tmp_path / "c"
    shutil.copytree(two, directory)
    shutil.copytree(two / "20", directory / "30.orbax-checkpoint-tmp")
    with open_at(directory) as checkpoints:
        assert checkpoints.latest_step() == 20
        checkpoints.save(40, state_of(40), {})
    assert sorted(path.name for path in directory.iterdir()) == ["10", "20", "40", "checksums"]


def test_what_json_cannot_hold_is_refused_at_once(tmp_path):
    with open_at(tmp_path) as checkpoints:
        with pytest.raises(TypeError, match="not JSON serializable"):
            checkpoints.save(1, state_of(1), {"pending": jnp.zeros(2)})
        assert checkpoints.save(1, state_of(1), {})


def test_saving_and_restoring_print_nothing(tmp_path, capfd):
    with open_at(tmp_path) as checkpoints:
        checkpoints.save(1, state_of(1), {}, {"exact_match": 1.0})
        checkpoints.restore(jax.eval_shape(lambda: state_of(1)))
    with open_at(tmp_path) as checkpoints:
        checkpoints.restore(state_of(0))
    assert capfd.readouterr() == ("", "")
