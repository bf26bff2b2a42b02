"""Learning-rate schedules: functions of the step and of arrays, so that one program serves every peak and warm-up.

    rate(t)   = peak * min(1, (t + 1) / (warmup + 1)) * shape(t)
    progress  = (t - warmup) / (steps - warmup), in [0, 1]
    remaining = (steps - t) / (decay_fraction steps), in [0, 1]

    constant       1
    linear         1 - (1 - final) progress
    cosine         final + (1 - final) (1 + cos(pi progress)) / 2     Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983
    inverse_sqrt   sqrt((warmup + 1) / (max(t, warmup) + 1))          Vaswani et al. 2017, https://arxiv.org/abs/1706.03762
    wsd            final + (1 - final) (1 - sqrt(1 - remaining))      Hu et al. 2024, https://arxiv.org/abs/2404.06395

Vaswani et al. count updates from 1 and warm up over one more than we do: t + 1 is their step number and warmup + 1
their warm-up, so the two halves meet at the peak, and without warm-up the rate is peak / sqrt(t + 1). wsd (warm-up,
stable, decay) is constant until the last `decay_fraction` of all steps; its decay is not Hu et al.'s exponential
but the 1 - sqrt that Hägele et al. 2024 (https://arxiv.org/abs/2405.18392) found to be better than a line. optax's own
schedules refuse traced lengths.

One of a user's own is a function of a Moment; a `Schedule` states what it reads, and its own settings.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from transformer.errors import problem, written
from transformer.small_example import check_call
from transformer.tables import Row, Table


class Moment(NamedTuple):
    """Position of an update in a schedule, and the schedule's settings; all may be traced."""

    step: Array
    """The update, counted from 0."""
    warmup_steps: Array | float
    steps: int
    final: Array | float
    """Final rate as a fraction of the peak."""
    decay_fraction: Array | float
    """Fraction of all steps in which `wsd` decays."""

    @property
    def progress(self) -> Array:
        """Share of the updates after warm-up that are done: 0 at its end, 1 after the last update."""
        after = (self.step - self.warmup_steps) / jnp.maximum(self.steps - self.warmup_steps, 1)
        return jnp.clip(after, 0.0, 1.0)

    @property
    def remaining(self) -> Array:
        """Share of the decay of `wsd` that remains: 1 until it begins, 0 after the last update."""
        return jnp.clip((self.steps - self.step) / jnp.maximum(self.decay_fraction * self.steps, 1), 0.0, 1.0)


Shape = Callable[..., Array]
"""Factor on the peak at a Moment; that of a row with settings also takes `settings`."""


@dataclasses.dataclass(frozen=True, eq=False)
class Schedule(Row):
    """A row of SCHEDULES.

    Attributes:
        function: Moment -> factor on the peak; a row with settings also takes `settings`.
        reads: the settings of section `optimizer` that it reads by the Moment, of final_fraction and decay_fraction.
        decays_at_end: True where it does not depend on the number of steps until its decay begins, in the last
            optimizer.decay_fraction of them.
    """

    function: Shape
    reads: tuple[str, ...] = ("final_fraction", "decay_fraction")
    decays_at_end: bool = False


def inverse_sqrt(at: Moment) -> Array:
    """Return 1 until the end of warm-up, then the inverse root of the number of updates."""
    return jnp.sqrt((at.warmup_steps + 1.0) / (jnp.maximum(at.step, at.warmup_steps) + 1.0))


def _check(row: Schedule, what: str) -> None:
    """Call a schedule from outside at a moment whose numbers are traced, and check that it returns one number."""

    def factor(step: Array, warmup_steps: Array, final: Array, decay_fraction: Array) -> Array:
        result: Any = row.function(Moment(step, warmup_steps, 7, final, decay_fraction), **row.own)
        if not isinstance(result, Array | float | int) or jnp.shape(result) != ():
            got = f"{result.dtype} of shape {result.shape}" if isinstance(result, Array) else written(result)
            raise problem(f"{what} gave something else", got=got, expected="one number, the factor on the peak")
        return jnp.asarray(result)

    number = jax.ShapeDtypeStruct((), jnp.float32)
    check_call(what, row.function, ("moment",), factor, (number,) * 4, named=row.own)


SCHEDULES = Table(
    "schedule",
    Schedule,
    {
        "constant": Schedule(lambda at: jnp.ones_like(at.step), reads=()),
        "linear": Schedule(lambda at: 1.0 - (1.0 - at.final) * at.progress, reads=("final_fraction",)),
        "cosine": Schedule(
            lambda at: at.final + (1.0 - at.final) * 0.5 * (1.0 + jnp.cos(jnp.pi * at.progress)),
            reads=("final_fraction",),
        ),
        "inverse_sqrt": Schedule(inverse_sqrt, reads=()),
        "wsd": Schedule(
            lambda at: at.final + (1.0 - at.final) * (1.0 - jnp.sqrt(1.0 - at.remaining)), decays_at_end=True
        ),
    },
    make=Schedule,
    expected="a function of an experiments.training.schedules.Moment -> factor on the peak",
    check=_check,
)


def learning_rate(
    shape: Shape,
    step: Array,
    *,
    peak: Array | float,
    warmup_steps: Array | float,
    steps: int,
    final: Array | float,
    decay_fraction: Array | float,
) -> Array:
    """Compute the learning rate of update `step`, counted from 0; every argument but `shape` may be traced."""
    step = jnp.asarray(step, jnp.float32)
    warm = jnp.minimum(1.0, (step + 1.0) / (warmup_steps + 1.0))
    return peak * warm * shape(Moment(step, warmup_steps, steps, final, decay_fraction))
