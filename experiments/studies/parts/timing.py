"""Times of several programs on this machine, measured in rounds.

Every round times each program once, in an order that is drawn anew, so that a machine which gets slower or faster does
so for all of them. A time is the mean of as many calls in a row as take `LEAST` seconds together.
"""

import random
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np

LEAST = 0.02
"""Least time of the calls that are timed together (seconds)."""
MOST_CALLS = 1000

Name = TypeVar("Name", bound=Hashable)


def seconds_in_rounds(calls: Mapping[Name, Callable[[], Any]], rounds: int) -> dict[Name, np.ndarray]:
    """Time programs, compiled before by a call that is not timed.

    Args:
        calls: name -> call; its result is waited for.
        rounds: number of times of each.

    Returns:
        Name -> seconds of a call in each round, R.
    """
    repeats = {name: repeats_of(call) for name, call in calls.items()}
    found: dict[Name, list[float]] = {name: [] for name in calls}
    order = random.Random(0)
    for _ in range(rounds):
        for name in order.sample(list(calls), len(calls)):
            found[name].append(_timed(calls[name], repeats[name]) / repeats[name])
    return {name: np.array(values) for name, values in found.items()}


def repeats_of(call: Callable[[], Any]) -> int:
    """Return how many calls take LEAST seconds, after one that compiles."""
    jax.block_until_ready(call())
    once = min(_timed(call, 1) for _ in range(2))
    return min(MOST_CALLS, max(1, round(LEAST / once)))


def _timed(call: Callable[[], Any], times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        jax.block_until_ready(call())
    return time.perf_counter() - began
