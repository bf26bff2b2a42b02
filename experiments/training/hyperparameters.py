"""Hyperparameters that a sweep may vary without recompiling: arrays, an argument of the update."""

import dataclasses
import operator
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Hyperparameters:
    """Hyperparameters as scalars, or with a leading R for R trials; a None among them compiles to nothing."""

    seed: Array
    learning_rate: Array
    warmup_steps: Array
    weight_decay: Array
    beta1: Array
    beta2: Array
    initial_scale: Array
    dropout: Array | None
    label_smoothing: Array | None


SETTINGS: dict[str, str] = {
    "seed": "seed",
    "learning_rate": "optimizer.learning_rate",
    "warmup_steps": "optimizer.warmup_steps",
    "weight_decay": "optimizer.weight_decay",
    "beta1": "optimizer.beta1",
    "beta2": "optimizer.beta2",
    "initial_scale": "training.initial_scale",
    "dropout": "model.dropout",
    "label_smoothing": "training.label_smoothing",
}
"""Field of Hyperparameters -> full name of the setting of the config."""


def hyperparameters(config: Any) -> Hyperparameters:
    """Build the hyperparameters of a resolved config."""

    def scalar(name: str) -> Array | None:
        value = operator.attrgetter(SETTINGS[name])(config)
        return None if value is None else jnp.asarray(value, jnp.uint32 if name == "seed" else jnp.float32)

    return Hyperparameters(**{name: scalar(name) for name in SETTINGS})
