"""Linear attention: weights that are products of features, so that a state of constant size holds all earlier keys.

    y_t = sum over the s that t may see of (phi(q_t) . phi(k_s)) v_s / sum over the same s of phi(q_t) . phi(k_s)
        = phi(q_t) S_t / phi(q_t) . z_t,    S_t = sum over s of phi(k_s) v_s^T,    z_t = sum over s of phi(k_s)
    phi(x) = elu(x) + 1

Katharopoulos et al. 2020, https://arxiv.org/abs/2006.16236, equations 4 to 20. The sums are float32 whatever the
inputs. Keys are read in chunks of C tokens: within one by the first form, C^2 products, before it by the second. So
time and memory grow with the length, not with its square. A query that may see no key gets exactly zero.

What looks both ways is read twice: forwards, each token with itself and those before it, and backwards, with those
behind it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from transformer.axes import check_shape
from transformer.ops.scoring import check_shapes
from transformer.ops.sequences import Sequence

CHUNK = 64
"""C, tokens of a chunk."""

State = dict[str, Array]
"""The sums over the keys that were read: `state`, S, B K H H, and `norm`, z, B K H; float32."""


def features(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Compute phi(x) = elu(x) + 1, which is positive; float32.

    >>> features(jnp.zeros(3)).tolist()
    [1.0, 1.0, 1.0]
    """
    return jax.nn.elu(x.astype(jnp.float32)) + 1.0


def empty_state(batch: int, heads: int, width: int) -> State:
    """Return the sums over no key.

    >>> empty_state(2, 4, 8)["state"].shape
    (2, 4, 8, 8)
    """
    return {
        "state": jnp.zeros((batch, heads, width, width), jnp.float32),
        "norm": jnp.zeros((batch, heads, width), jnp.float32),
    }


