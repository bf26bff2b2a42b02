"""Norms with a derivative of their own, which keep x and two numbers for each row; `ops.norms` has the definitions.

    h = (x - mean) r,  r = 1 / sqrt(variance + epsilon),  y = h scale + bias
    dx = r (d - mean(d) - h mean(d h)),  d = dy scale       Ba et al. 2016, https://arxiv.org/abs/1607.06450

RMS norm has no means: dx = r (d - h mean(d h)). XLA's own derivative passes over x several times more.
"""

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from transformer.axes import to_rank
from transformer.ops.reductions import sum_last

Residuals = tuple[Array, Array | None, Array, Array, Array | None]
"""x, mean, 1 / deviation, scale, bias."""


def layer_norm(
    x: Float[Array, "... D"],
    scale: Float[Array, "D"],
    bias: Float[Array, "D"] | None = None,
    epsilon: float = 1e-5,
) -> Float[Array, "... D"]:
    """Compute `ops.norms.layer_norm`. It has no forward-mode derivative.

    >>> layer_norm(jnp.ones((2, 5, 4)), jnp.ones(4), jnp.zeros(4)).shape
    (2, 5, 4)
    """
    return _norm(epsilon, True, x, scale, bias)


def rms_norm(x: Float[Array, "... D"], scale: Float[Array, "D"], epsilon: float = 1e-5) -> Float[Array, "... D"]:
    """Compute `ops.norms.rms_norm`. It has no forward-mode derivative.

    >>> rms_norm(jnp.ones((2, 5, 4)), jnp.ones(4)).shape
    (2, 5, 4)
    """
    return _norm(epsilon, False, x, scale, None)


def rms_norm_plus_one(
    x: Float[Array, "... D"], scale: Float[Array, "D"], epsilon: float = 1e-5
) -> Float[Array, "... D"]:
    """Compute `ops.norms.rms_norm_plus_one`. It has no forward-mode derivative.

    >>> rms_norm_plus_one(jnp.ones((2, 5, 4)), jnp.zeros(4)).shape
    (2, 5, 4)
    """
    return rms_norm(x, 1.0 + scale.astype(jnp.float32), epsilon)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _norm(epsilon: float, centred: bool, x: Array, scale: Array, bias: Array | None) -> Array:
    return _forward(epsilon, centred, x, scale, bias)[0]


def _forward(epsilon: float, centred: bool, x: Array, scale: Array, bias: Array | None) -> tuple[Array, Residuals]:
    wide = x.astype(jnp.float32)
    mean = _mean(wide) if centred else None
    offset = wide if mean is None else wide - mean
    rate = jax.lax.rsqrt(_mean(jnp.square(offset)) + epsilon)
    y = offset * rate * to_rank(scale, x.ndim)
    return (y if bias is None else y + to_rank(bias, x.ndim)).astype(x.dtype), (x, mean, rate, scale, bias)


def _backward(epsilon: float, centred: bool, residuals: Residuals, dy: Array) -> tuple[Array, Array, Array | None]:
    x, mean, rate, scale, bias = residuals
    wide, dy = x.astype(jnp.float32), dy.astype(jnp.float32)
    h = (wide if mean is None else wide - mean) * rate
    d = dy * to_rank(scale, x.ndim)
    inner = d - h * _mean(d * h)
    dx = rate * (inner - _mean(d) if centred else inner)
    outer = tuple(range(x.ndim - 1))
    d_bias = None if bias is None else jnp.sum(dy, axis=outer).astype(bias.dtype)
    return dx.astype(x.dtype), jnp.sum(dy * h, axis=outer).astype(scale.dtype), d_bias


def _mean(x: Array) -> Array:
    """Average over the last axis, which stays as one of length 1."""
    return sum_last(x) / x.shape[-1]


_norm.defvjp(_forward, _backward)
