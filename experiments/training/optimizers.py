"""Optimizers as rows; whatever a sweep may vary is an argument, never a constant of the program.

A row is a function (OptimizerConfig, Hyperparameters, decayed) -> optax transformation of gradients into a direction,
which the update scales by the learning rate. Its state must not depend on the hyperparameters.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import optax

from experiments.training.hyperparameters import Hyperparameters
from experiments.training.schedules import SCHEDULES
from transformer.schema import above, at_least, fraction, setting


def adamw(config: "OptimizerConfig", hyperparameters: Hyperparameters, decayed: Any) -> optax.GradientTransformation:
    """AdamW. Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101."""
    return optax.chain(
        optax.scale_by_adam(hyperparameters.beta1, hyperparameters.beta2, config.epsilon),
        optax.add_decayed_weights(hyperparameters.weight_decay, decayed),
    )


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {"adamw": adamw}


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """How parameters move."""

    name: str = setting("adamw", "the optimizer", allowed=OPTIMIZERS)
    learning_rate: float = setting(1e-3, "highest learning rate", check=above(0.0))
    schedule: str = setting("cosine", "how the learning rate falls after warm-up", allowed=SCHEDULES)
    warmup_steps: int = setting(100, "steps over which the learning rate rises from 0", check=at_least(0))
    final_fraction: float = setting(0.1, "learning rate at the end / the highest one", check=at_least(0.0))
    weight_decay: float = setting(0.1, "decoupled, on matrices and embeddings only", check=at_least(0.0))
    beta1: float = setting(0.9, "decay of the mean of gradients", check=fraction)
    beta2: float = setting(0.98, "decay of the mean of squared gradients", check=fraction)
    epsilon: float = setting(1e-8, "added to the root of the second mean", check=above(0.0))
    clip_norm: float | None = setting(1.0, "largest global norm of the gradient; none: no clipping", check=above(0.0))


def optimizer(
    config: OptimizerConfig, hyperparameters: Hyperparameters, parameter_axes: Any
) -> optax.GradientTransformation:
    """Clipping, then the row that the config names. Biases and scales are not decayed: the table of axes says which."""
    decayed = jax.tree.map(lambda axes: axes.kind != "vector", parameter_axes)
    clip = optax.identity() if config.clip_norm is None else optax.clip_by_global_norm(config.clip_norm)
    return optax.chain(clip, OPTIMIZERS[config.name](config, hyperparameters, decayed))
