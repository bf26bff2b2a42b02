"""Properties of learning-rate schedules: one program serves every step, peak and warm-up, and no rate is below 0."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from experiments.training.optimizers import OptimizerConfig
from experiments.training.schedules import SCHEDULES, Moment, Schedule, learning_rate
from transformer import schema
from transformer.testing import InapplicableError

TOLERANCE = 2e-6
"""Largest difference of two rates, as a share of the peak, that float32 explains."""


class Numbers(NamedTuple):
    """Numbers that a program may take as arguments: peak, steps of warm-up, final fraction, and share of the decay."""

    peak: float = 0.5
    warmup_steps: float = 3.0
    final: float = 0.1
    decay_fraction: float = 0.2


@dataclasses.dataclass(frozen=True)
class Example:
    """A schedule of so many steps."""

    row: Schedule
    settings: Mapping[str, Any]
    steps: int

    @functools.cached_property
    def numbers(self) -> Numbers:
        """The numbers of the settings, and a warm-up that fits into the steps."""
        section = self.config
        return Numbers(0.5, min(3.0, self.steps // 2), section.final_fraction, section.decay_fraction)

    @functools.cached_property
    def config(self) -> Any:
        """Section `optimizer` with the schedule."""
        return schema.from_dict(OptimizerConfig, {"schedule": self.row, **self.settings}, "optimizer")

    def rate(self, step: Any, numbers: Numbers, steps: int | None = None) -> Array:
        """Compute the learning rate of an update."""
        row = SCHEDULES.of(self.config, "schedule")
        shape = functools.partial(row.function, **row.own)
        return learning_rate(shape, step, steps=steps or self.steps, **numbers._asdict())

    def rates(self, numbers: Numbers, steps: int | None = None) -> np.ndarray:
        """Compute the learning rate of every update, one by one, each from plain numbers."""
        count = steps or self.steps
        return np.array([float(self.rate(step, numbers, steps)) for step in range(count)])

    @functools.cached_property
    def plain(self) -> np.ndarray:
        """The learning rates of the example's numbers."""
        return self.rates(self.numbers)


@dataclasses.dataclass(frozen=True)
class Examples:
    """Schedules of one step to several."""

    sizes: tuple[int, ...] = (1, 2, 3, 8, 23)

    def make(self, row: Schedule, settings: Mapping[str, Any], size: int) -> Example:
        """Make the example of so many steps; the settings are those of section `optimizer`."""
        schema.from_dict(OptimizerConfig, {"schedule": row, **settings}, "optimizer")
        return Example(row, settings, size)


def traced(example: Example) -> str | None:
    """Compare rates from arguments of a compiled program with those from plain numbers."""
    rate = jax.jit(example.rate)
    found = np.array([float(rate(step, example.numbers)) for step in range(example.steps)])
    return _differ(found, example.plain, "as arguments of a program")


def lanes(example: Example) -> str | None:
    """Compare several peaks, warm-ups and ends side by side with each alone."""
    others = (example.numbers, Numbers(0.25, 0.0, 0.0, 0.5), Numbers(1.0, 1.0, 1.0, 1.0))
    both = Numbers(*(jnp.array(values) for values in zip(*others, strict=True)))
    run = jax.jit(jax.vmap(lambda numbers: jax.vmap(lambda t: example.rate(t, numbers))(jnp.arange(example.steps))))
    for lane, numbers in zip(np.asarray(run(both)), others, strict=True):
        alone = example.plain if numbers is example.numbers else example.rates(numbers)
        if found := _differ(lane, alone, f"side by side, of {_shown(numbers)},"):
            return found
    return None


def step(example: Example) -> str | None:
    """Compare the factors of steps that are whole numbers, of Python and of JAX, with those of floats."""
    section = example.config
    row, numbers = SCHEDULES.of(section, "schedule"), example.numbers[1:]

    def factors(kind: Callable[[int], Any]) -> np.ndarray:
        moments = [Moment(kind(t), numbers[0], example.steps, *numbers[1:]) for t in range(example.steps)]
        return np.array([float(row.function(moment, **row.own)) for moment in moments])

    expected = factors(jnp.float32)
    for name, kind in (("int", int), ("jax.numpy.int32", jnp.int32)):
        if found := _differ(factors(kind), expected, f"of a step of type {name}"):
            return found
    return None


def finite(example: Example) -> str | None:
    """Look for rates that are no number or below 0, without warm-up, with warm-up to the end, and at the limits."""
    steps = float(example.steps)
    extremes = (0.0, 1.0, steps - 1, steps, 3 * steps)
    ends = ((0.0, example.numbers.decay_fraction), (1.0, 1.0), (0.5, 1e-3))
    run = jax.jit(jax.vmap(example.rate, (0, None)))
    for numbers in (Numbers(1.0, warmup, *end) for warmup in extremes for end in ends):
        for t, rate in enumerate(np.asarray(run(jnp.arange(example.steps), numbers))):
            if not (math.isfinite(rate) and rate >= 0):
                return f"the rate of step {t} is {rate:.4g}, with {_shown(numbers)}"
    return None


def reads(example: Example) -> str | None:
    """Compare the rates with those under other settings that the row does not list in `reads`."""
    for name, field in (("final_fraction", "final"), ("decay_fraction", "decay_fraction")):
        if name not in example.row.reads:
            other = example.rates(example.numbers._replace(**{field: 0.7}))
            if found := _differ(other, example.plain, f"with another {name}, which `reads` does not name,"):
                return found
    return None


def longer(example: Example) -> str | None:
    """Compare the rates before the decay with those of a run of twice as many steps."""
    if not example.row.decays_at_end:
        raise InapplicableError("the row does not state that it decays at the end alone")
    begins = math.floor(example.steps - example.numbers.decay_fraction * example.steps)
    more = example.rates(example.numbers, 2 * example.steps)[:begins]
    return _differ(more, example.plain[:begins], "before the decay of a longer run")


def _differ(found: np.ndarray, expected: np.ndarray, words: str) -> str | None:
    for t, (one, other) in enumerate(zip(found, expected, strict=True)):
        if not abs(one - other) <= TOLERANCE:
            return f"the rate of step {t} {words} is {one:.6g}, not {other:.6g}"
    return None


def _shown(numbers: Numbers) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in numbers._asdict().items())


PROPERTIES = (
    ("traced", traced),
    ("lanes", lanes),
    ("step", step),
    ("finite", finite),
    ("reads", reads),
    ("longer", longer),
)
"""Name -> property."""
