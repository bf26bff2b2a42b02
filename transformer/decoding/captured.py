"""Activations that are captured while tokens are written: for each token, those that its logits were computed from.

`start` computes the first ones, at the last token of the prompt, and each `step` those of one token more. In an array
with an axis T they stand one after the other, T = steps; one without it, such as the keys of a cache, is that of an
example's last step. What an encoder computes is computed once, and is returned as `start` captures it.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from transformer.models import sites
from transformer.models.batch import Batch, extent
from transformer.models.config import ModelConfig
from transformer.nn.names import parse_name

Captured = dict[str, Array]
"""Names of activations -> their arrays."""


class Axes(NamedTuple):
    """The axes of a captured array.

    Attributes:
        examples: index of B.
        tokens: index of the axis that counts the tokens of a pass; None: there is none.
    """

    examples: int
    tokens: int | None

    def of_examples(self, x_B: Array, ndim: int) -> Array:
        """Return an array of examples with axes of length 1 beside them, `ndim` in all."""
        return x_B.reshape([-1 if i == self.examples else 1 for i in range(ndim)])


def axes_of(config: ModelConfig, of_step: dict[str, Any]) -> dict[str, Axes]:
    """Find the axes of what a step captures, by names and shapes: keys that no cache keeps are of its token, S = 1."""
    found = {}
    for text, x in of_step.items():
        name = parse_name(text, sites.of_layers(config))
        letters = [*([] if name.of_stack else ["L"]), *name.axes.split()]
        own_key = name.site.startswith("self.") and "S" in letters and x.shape[letters.index("S")] == 1
        tokens = letters.index("T") if "T" in letters else letters.index("S") if own_key else None
        found[text] = Axes(letters.index("B"), tokens)
    return found


def first(captured: Captured, axes: dict[str, Axes], batch: Batch) -> Captured:
    """Return what `start` captured at the last token of each prompt, in the form of a step."""
    lengths_B = extent(batch, "target")[1]

    def last(x: Array, own: Axes) -> Array:
        if own.tokens is None or lengths_B is None:
            return x
        return jnp.take_along_axis(x, own.of_examples(lengths_B - 1, x.ndim), own.tokens, mode="clip")

    return {text: last(captured[text], own) for text, own in axes.items()}


def empty(new: Captured, axes: dict[str, Axes], steps: int) -> Captured:
    """Return arrays of zeros to write what steps capture into."""

    def zeros(x: Array, own: Axes) -> Array:
        return jnp.zeros([steps if i == own.tokens else size for i, size in enumerate(x.shape)], x.dtype)

    return {text: zeros(new[text], own) for text, own in axes.items()}


def put(found: Captured, new: Captured, axes: dict[str, Axes], index: Array | int, ended_B: Array) -> Captured:
    """Write what was captured for token `index`, of each example that has not ended."""

    def write(x: Array, new: Array, own: Axes) -> Array:
        ended = own.of_examples(ended_B, x.ndim)
        if own.tokens is None:
            return jnp.where(ended, x, new)
        return jax.lax.dynamic_update_slice_in_dim(x, jnp.where(ended, 0, new), index, own.tokens)

    return {text: write(found[text], new[text], own) for text, own in axes.items()}
