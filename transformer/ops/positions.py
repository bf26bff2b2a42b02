"""Where a token stands: codes added to the embeddings, or rotations of queries and keys.

    sinusoidal   code[p, i] = sin(p / 10000^(i / (D/2))), then the cosines   Vaswani et al. 2017, section 3.5
    rotary       (x_i, x_{i+H/2}) turned by the angle p / base^(i / (H/2))   Su et al. 2021, https://arxiv.org/abs/2104.09864

Sines and cosines stand in two halves here, interleaved in the papers: the same code up to an order of the columns,
which the first matrix product absorbs. Learned positions are a table, so they live in `nn`.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int


def _angles(positions: Int[Array, "..."], half: int, base: float) -> Float[Array, "... half"]:
    """positions / base^(i / half) for i = 0 .. half - 1, in radians."""
    rates = base ** (-jnp.arange(half, dtype=jnp.float32) / max(half, 1))
    return positions[..., None].astype(jnp.float32) * rates


def sinusoidal(positions: Int[Array, "..."], width: int, base: float = 10_000.0) -> Float[Array, "... D"]:
    """The code of each position, float32, every entry in [-1, 1]. An odd width drops the last cosine."""
    angles = _angles(positions, (width + 1) // 2, base)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)[..., :width]


def rotary(
    x_BTNH: Float[Array, "B T N H"], positions: Int[Array, "..."], base: float = 10_000.0
) -> Float[Array, "B T N H"]:
    """Turns queries or keys, so that their product depends on the distance of their positions alone.

    Args:
        x_BTNH: H is even.
        positions: T, or B T.
    """
    angles = _angles(positions, x_BTNH.shape[-1] // 2, base)[..., None, :]
    cosine, sine = jnp.cos(angles), jnp.sin(angles)
    first, second = jnp.split(x_BTNH.astype(jnp.float32), 2, axis=-1)
    turned = [first * cosine - second * sine, second * cosine + first * sine]
    return jnp.concatenate(turned, axis=-1).astype(x_BTNH.dtype)