def linear_attention(
    query_BTNH: Float[Array, "B T N H"],
    key_BTKH: Float[Array, "B T K H"],
    value_BTKH: Float[Array, "B T K H"],
    sequence: Sequence,
    *,
    causal: bool,
    state: State | None = None,
    chunk: int = CHUNK,
) -> tuple[Float[Array, "B T N H"], State]:
    """Attend by sums: each query to the keys of its segment, of a causal sequence to its own and those before it.

    Args:
        query_BTNH, key_BTKH, value_BTKH: query head n reads key head n // (N / K).
        sequence: segments, padding and prefix.
        state: the sums over earlier keys, of segment 1; None: there are none.
        chunk: C; it changes no result but for rounding.

    Returns:
        What each head reads, in the values' type, and the sums over the keys of each row's last segment.

    Raises:
        UserError: shapes that do not fit each other, N not a multiple of K.

    >>> x, tokens = jnp.ones((2, 3, 4, 8)), Sequence(jnp.ones((2, 3), int))
    >>> linear_attention(x, x[:, :, :2], x[:, :, :2], tokens, causal=True)[0].shape
    (2, 3, 4, 8)
    """
    check_shapes(query_BTNH, key_BTKH, value_BTKH)
    B, T, N, H = query_BTNH.shape
    K = key_BTKH.shape[2]
    check_shape("the segments", sequence.segments_BT, "B T", {"B": B, "T": T}, jnp.integer)
    own = _Read(
        features(query_BTNH).reshape(B, T, K, N // K, H),
        features(key_BTKH),
        value_BTKH.astype(jnp.float32),
        sequence.segments_BT,
        sequence.segments_BT,
    )
    sums, state = _read(own, empty_state(B, K, H) if state is None else state, chunk, strictly=False)
    behind_BT = None if causal else sequence.segments_BT
    if causal and sequence.prefix_B is not None:
        seen_BT = jax.lax.iota(jnp.int32, T)[None] < sequence.prefix_B[:, None]
        behind_BT = jnp.where(seen_BT, sequence.segments_BT, 0)
    if behind_BT is not None:
        reverse = _Read(*(jnp.flip(x, axis=1) for x in own._replace(key_segments=behind_BT)))
        others, _ = _read(reverse, empty_state(B, K, H), chunk, strictly=True)
        sums = [x + jnp.flip(y, axis=1) for x, y in zip(sums, others, strict=True)]
    total, weight = sums
    seen = weight[..., None] > 0
    head = jnp.where(seen, total / jnp.where(seen, weight[..., None], 1.0), 0.0)
    return head.reshape(B, T, N, H).astype(value_BTKH.dtype), state


class _Read(NamedTuple):
    """A sequence to read: features B T K G H and B T K H, values, and the segments of queries and keys, B T."""

    query: Array
    key: Array
    value: Array
    query_segments: Array
    key_segments: Array


def _read(own: _Read, state: State, chunk: int, *, strictly: bool) -> tuple[list[Array], State]:
    """Read a sequence chunk by chunk.

    Args:
        strictly: True where no token sees itself.

    Returns:
        The sums of each query, weighted values B T K G H and weights B T K G, and the state after the last key.
    """
    B, T = own.key_segments.shape
    size = max(min(chunk, T), 1)
    count = -(-T // size)

    def divided(x: Array) -> Array:
        padded = jnp.pad(x, [(0, 0), (0, count * size - T), *[(0, 0)] * (x.ndim - 2)])
        return jnp.moveaxis(padded.reshape(B, count, size, *x.shape[2:]), 1, 0)

    def joined(x: Array) -> Array:
        return jnp.moveaxis(x, 0, 1).reshape(B, count * size, *x.shape[3:])[:, :T]

    def step(carried: tuple[State, Array], part: _Read) -> tuple[tuple[State, Array], list[Array]]:
        return _read_chunk(carried, part, strictly)

    first = (state, jnp.ones(B, own.key_segments.dtype))
    (state, _), sums = jax.lax.scan(step, first, _Read(*map(divided, own)))
    return [joined(x) for x in sums], state


def _read_chunk(carried: tuple[State, Array], own: _Read, strictly: bool) -> tuple[tuple[State, Array], list[Array]]:
    """Read one chunk: its own keys by their products with the queries, those before it by the carried state.

    `carried` holds the sums over the keys of one segment, the last that was read, and its number, B.
    """
    state, segment_B = carried
    C = own.key_segments.shape[1]
    order_CC = jnp.tri(C, k=-1 if strictly else 0, dtype=bool)
    same_BCC = own.query_segments[:, :, None] == own.key_segments[:, None, :]
    seen_BCC = order_CC[None] & same_BCC & (own.key_segments != 0)[:, None, :]
    product = jnp.einsum("BTKGH,BSKH->BKGTS", own.query, own.key)
    product = jnp.where(seen_BCC[:, None, None], product, 0.0)
    goes_on_BC = own.query_segments == segment_B[:, None]
    before = jnp.where(goes_on_BC[..., None, None, None], own.query, 0.0)
    total = jnp.einsum("BKGTS,BSKH->BTKGH", product, own.value)
    total += jnp.einsum("BTKGH,BKHE->BTKGE", before, state["state"])
    weight = jnp.einsum("BKGTS->BTKG", product) + jnp.einsum("BTKGH,BKH->BTKG", before, state["norm"])

    index_C = jax.lax.iota(jnp.int32, C)
    at_B = jnp.max(jnp.where(own.key_segments != 0, index_C[None], -1), axis=1)
    last_B = jnp.take_along_axis(own.key_segments, jnp.maximum(at_B, 0)[:, None], axis=1)[:, 0]
    last_B = jnp.where(at_B < 0, segment_B, last_B)
    key = jnp.where((own.key_segments == last_B[:, None])[..., None, None], own.key, 0.0)
    kept_B = (last_B == segment_B).astype(jnp.float32)
    new = {
        "state": kept_B[:, None, None, None] * state["state"] + jnp.einsum("BSKH,BSKE->BKHE", key, own.value),
        "norm": kept_B[:, None, None] * state["norm"] + jnp.einsum("BSKH->BKH", key),
    }
    return (new, last_B), [total, weight]
