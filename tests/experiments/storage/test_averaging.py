"""Claims about the mean of the last checkpoints: what is averaged, what is kept for it, and what damage does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.storage.averaging import average
from experiments.storage.checkpoints import Checkpoints
from experiments.storage.retention import Retention
from experiments.training.update import State
from transformer.errors import UserError


def state_of(step: int, moving: bool = False) -> State:
    params, other = (
        {"w": jnp.asarray(np.random.default_rng([step, i]).normal(size=(3, 5)), jnp.float32)} for i in (0, 1)
    )
    return State(jnp.int32(step), params, {"m": jnp.full(7, float(step))}, other if moving else None)


def open_at(directory, lines=None, read_only=False, **kept) -> Checkpoints:
    print_line = lines.append if lines is not None else pytest.fail
    return Checkpoints(directory, Retention(2, **kept), "loss", "min", print_line=print_line, read_only=read_only)


def save(checkpoints: Checkpoints, *steps: int, moving: bool = False) -> None:
    for step in steps:
        checkpoints.save(step, state_of(step, moving), {"window": [step]}, {"loss": 1.0 + step} if step < 8 else None)
    checkpoints.wait()


def mean_of(*steps: int, moving: bool = False) -> np.ndarray:
    return np.mean([np.asarray(state_of(s, moving).evaluated_params["w"], np.float64) for s in steps], 0)


@pytest.mark.parametrize("moving", [False, True])
def test_the_newest_state_comes_with_the_mean_of_what_is_evaluated(tmp_path, moving):
    with open_at(tmp_path, averaged=3, every=5) as checkpoints:
        save(checkpoints, 5, 10, 15, 20, 23, moving=moving)
        found = average(checkpoints, jax.eval_shape(lambda: state_of(0, moving)), 3)
    np.testing.assert_allclose(found.state.evaluated_params["w"], mean_of(10, 15, 20, moving=moving), rtol=1e-6)
    assert found.state.evaluated_params["w"].dtype == jnp.float32
    assert (found.step, found.extra) == (20, {"window": [20], "averaged": [10, 15, 20]})
    newest = state_of(20, moving)
    np.testing.assert_array_equal(found.state.optimizer["m"], newest.optimizer["m"])
    if moving:  # the parameters themselves stay as they are
        np.testing.assert_array_equal(found.state.params["w"], newest.params["w"])


def test_what_is_averaged_is_kept_beside_the_newest_and_the_best(tmp_path):
    options = dict(averaged=3, every=5)
    with open_at(tmp_path, **options) as checkpoints:
        save(checkpoints, 4, 5, 7, 10, 13, 15, 18)
        assert checkpoints.steps() == [4, 5, 10, 15, 18]
    with open_at(tmp_path, **options) as checkpoints:  # and after a resume
        save(checkpoints, 19, 20, 21)
        assert checkpoints.steps() == [4, 10, 15, 20, 21]


def test_nothing_more_is_kept_where_nothing_is_averaged():
    steps = [5, 10, 13, 15, 18, 19]
    assert Retention(2, 1, 5).kept(steps) == {18, 19}
    assert Retention(2, 3, None).kept(steps) == {15, 18, 19}
    assert Retention(1, 2, 5).kept(steps) == {10, 15, 19}
    assert Retention(1, 9, 5).kept([]) == set()


def test_the_runs_last_step_counts_whether_a_multiple_or_not():
    with_last = Retention(1, 2, 5, last=18)
    assert with_last.counted([4, 5, 10, 18]) == [5, 10, 18]
    assert with_last.kept([5, 10, 15]) == {10, 15}
    assert with_last.kept([5, 10, 13, 15, 18]) == {15, 18}
    assert Retention(1, 2, 500, last=18).counted([7, 18]) == [18]


def test_the_mean_is_over_the_last_step_too(tmp_path):
    with open_at(tmp_path, averaged=2, every=5, last=13) as checkpoints:
        save(checkpoints, 5, 10, 12, 13)
        assert checkpoints.steps() == [5, 10, 12, 13]  # 5 is the best
        found = average(checkpoints, state_of(0), 2)
    assert (found.step, found.extra["averaged"]) == (13, [10, 13])
    np.testing.assert_allclose(found.state.params["w"], mean_of(10, 13), rtol=1e-6)


def test_fewer_are_averaged_with_a_line_and_none_is_an_error(tmp_path):
    lines = []
    with open_at(tmp_path, lines, every=5) as checkpoints:
        with pytest.raises(UserError, match=r"no checkpoint in .* to average at multiples of 5 steps; got none"):
            average(checkpoints, state_of(0), 4)
        save(checkpoints, 10, 12)
        found = average(checkpoints, state_of(0), 4)
        np.testing.assert_array_equal(found.state.params["w"], state_of(10).params["w"])
    with (
        open_at(tmp_path, every=7, read_only=True) as checkpoints,
        pytest.raises(UserError, match="at multiples of 7 steps; got 10, 12"),
    ):
        average(checkpoints, state_of(0), 4)
    with open_at(tmp_path, read_only=True) as checkpoints:
        assert average(checkpoints, state_of(0), 2).extra["averaged"] == [10, 12]
    assert lines == ["1 checkpoint averaged, not 4: only 10 are there"]


def test_a_damaged_checkpoint_is_not_averaged_and_the_one_before_takes_its_place(tmp_path):
    lines = []
    with open_at(tmp_path, lines, averaged=3, every=5) as checkpoints:
        save(checkpoints, 5, 10, 15)
        (tmp_path / "10" / "state" / "manifest.ocdbt").write_bytes(b"")
        with open_at(tmp_path, lines, every=5, read_only=True) as reader:
            assert average(reader, state_of(0), 2).extra["averaged"] == [5, 15]
            assert reader.steps() == [5, 10, 15]
        found = average(checkpoints, state_of(0), 2)
        np.testing.assert_allclose(found.state.params["w"], mean_of(5, 15), rtol=1e-6)
        assert checkpoints.steps() == [5, 15]
        for step in (5, 15):
            (tmp_path / str(step) / "state" / "manifest.ocdbt").write_bytes(b"")
        with pytest.raises(UserError, match=r"can be read: 15 is damaged \(.*\), 5 is damaged"):
            average(checkpoints, state_of(0), 2)
        assert checkpoints.steps() == [5, 15]
    assert len(lines) == 2
    assert all(line.startswith("checkpoint 10 is damaged (") and "; it is not averaged" in line for line in lines)
