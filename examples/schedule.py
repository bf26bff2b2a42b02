"""A learning-rate schedule of one's own: cosine restarts (Loshchilov and Hutter 2017), their number a setting."""

import dataclasses

import jax.numpy as jnp

from experiments import api
from experiments.training.schedules import Schedule


@dataclasses.dataclass(frozen=True)
class Settings:
    restarts: int = 3


def restarts(at, *, settings):
    return 0.5 * (1.0 + jnp.cos(jnp.pi * ((settings.restarts * at.progress) % 1.0)))


api.register("schedule", "restarts", Schedule(restarts, settings=Settings))
