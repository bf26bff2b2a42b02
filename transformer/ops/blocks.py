"""Attention by q . k in blocks of queries, each with the keys alone that its mask may allow.

    w = exp(z - max z) / sum,  o = w v
    dz = w (do v^T - rowsum(do o)),  dq = dz k,  dk = dz^T q,  dv = w^T do

A block of 64 queries under a causal mask reads the keys up to its last query, so that of T = 256 five eighths are
computed. The weights are kept for the derivative, which is a custom one; `ops.chunks` keeps none, for long sequences.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from transformer.ops.masks import Mask
from transformer.ops.reductions import max_last, sum_last
from transformer.ops.softmax import LOW

QUERIES = 64
"""Queries of a block."""

MOST = 16
"""Most blocks, each of which is compiled by itself."""


class Block(NamedTuple):
    """Rows of queries, and the range of keys that they may see."""

    query: int
    T: int
    key: int
    S: int


def blocks_of(mask: Mask, T: int, S: int) -> tuple[Block, ...]:
    """Divide T queries into blocks, each with its range of the S keys; a range that is not known is all keys.

    >>> from transformer.ops import masks
    >>> [block.S for block in blocks_of(masks.causal(), 256, 256)]
    [64, 128, 192, 256]
    """
    size = max(QUERIES, -(-T // MOST))
    found = []
    for query in range(0, T, size):
        count = min(size, T - query)
        spans = [rule.span(query, query + count - 1, S) for rule in mask.rules]
        low = max([first for first, _ in spans if isinstance(first, int)], default=0)
        high = min([last for _, last in spans if isinstance(last, int)], default=S)
        found.append(Block(query, count, low, high - low) if high > low else Block(query, count, 0, 1))
    whole = all(block.S == S for block in found)
    return (Block(0, T, 0, S),) if whole else tuple(found)


def attend_blocks(
    query_BTNH: Float[Array, "B T N H"],
    key_BSKH: Float[Array, "B S K H"],
    value_BSKH: Float[Array, "B S K H"],
    mask: Mask,
    scale: float,
    kept_BNTS: Array | None = None,
    rate: float | Array | None = None,
) -> Float[Array, "B T N H"]:
    """Attend by the score `scale` q . k, in the values' type; see `ops.attend.attend`.

    It has no forward-mode derivative. Queries and keys stand at their rows.

    Args:
        mask: which keys each query may see.
        kept_BNTS: booleans, the weights that dropout leaves; None: all.
        rate: rate of dropout, by which the weights that are left grow.

    >>> from transformer.ops import masks
    >>> attend_blocks(jnp.ones((2, 3, 4, 8)), jnp.ones((2, 3, 1, 8)), jnp.ones((2, 3, 1, 8)), masks.causal(), 0.5).shape
    (2, 3, 4, 8)
    """
    B, T, N, H = query_BTNH.shape
    S, K = key_BSKH.shape[1:3]
    blocks = blocks_of(mask, T, S)
    query = jnp.swapaxes(query_BTNH, 1, 2).reshape(B, K, N // K, T, H)
    key, value = (jnp.swapaxes(x, 1, 2) for x in (key_BSKH, value_BSKH))
    allowed = tuple(_allowed(mask, block, K) for block in blocks)
    kept = None
    if kept_BNTS is not None:
        kept_BKGTS = kept_BNTS.reshape(B, K, N // K, T, S)
        kept = tuple(_cut(_cut(kept_BKGTS, 3, b.query, b.T), 4, b.key, b.S) for b in blocks)
    growth = None if rate is None else 1.0 / (1.0 - jnp.asarray(rate, jnp.float32))
    head = _attend((blocks, float(scale)), query, key, value, Rest(allowed, kept, growth))
    return jnp.swapaxes(head.reshape(B, N, T, H), 1, 2)


class Rest(NamedTuple):
    """The inputs that have no derivative: for each block what the mask allows and dropout leaves; the growth."""

    allowed: tuple[Array | None, ...]
    kept: tuple[Array, ...] | None
    growth: Array | None


Static = tuple[tuple[Block, ...], float]
Residuals = tuple[Array, Array, Array, Array, tuple[Array, ...], Rest]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(static: Static, query: Array, key: Array, value: Array, rest: Rest) -> Array:
    """Attend: query B K G T H, key and value B K S H."""
    return _forward(static, query, key, value, rest)[0]


def _forward(static: Static, query: Array, key: Array, value: Array, rest: Rest) -> tuple[Array, Residuals]:
    (blocks, scale), heads, weights = static, [], []
    for i, block in enumerate(blocks):
        rows, keys, values = _rows(query, block), _cut(key, 2, block.key, block.S), _cut(value, 2, block.key, block.S)
        scores = scale * _product("BKGTH,BKSH->BKGTS", rows, keys)
        if (allowed := rest.allowed[i]) is not None:
            scores = jnp.where(allowed, scores, LOW)
        exponentials = jnp.exp(scores - jnp.maximum(max_last(scores), LOW / 2))
        total = sum_last(exponentials)
        weight = exponentials * jnp.where(total == 0.0, 0.0, 1.0 / total)
        weights.append(weight)
        dropped = _dropped(weight, rest, i).astype(value.dtype)
        heads.append(_product("BKGTS,BKSH->BKGTH", dropped, values).astype(value.dtype))
    head = jnp.concatenate(heads, axis=3)
    return head, (query, key, value, head, tuple(weights), rest)


def _backward(static: Static, residuals: Residuals, d_head: Array) -> tuple[Array, Array, Array, None]:
    (blocks, scale), (query, key, value, head, weights, rest) = static, residuals
    shared = sum_last(d_head.astype(jnp.float32) * head.astype(jnp.float32))
    d_queries, d_key, d_value = [], jnp.zeros(key.shape, jnp.float32), jnp.zeros(value.shape, jnp.float32)
    for i, (block, weight) in enumerate(zip(blocks, weights, strict=True)):
        rows, keys, values = _rows(query, block), _cut(key, 2, block.key, block.S), _cut(value, 2, block.key, block.S)
        d_rows = _rows(d_head, block)
        d_weight = _dropped(_product("BKGTH,BKSH->BKGTS", d_rows, values), rest, i)
        d_scores = (scale * weight * (d_weight - _rows(shared, block))).astype(query.dtype)
        dropped = _dropped(weight, rest, i).astype(value.dtype)
        d_queries.append(_product("BKGTS,BKSH->BKGTH", d_scores, keys).astype(query.dtype))
        d_key = _added(d_key, _product("BKGTS,BKGTH->BKSH", d_scores, rows), block)
        d_value = _added(d_value, _product("BKGTS,BKGTH->BKSH", dropped, d_rows), block)
    return jnp.concatenate(d_queries, axis=3), d_key.astype(key.dtype), d_value.astype(value.dtype), None


_attend.defvjp(_forward, _backward)


def _product(letters: str, x: Array, y: Array) -> Array:
    """Multiply, accumulated in float32."""
    return jnp.einsum(letters, x, y, preferred_element_type=jnp.float32)


def _cut(x: Array, axis: int, first: int, size: int) -> Array:
    return jax.lax.slice_in_dim(x, first, first + size, axis=axis)


def _rows(x_BKGTH: Array, block: Block) -> Array:
    return _cut(x_BKGTH, 3, block.query, block.T)


def _added(total_BKSH: Array, part: Array, block: Block) -> Array:
    if total_BKSH.shape[2] == block.S:
        return total_BKSH + part
    return total_BKSH.at[:, :, block.key : block.key + block.S].add(part)


def _dropped(x_BKGTS: Array, rest: Rest, i: int) -> Array:
    """Apply dropout to the weights of a block, or to their derivative."""
    return x_BKGTS if rest.kept is None or rest.growth is None else jnp.where(rest.kept[i], x_BKGTS * rest.growth, 0.0)


def _allowed(mask: Mask, block: Block, K: int) -> Array | None:
    """Compute what the mask allows in a block, with axes that broadcast to B K G T S; None where all is."""
    if not mask.rules:
        return None
    part = mask.part(block.query, block.T, block.key, block.S)
    query, key = (jnp.arange(first, first + size, dtype=jnp.int32) for first, size in (block[:2], block[2:]))
    allowed = part.allowed(query, block.S, key[None])
    if allowed is None:
        return None
    B, N, *last = jnp.broadcast_shapes(allowed.shape, (1, 1, 1, 1))
    return allowed.reshape(B, *((1, 1) if N == 1 else (K, N // K)), *last)
