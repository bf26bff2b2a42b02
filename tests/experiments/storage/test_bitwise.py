"""Two runs are the same if every bit is; one that differs anywhere is found and located."""

import dataclasses
import json
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.storage.bitwise import SavedRun, first_difference, read_saved
from experiments.storage.checkpoint_format import read_arrays, shapes
from experiments.storage.checkpoints import Checkpoints
from transformer.errors import UserError

MU = "optimizer.1.0.mu.kernel"


def run(name: str = "at once") -> SavedRun:
    rng = np.random.default_rng(0)
    arrays = {
        "step": np.array(14, np.int32),
        "params.kernel": rng.normal(size=(3, 5)).astype(np.float32),
        MU: rng.normal(size=(3, 5)).astype(np.float32),
        "average.kernel": np.zeros((2, 7), np.float32),
    }
    lines = [
        {"step": 7, "split": "train", "loss": 0.1 + 0.2, "tokens": 33.0, "seconds": 1.0},
        {"step": 7, "split": "validation", "loss": float("nan"), "seconds": 1.1},
        {"step": 14, "split": "train", "loss": 0.25, "tokens": 35.0, "seconds": 2.0},
    ]
    record = {"window": [], "early_stopping": {"best": None, "since": 1}, "scores": {"loss": float("nan")}}
    return SavedRun(name, 3, 14, lines, arrays, record, "0123456789abcdef")


def with_array(change) -> Any:
    """A run with one array changed in place: `change(arrays)` gives its name and what it is now."""

    def altered(run: SavedRun) -> SavedRun:
        name, array = change(run.arrays)
        return dataclasses.replace(run, arrays={**run.arrays, name: array})

    return altered


def one_bit(array: np.ndarray, index: tuple, bit: int = 0) -> np.ndarray:
    copy = array.copy()
    bits = copy.view(np.uint32)
    bits[index] ^= np.uint32(1 << bit)
    return copy


def with_line(number: int, **values: Any) -> Any:
    return lambda run: dataclasses.replace(
        run, lines=[{**line, **values} if i == number else line for i, line in enumerate(run.lines)]
    )


def without_array(run: SavedRun) -> SavedRun:
    return dataclasses.replace(run, arrays={name: run.arrays[name] for name in run.arrays if name != MU})


ALTERED = {
    "one bit of the optimizer": (
        with_array(lambda a: (MU, one_bit(a[MU], (1, 2)))),
        [f"array {MU}: 1 of 15 elements differ", "first at [1, 2]"],
    ),
    "the sign of a zero": (
        with_array(lambda a: ("average.kernel", one_bit(a["average.kernel"], (0, 3), 31))),
        ["array average.kernel: 1 of 14 elements differ, by at most 0, the first at [0, 3]"],
    ),
    "a parameter that is not finite": (
        with_array(lambda a: ("params.kernel", np.where(a["params.kernel"] > 0, np.nan, a["params.kernel"]))),
        ["array params.kernel", "by at most nan"],
    ),
    "the type of an array": (
        with_array(lambda a: (MU, a[MU].astype(np.float16))),
        [f'array {MU}: at once "(3, 5) float32", continued "(3, 5) float16"'],
    ),
    "an array that is missing": (without_array, [f"array {MU}", 'continued "absent"']),
    "the step of the state": (
        with_array(lambda a: ("step", np.array(13, np.int32))),
        ["array step: 1 of 1 elements differ, by at most 1"],
    ),
    "the step": (lambda run: dataclasses.replace(run, step=13), ["step: at once 14, continued 13"]),
    "the seed": (lambda run: dataclasses.replace(run, seed=4), ["seed: at once 3, continued 4"]),
    "the next batches": (
        lambda run: dataclasses.replace(run, next_batches="f123456789abcdef"),
        ["the next batches", "0123456789abcdef", "f123456789abcdef"],
    ),
    "the last bit of a metric": (
        with_line(0, loss=0.3),
        ["metrics.jsonl, line 1 (step 7, train), loss: at once 0.30000000000000004, continued 0.3"],
    ),
    "a metric that was not finite": (with_line(1, loss=0.5), ["line 2 (step 7, validation), loss", "NaN"]),
    "a metric that one alone has": (with_line(2, nats=1.0), ["line 3 (step 14, train), nats: at once null"]),
    "a line twice": (
        lambda run: dataclasses.replace(run, lines=[*run.lines, run.lines[-1]]),
        ["step 14, train", "at once 3, continued 4"],
    ),
    "the last line lost": (
        lambda run: dataclasses.replace(run, lines=run.lines[:-1]),
        ["the first that only one has: step 14, train", "at once 3, continued 2"],
    ),
    "the metrics since the last line": (
        lambda run: dataclasses.replace(run, record={**run.record, "window": [{"loss": 1.0}]}),
        ["window of the checkpoint's record"],
    ),
    "early stopping": (
        lambda run: dataclasses.replace(run, record={**run.record, "early_stopping": {"best": None, "since": 0}}),
        ["early_stopping of the checkpoint's record"],
    ),
}


