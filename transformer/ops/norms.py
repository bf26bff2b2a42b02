"""Normalisation over the model width; statistics in float32.

layer_norm   (x - mean) / sqrt(variance + epsilon) * scale + bias     Ba et al. 2016, https://arxiv.org/abs/1607.06450
rms_norm     x / sqrt(mean(x^2) + epsilon) * scale                    Zhang and Sennrich 2019, 1910.07467
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from transformer.axes import to_rank


def layer_norm(
    x: Float[Array, "... D"],
    scale: Float[Array, "D"],
    bias: Float[Array, "D"] | None = None,
    epsilon: float = 1e-5,
) -> Float[Array, "... D"]:
    """Normalise to mean 0 and variance 1 over D (biased variance), then scale and add the bias; in x's type.

    Ba et al. 2016, https://arxiv.org/abs/1607.06450.

    >>> layer_norm(jnp.ones((2, 5, 4)), jnp.ones(4), jnp.zeros(4)).shape
    (2, 5, 4)
    """
    wide = x.astype(jnp.float32)
    centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    y = centred * jax.lax.rsqrt(variance + epsilon) * to_rank(scale, x.ndim)
    return (y if bias is None else y + to_rank(bias, x.ndim)).astype(x.dtype)


def rms_norm(x: Float[Array, "... D"], scale: Float[Array, "D"], epsilon: float = 1e-5) -> Float[Array, "... D"]:
    """Normalise to mean square 1 over D, then scale; in x's type. Zhang and Sennrich 2019, 1910.07467.

    >>> rms_norm(jnp.ones((2, 5, 4)), jnp.ones(4)).shape
    (2, 5, 4)
    """
    wide = x.astype(jnp.float32)
    mean_square = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
    return (wide * jax.lax.rsqrt(mean_square + epsilon) * to_rank(scale, x.ndim)).astype(x.dtype)


NORMS: dict[str, tuple[Callable[..., Array], tuple[str, ...]]] = {
    "layer": (layer_norm, ("scale", "bias")),
    "rms": (rms_norm, ("scale",)),
}
"""Names -> the function, and its parameters, each of width D; `scale` starts at 1, `bias` at 0."""
