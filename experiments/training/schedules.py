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
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array


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


Shape = Callable[[Moment], Array]


def inverse_sqrt(at: Moment) -> Array:
    """Return 1 until the end of warm-up, then the inverse root of the number of updates."""
    return jnp.sqrt((at.warmup_steps + 1.0) / (jnp.maximum(at.step, at.warmup_steps) + 1.0))


SCHEDULES: dict[str, Shape] = {
    "constant": lambda at: jnp.ones_like(at.step),
    "linear": lambda at: 1.0 - (1.0 - at.final) * at.progress,
    "cosine": lambda at: at.final + (1.0 - at.final) * 0.5 * (1.0 + jnp.cos(jnp.pi * at.progress)),
    "inverse_sqrt": inverse_sqrt,
    "wsd": lambda at: at.final + (1.0 - at.final) * (1.0 - jnp.sqrt(1.0 - at.remaining)),
}
"""Name -> factor on the peak at a Moment."""

DECAY_AT_END = ("wsd",)
"""Schedules that do not depend on the number of steps until their decay begins."""


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
