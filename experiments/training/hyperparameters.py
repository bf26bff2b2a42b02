"""What a sweep may vary without recompiling: arrays, an argument of the update."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Hyperparameters:
    """Scalars, or with a leading R for R trials. Dropout and label smoothing may be None, which compiles to nothing."""

    seed: Array
    learning_rate: Array
    warmup_steps: Array
    weight_decay: Array
    beta1: Array
    beta2: Array
    initial_scale: Array
    dropout: Array | None
    label_smoothing: Array | None


def hyperparameters(config: Any) -> Hyperparameters:
    """Those of a resolved config."""

    def scalar(value: float | None) -> Array | None:
        return None if value is None else jnp.asarray(value, jnp.float32)

    return Hyperparameters(
        seed=jnp.asarray(config.seed, jnp.uint32),
        learning_rate=scalar(config.optimizer.learning_rate),
        warmup_steps=scalar(config.optimizer.warmup_steps),
        weight_decay=scalar(config.optimizer.weight_decay),
        beta1=scalar(config.optimizer.beta1),
        beta2=scalar(config.optimizer.beta2),
        initial_scale=scalar(config.training.initial_scale),
        dropout=scalar(config.model.dropout),
        label_smoothing=scalar(config.training.label_smoothing),
    )