def test_the_same_run_at_another_time_of_the_day_is_the_same():
    later = run("continued")
    later = dataclasses.replace(later, lines=[{**line, "seconds": line["seconds"] + 5} for line in later.lines])
    assert first_difference(run(), later) is None


@pytest.mark.parametrize("what", ALTERED)
def test_whatever_differs_is_named(what):
    alter, parts = ALTERED[what]
    difference = first_difference(run(), alter(run("continued")))
    for part in parts:
        assert part in difference


def test_how_many_elements_differ_and_by_how_much():
    far = run("continued")
    far.arrays[MU][1:, 2] += np.float32([0.5, -2.0])
    difference = first_difference(run(), far)
    assert difference == f"array {MU}: 2 of 15 elements differ, by at most 2, the first at [1, 2]"


def test_the_first_in_the_order_of_steps_is_named_lines_before_arrays():
    other = ALTERED["one bit of the optimizer"][0](run("continued"))
    assert first_difference(run(), other).startswith("array optimizer")
    other = with_line(2, tokens=34.0)(other)
    assert "line 3 (step 14, train), tokens" in first_difference(run(), other)
    other = with_line(1, loss=1.0)(other)
    assert "line 2 (step 7, validation), loss" in first_difference(run(), other)


def test_the_table_lists_how_much_was_compared():
    rows = {row["compared"]: row["how much"] for row in run().contents()}
    assert rows["params"] == "1 array, 60 bytes"
    assert rows["optimizer"] == "1 array, 60 bytes"
    assert rows["average"] == "1 array, 56 bytes"
    assert rows["metrics.jsonl"].startswith("3 lines")
    assert rows["random state"] == "seed 3, step 14"


class Moments(NamedTuple):
    count: Any
    mu: Any


def saved(workdir, mu=0.5):
    """A working directory with a checkpoint, of a state as optax nests it, and a line of metrics."""
    state = {
        "step": jnp.array(6, jnp.int32),
        "params": {"b": jnp.arange(3.0), "a": jnp.full((2, 5), 1.5, jnp.bfloat16)},
        "optimizer": (None, (Moments(jnp.array(6, jnp.int32), {"b": jnp.full(3, mu)}),)),
    }
    with Checkpoints(workdir / "checkpoints", 2, "loss", "min") as checkpoints:
        checkpoints.save(6, state, {"config": {"seed": 7}, "window": [{"loss": 0.1}]}, {"loss": 0.1})
    (workdir / "metrics.jsonl").write_text(json.dumps({"step": 6, "split": "train", "loss": 0.1, "seconds": 1}) + "\n")
    return state


def test_a_checkpoint_is_read_without_an_example_every_bit_of_it(tmp_path):
    state = saved(tmp_path)
    arrays = read_arrays(tmp_path / "checkpoints" / "6")
    assert {name: [list(a.shape), str(a.dtype)] for name, a in arrays.items()} == shapes(state)
    assert arrays["params.a"].tobytes() == np.asarray(state["params"]["a"]).tobytes()
    assert arrays["optimizer.1.0.mu.b"].tolist() == [0.5] * 3


def test_two_directories_are_compared(tmp_path):
    for name, mu in (("one", 0.5), ("same", 0.5), ("other", np.nextafter(np.float32(0.5), np.float32(1)))):
        saved(tmp_path / name, mu)
    one, same, other = (read_saved(tmp_path / name, 6, name) for name in ("one", "same", "other"))
    assert (one.seed, one.step, len(one.lines), list(one.record)) == (7, 6, 1, ["window", "scores"])
    assert first_difference(one, same) is None
    assert "array optimizer.1.0.mu.b: 3 of 3 elements differ, by at most 5.96e-08" in first_difference(one, other)


def test_a_checkpoint_that_is_not_there_is_a_mistake_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"checkpoints/6 cannot be read; got \S.*"):
        read_saved(tmp_path, 6, "one")
