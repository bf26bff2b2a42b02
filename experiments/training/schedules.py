"""Learning-rate schedules: functions of the step and of arrays, so that one program serves every peak and warm-up.

    rate(t)  = peak * min(1, (t + 1) / (warmup + 1)) * shape(progress)
    progress = (t - warmup) / (steps - warmup), in [0, 1]

    constant   1
    linear     1 - (1 - final) progress
    cosine     final + (1 - final) (1 + cos(pi progress)) / 2     Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983

optax's own schedules refuse traced lengths.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array

Shape = Callable[[Array, float], Array]

SCHEDULES: dict[str, Shape] = {
    "constant": lambda progress, final: jnp.ones_like(progress),
    "linear": lambda progress, final: 1.0 - (1.0 - final) * progress,
    "cosine": lambda progress, final: final + (1.0 - final) * 0.5 * (1.0 + jnp.cos(jnp.pi * progress)),
}
"""Name -> factor on the peak as a function of progress after warm-up, 0 to 1, and of the final fraction."""


def learning_rate(
    shape: Shape, step: Array, *, peak: Array | float, warmup_steps: Array | float, steps: int, final: float
) -> Array:
    """The learning rate of update `step`, counted from 0; every argument but `shape` may be traced."""
    step = jnp.asarray(step, jnp.float32)
    warm = jnp.minimum(1.0, (step + 1.0) / (warmup_steps + 1.0))
    progress = jnp.clip((step - warmup_steps) / jnp.maximum(steps - warmup_steps, 1), 0.0, 1.0)
    return peak * warm * shape(progress, final)
