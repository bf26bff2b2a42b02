"""From hidden states to one vector, and from it to the logits of classes.

first   h_1          BERT's [CLS], Devlin et al. 2018
last    h_length     GPT, Radford et al. 2018: the first state that has seen everything under a causal mask
mean    sum over t < length of h_t / length
max     the largest entry over t < length, one by one     Collobert et al. 2011; Kim 2014, "max-over-time pooling"
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from transformer.nn.parameters import find_axes, sizes, start
from transformer.ops.linear import logits


def first(hidden_BTD: Float[Array, "B T D"], lengths_B: Int[Array, "B"]) -> Float[Array, "B D"]:
    """The first state."""
    return hidden_BTD[:, 0]


def last(hidden_BTD: Float[Array, "B T D"], lengths_B: Int[Array, "B"]) -> Float[Array, "B D"]:
    """The last state within each example's length; the first one of an example without any."""
    at_B = jnp.maximum(lengths_B - 1, 0)
    return jnp.take_along_axis(hidden_BTD, at_B[:, None, None], axis=1, mode="clip")[:, 0]


def mean(hidden_BTD: Float[Array, "B T D"], lengths_B: Int[Array, "B"]) -> Float[Array, "B D"]:
    """The mean over each example's length, summed in float32; zero for an example without any state."""
    inside_BT1 = (jnp.arange(hidden_BTD.shape[1]) < lengths_B[:, None])[..., None]
    total_BD = jnp.sum(jnp.where(inside_BT1, hidden_BTD.astype(jnp.float32), 0.0), axis=1)
    return (total_BD / jnp.maximum(lengths_B, 1)[:, None]).astype(hidden_BTD.dtype)


def largest(hidden_BTD: Float[Array, "B T D"], lengths_B: Int[Array, "B"]) -> Float[Array, "B D"]:
    """The largest of each entry over each example's length; zero for an example without any state."""
    inside_BT1 = (jnp.arange(hidden_BTD.shape[1]) < lengths_B[:, None])[..., None]
    low = jnp.finfo(hidden_BTD.dtype).min
    highest_BD = jnp.max(jnp.where(inside_BT1, hidden_BTD, low), axis=1)
    return jnp.where(lengths_B[:, None] > 0, highest_BD, 0)


POOLING: dict[str, Callable[[Array, Array], Array]] = {"first": first, "last": last, "mean": mean, "max": largest}
"""Name -> function (hidden_BTD, lengths_B) -> B D."""


class ClassHead(nn.Module):
    """Logits of classes B C, float32, from the states that `class_head.reads` names; always with a bias."""

    config: Any

    @nn.compact
    def __call__(self, hidden_BTD: Array, lengths_B: Array | None) -> Array:
        B, T = hidden_BTD.shape[:2]
        lengths_B = jnp.full(B, T, jnp.int32) if lengths_B is None else lengths_B
        read_BD = POOLING[self.config.class_head.reads](hidden_BTD, lengths_B)
        size = sizes(self.config)
        kernel_DC, bias_C = (
            self.param(name, start(axes), tuple(size[a] for a in axes.letters))
            for name, axes in ((name, find_axes("class_head", name)) for name in ("kernel", "bias"))
        )
        return logits(read_BD, kernel_DC) + bias_C
