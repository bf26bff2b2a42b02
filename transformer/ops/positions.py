"""Positions of tokens: codes added to the embeddings, rotations of queries and keys, or distances between them.

    sinusoidal   code[p, i] = sin(p / 10000^(i / (D/2))), then the cosines   Vaswani et al. 2017, section 3.5
    rotary       (x_i, x_{i+H/2}) rotated by the angle p / base^(i / (H/2))   Su et al. 2021, https://arxiv.org/abs/2104.09864
    alibi        bias[t, s] = -slope |t - s|, a slope for each head       Press et al. 2022, https://arxiv.org/abs/2108.12409
    relative     bias[t, s] = table[bucket(s - t)], for each head         Raffel et al. 2020, https://arxiv.org/abs/1910.10683

Sines and cosines stand in two halves here, interleaved in the papers: the same code up to an order of the columns,
which the first matrix product absorbs. Learned positions are a table, so they live in `nn`.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from transformer.axes import to_rank
from transformer.errors import problem


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class QueryKeyPositions:
    """The positions of queries and keys, each within its own example: T or B T, and S or B S.

    Rotary angles, biases, scores and score modifiers read positions. Masks read another number, the index: the row in
    the sequence or in the cache. Both are the same unless examples are packed into one row.
    """

    query: Int[Array, "..."]
    key: Int[Array, "..."]

    @property
    def broadcast(self) -> tuple[Array, Array]:
        """Both, with axes that broadcast to B N T S: (B or 1) 1 T 1, and (B or 1) 1 1 S."""
        query_BT, key_BS = jnp.atleast_2d(self.query), jnp.atleast_2d(self.key)
        return query_BT[:, None, :, None], key_BS[:, None, None, :]

    @property
    def distances(self) -> Array:
        """Key position minus query position: T S, or B T S."""
        rank = max(self.query.ndim, self.key.ndim)
        return to_rank(self.key, rank)[..., None, :] - to_rank(self.query, rank)[..., :, None]


def rotary_rates(half: int, base: float | Float[Array, ""]) -> Float[Array, "half"]:
    """Compute base^(-i / half) for i = 0 .. half - 1, in radians per position.

    >>> rotary_rates(4, 10_000.0).shape
    (4,)
    """
    return base ** (-jnp.arange(half, dtype=jnp.float32) / max(half, 1))


def _angles(positions: Int[Array, "..."], rates: Float[Array, "half"]) -> Float[Array, "... half"]:
    """Compute positions times rates, in radians."""
    return positions[..., None].astype(jnp.float32) * to_rank(rates, positions.ndim + 1)


def sinusoidal(positions: Int[Array, "..."], width: int, base: float = 10_000.0) -> Float[Array, "... D"]:
    """Compute the code of each position, float32, every entry in [-1, 1]. An odd width drops the last cosine.

    Vaswani et al. 2017, section 3.5.

    >>> sinusoidal(jnp.arange(5), 8).shape
    (5, 8)
    """
    angles = _angles(positions, rotary_rates((width + 1) // 2, base))
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)[..., :width]


def rotary(
    x_BTNH: Float[Array, "B T N H"], positions: Int[Array, "..."], base: float | Float[Array, ""] = 10_000.0
) -> Float[Array, "B T N H"]:
    """Rotate queries or keys, so that their product depends on the distance of their positions alone.

    Su et al. 2021, https://arxiv.org/abs/2104.09864.

    Args:
        x_BTNH: queries or keys; H is even.
        positions: T, or B T.
        base: the wavelengths in positions are 2 pi base^(i / (H/2)); may be traced.

    Raises:
        UserError: H is odd.

    >>> rotary(jnp.ones((2, 5, 4, 8)), jnp.arange(5)).shape
    (2, 5, 4, 8)
    """
    return rotate_pairs(x_BTNH, positions, rotary_rates(x_BTNH.shape[-1] // 2, base))


def rotate_pairs(
    x_BTNH: Float[Array, "B T N H"], positions: Int[Array, "..."], rates: Float[Array, "half"], factor: float = 1.0
) -> Float[Array, "B T N H"]:
    """Rotate each pair of entries by its own rate, in float32: the core of rotary positions.

    Args:
        x_BTNH: queries or keys; entries i and i + H/2 are a pair.
        positions: T, or B T.
        rates: of each pair, in radians per position.
        factor: on cosine and sine, so on lengths.

    Raises:
        UserError: H is odd.

    >>> rotate_pairs(jnp.ones((2, 5, 4, 8)), jnp.arange(5), rotary_rates(4, 10_000.0), factor=1.1).shape
    (2, 5, 4, 8)
    """
    if x_BTNH.shape[-1] % 2:
        raise problem("rotary positions rotate pairs of entries", got=f"H = {x_BTNH.shape[-1]}", expected="even")
    angles = to_rank(_angles(positions, rates)[..., None, :], 4)
    cosine, sine = jnp.cos(angles), jnp.sin(angles)
    if factor != 1.0:
        cosine, sine = cosine * factor, sine * factor
    first, second = jnp.split(x_BTNH.astype(jnp.float32), 2, axis=-1)
    rotated = [first * cosine - second * sine, second * cosine + first * sine]
    return jnp.concatenate(rotated, axis=-1).astype(x_BTNH.dtype)


def scaled_base(base: float | Array, scale: float, width: int) -> float | Array:
    """Compute the base that makes rotary's slowest rotation `scale` times slower and leaves the fastest as it is.

    base scale^(H / (H - 2)), the "NTK-aware" scaling (bloc97 2023, in Peng et al. 2023,
    https://arxiv.org/abs/2309.00071, section 3.1): sequences `scale` times longer have the angles of training, and
    neighbours still differ.

    >>> scaled_base(10_000.0, 1.0, 64)
    10000.0
    """
    return base * scale ** (width / max(width - 2, 1))


def slopes(heads: int) -> list[float]:
    """Compute ALiBi's slope of each head: 2^(-8 n / N), n = 1 .. N, for a power of two.

    For other N, as Press et al. do: those of the power of two below, then every second one of the power above.

    >>> slopes(4)
    [0.25, 0.0625, 0.015625, 0.00390625]
    """
    below = 2 ** (heads.bit_length() - 1)
    own = [2.0 ** (-8 * n / below) for n in range(1, below + 1)]
    return own + [2.0 ** (-4 * n / below) for n in range(1, 2 * (heads - below), 2)]


def alibi(positions: QueryKeyPositions, heads: int) -> Float[Array, "... N T S"]:
    """Compute -slope |t - s|: the further a key, the lower its score. Keys after the query as those before.

    Press et al. 2022, https://arxiv.org/abs/2108.12409.

    >>> alibi(QueryKeyPositions(jnp.arange(3), jnp.arange(5)), heads=4).shape
    (4, 3, 5)
    """
    distance_TS = jnp.abs(positions.distances).astype(jnp.float32)
    slopes_N11 = jnp.asarray(slopes(heads), jnp.float32)[:, None, None]
    return -to_rank(slopes_N11, distance_TS.ndim + 1) * distance_TS[..., None, :, :]


def relative(
    positions: QueryKeyPositions, table: Float[Array, "N M"], max_distance: int, *, causal: bool
) -> Float[Array, "... N T S"]:
    """Look up the learned bias of each head and bucket of distances.

    Raffel et al. 2020, https://arxiv.org/abs/1910.10683, section 2.1.

    >>> positions = QueryKeyPositions(jnp.arange(3), jnp.arange(5))
    >>> relative(positions, jnp.zeros((4, 32)), 128, causal=False).shape
    (4, 3, 5)
    """
    index = buckets(positions.distances, table.shape[-1], max_distance, causal=causal)
    return jnp.moveaxis(jnp.take(table, index, axis=1), 0, -3)


def buckets(distances: Int[Array, "..."], size: int, max_distance: int, *, causal: bool) -> Int[Array, "..."]:
    """Compute the bucket 0 .. size - 1 of each distance (key minus query): T5, Raffel et al. 2020, section 2.1.

    Half of the buckets hold one distance each; the others are logarithmic up to `max_distance`, and the last holds all
    beyond. With `causal` every later key counts as distance 0; without, one half is for the keys behind the query.

    >>> buckets(jnp.array([-3, 0, 3]), 32, 128, causal=False).shape
    (3,)
    """
    offset: Array | int
    if causal:
        offset, far = 0, jnp.maximum(-distances, 0)
    else:
        size = size // 2
        offset, far = jnp.where(distances > 0, size, 0), jnp.abs(distances)
    exact = size // 2
    octaves = jnp.log(jnp.maximum(far, 1).astype(jnp.float32) / exact) / math.log(max_distance / exact)
    # The small number keeps a distance that is exactly a boundary on its upper side, whatever the platform's log.
    wide = exact + jnp.floor(octaves * (size - exact) + 1e-4).astype(jnp.int32)
    return offset + jnp.where(far < exact, far, jnp.minimum(wide, size - 1))
