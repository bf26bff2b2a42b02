"""Attention that holds no T x S array: softmax over chunks of keys, computed again for the derivative.

    m' = max(m, max z),  l' = l exp(m - m') + sum exp(z - m'),  o' = o exp(m - m') + exp(z - m') v
    w = exp(z - m - log l);  dz = w (do v^T - rowsum(do o))

Rabe and Staats 2021, https://arxiv.org/abs/2112.05682; Dao et al. 2022, https://arxiv.org/abs/2205.14135. It computes
any score, bias, sink and score modifier: the plain functions are applied to a chunk of queries and one of keys, and
what the mask's spans rule out is left out. Chunks are as long as each other: the last one begins earlier, and its keys
and queries that were read before count once.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from transformer.axes import check_broadcast, to_rank
from transformer.ops.mask_rules import part_of
from transformer.ops.masks import Mask
from transformer.ops.modifiers import Modifiers, modify_scores
from transformer.ops.positions import QueryKeyPositions
from transformer.ops.reductions import max_last, sum_last
from transformer.ops.scores import Score
from transformer.ops.scoring import mix, raw_scores
from transformer.ops.softmax import LOW

SCORES = 2**20
"""Scores of a chunk of queries and one of keys, of all examples and heads, that are held at once."""

LENGTHS = (64, 512)
"""Least and most queries or keys of a chunk."""


class Arrays(NamedTuple):
    """The arrays that have a derivative.

    Attributes:
        query: B T N H; `key` and `value` are B S K H.
        parameters: those of a learned score.
        bias: broadcasts to B N T S.
        sink_N: logits of the sinks.
    """

    query: Array
    key: Array
    value: Array
    parameters: dict[str, Array]
    bias: Array | None
    sink_N: Array | None


class Rest(NamedTuple):
    """The inputs that have none.

    Attributes:
        query_index: T or B T, for the mask.
        positions: of queries and keys.
    """

    mask: Mask
    query_index: Array
    positions: QueryKeyPositions


class Inputs(NamedTuple):
    """All inputs, those of both kinds."""

    arrays: Arrays
    rest: Rest


class Rule(NamedTuple):
    """The computation of scores, and the lengths of chunks.

    Attributes:
        rest: structure of a `Rest`, whose arrays alone are given to the function that has the derivative: JAX builds
            its arguments from anything, and masks and positions hold arrays.
    """

    score: Score
    modifiers: Modifiers
    T: int
    S: int
    rest: jax.tree_util.PyTreeDef


def attend_chunks(arrays: Arrays, rest: Rest, score: Score, modifiers: Modifiers) -> Float[Array, "B T N H"]:
    """Attend, with memory that grows with T and S, not with their product; it has no forward-mode derivative.

    Args:
        modifiers: soft cap and the user's own function; the sink is among the arrays.

    >>> from transformer.ops import masks
    >>> from transformer.ops.scores import find
    >>> x, index = jnp.ones((2, 3, 4, 8)), jnp.arange(3)
    >>> rest = Rest(masks.causal(), index, QueryKeyPositions(index, index))
    >>> attend_chunks(Arrays(x, x, x, {}, None, None), rest, find("dot"), Modifiers()).shape
    (2, 3, 4, 8)
    """
    (B, T, N), S = arrays.query.shape[:3], arrays.key.shape[1]
    if arrays.bias is not None:
        check_broadcast("the bias", arrays.bias, (B, N, T, S), "B N T S", jnp.floating)
        arrays = arrays._replace(bias=to_rank(arrays.bias, 4))
    leaves, structure = jax.tree.flatten(rest)
    length = 2 ** int((SCORES / max(B * N, 1)) ** 0.5).bit_length() // 2
    length = min(max(length, LENGTHS[0]), LENGTHS[1])
    rule = Rule(score, dataclasses.replace(modifiers, sink_N=None), min(T, length), min(S, length), structure)
    return _attend(rule, arrays, leaves)


class Chunk(NamedTuple):
    """A chunk of queries and one of keys: the rows in which they begin, and those from which on they count."""

    query: Array
    query_from: Array
    key: Array
    key_from: Array


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(rule: Rule, arrays: Arrays, leaves: list[Any]) -> Array:
    return _forward(rule, arrays, leaves)[0]


def _forward(rule: Rule, arrays: Arrays, leaves: list[Any]) -> tuple[Array, Any]:
    inputs = Inputs(arrays, jax.tree.unflatten(rule.rest, leaves))
    B, T, N, H = inputs.arrays.query.shape
    state = jnp.zeros((B, T, N, H), inputs.arrays.value.dtype), jnp.zeros((B, N, T), jnp.float32)

    def of_queries(i: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        first = _first(i, rule.T, T)

        def of_keys(j: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            highest, total, head = carry
            chunk = Chunk(first, i * rule.T, _first(j, rule.S, inputs.arrays.key.shape[1]), j * rule.S)
            scores = _scores(rule, chunk, inputs.rest.positions, *_differentiable(rule, inputs, chunk))
            scores = _masked(scores, rule, chunk, inputs)
            higher = jnp.maximum(highest, jnp.maximum(max_last(scores), LOW / 2))
            shrink, weights = jnp.exp(highest - higher), jnp.exp(scores - higher)
            value = _cut(inputs.arrays.value, chunk.key, rule.S)
            mixed = mix(weights, value).astype(jnp.float32)
            return higher, total * shrink + sum_last(weights), head * jnp.swapaxes(shrink, 1, 2) + mixed

        none = jnp.full((B, N, rule.T, 1), LOW / 2, jnp.float32)
        highest, total = none, jnp.zeros_like(none)
        if inputs.arrays.sink_N is not None:
            sink = jnp.broadcast_to(inputs.arrays.sink_N.astype(jnp.float32)[None, :, None, None], none.shape)
            highest, total = jnp.maximum(sink, LOW / 2), jnp.ones_like(none)
        start = highest, total, jnp.zeros((B, rule.T, N, H), jnp.float32)
        highest, total, head = jax.lax.fori_loop(*_span(rule, inputs, i), of_keys, start)
        head = head * jnp.swapaxes(jnp.where(total == 0.0, 0.0, 1.0 / total), 1, 2)
        log = jnp.where(total == 0.0, -LOW, highest + jnp.log(total))[..., 0]  # a row of no key: weights exp(-inf) = 0
        return (
            jax.lax.dynamic_update_slice_in_dim(state[0], head.astype(state[0].dtype), first, axis=1),
            jax.lax.dynamic_update_slice_in_dim(state[1], log, first, axis=2),
        )

    head, log_BNT = jax.lax.fori_loop(0, -(-T // rule.T), of_queries, state)
    return head, (arrays, leaves, head, log_BNT)


def _backward(rule: Rule, residuals: Any, d_head: Array) -> tuple[Arrays, None]:
    arrays, leaves, head, log_BNT = residuals
    inputs = Inputs(arrays, jax.tree.unflatten(rule.rest, leaves))
    T, S = inputs.arrays.query.shape[1], inputs.arrays.key.shape[1]
    shared_BNT = jnp.swapaxes(sum_last(d_head.astype(jnp.float32) * head.astype(jnp.float32))[..., 0], 1, 2)
    wide = (inputs.arrays.query, inputs.arrays.key, inputs.arrays.value, inputs.arrays.parameters, inputs.arrays.bias)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), wide)

    def of_queries(i: Array, total: Any) -> Any:
        first = _first(i, rule.T, T)
        log, shared = (jax.lax.dynamic_slice_in_dim(x, first, rule.T, 2)[..., None] for x in (log_BNT, shared_BNT))
        d_rows = _cut(d_head, first, rule.T)

        def of_keys(j: Array, total: Any) -> Any:
            chunk = Chunk(first, i * rule.T, _first(j, rule.S, S), j * rule.S)
            value = _cut(inputs.arrays.value, chunk.key, rule.S)
            score = functools.partial(_scores, rule, chunk, inputs.rest.positions)
            scores, of_scores = jax.vjp(score, *_differentiable(rule, inputs, chunk))
            weights = jnp.exp(_masked(scores, rule, chunk, inputs, once=True) - log)
            _, of_mix = jax.vjp(mix, weights, value)
            d_weights, d_value = of_mix(d_rows)
            d_query, d_key, d_parameters, d_bias = of_scores(weights * (d_weights - shared))
            query_sum, key_sum, value_sum, parameter_sum, bias_sum = total
            if bias_sum is not None:
                bias_sum = _add(bias_sum, d_bias, {2: chunk.query, 3: chunk.key})
            return (
                _add(query_sum, d_query, {1: chunk.query}),
                _add(key_sum, d_key, {1: chunk.key}),
                _add(value_sum, d_value, {1: chunk.key}),
                jax.tree.map(jnp.add, parameter_sum, d_parameters),
                bias_sum,
            )

        return jax.lax.fori_loop(*_span(rule, inputs, i), of_keys, total)

    total = jax.lax.fori_loop(0, -(-T // rule.T), of_queries, zeros)
    query, key, value, parameters, bias = jax.tree.map(lambda x, like: x.astype(like.dtype), total, wide)
    d_sink = None
    if inputs.arrays.sink_N is not None:
        weight_BNT = jnp.exp(inputs.arrays.sink_N.astype(jnp.float32)[None, :, None] - log_BNT)
        d_sink = -jnp.sum(weight_BNT * shared_BNT, axis=(0, 2)).astype(inputs.arrays.sink_N.dtype)
    return Arrays(query, key, value, parameters, bias, d_sink), None


_attend.defvjp(_forward, _backward)


def _differentiable(rule: Rule, inputs: Inputs, chunk: Chunk) -> tuple[Array, Array, dict[str, Array], Array | None]:
    """Cut what the scores of a chunk depend on: queries, keys, parameters, bias."""
    bias = inputs.arrays.bias
    if bias is not None:
        bias = part_of(bias, chunk.query, rule.T, chunk.key, rule.S)
    query, key = _cut(inputs.arrays.query, chunk.query, rule.T), _cut(inputs.arrays.key, chunk.key, rule.S)
    return query, key, inputs.arrays.parameters, bias


def _scores(
    rule: Rule,
    chunk: Chunk,
    positions: QueryKeyPositions,
    query: Array,
    key: Array,
    parameters: dict[str, Array],
    bias: Array | None,
) -> Array:
    """Compute the scores of a chunk, with soft cap, bias and the user's own function."""
    own = QueryKeyPositions(
        jax.lax.dynamic_slice_in_dim(positions.query, chunk.query, rule.T, axis=-1),
        jax.lax.dynamic_slice_in_dim(positions.key, chunk.key, rule.S, axis=-1),
    )
    return modify_scores(raw_scores(query, key, rule.score, parameters, own), rule.modifiers, bias, own)


def _masked(scores_BNTS: Array, rule: Rule, chunk: Chunk, inputs: Inputs, *, once: bool = False) -> Array:
    """Put LOW in place of the scores of keys that are not allowed or were read before; with `once`, of queries too."""
    row = jnp.arange(rule.T, dtype=jnp.int32)[:, None] + chunk.query
    column = jnp.arange(rule.S, dtype=jnp.int32)[None] + chunk.key
    allowed = (column >= chunk.key_from)[None, None]
    if once:
        allowed = allowed & (row >= chunk.query_from)[None, None]
    index = jax.lax.dynamic_slice_in_dim(inputs.rest.query_index, chunk.query, rule.T, axis=-1)
    part = inputs.rest.mask.part(chunk.query, rule.T, chunk.key, rule.S).allowed(index, rule.S, column)
    return jnp.where(allowed if part is None else allowed & part, scores_BNTS, LOW)


def _span(rule: Rule, inputs: Inputs, i: Array) -> tuple[Array, Array]:
    """Return the first chunk of keys that a chunk of queries reads, and the one after the last."""
    T, S = inputs.arrays.query.shape[1], inputs.arrays.key.shape[1]
    index = jax.lax.dynamic_slice_in_dim(inputs.rest.query_index, _first(i, rule.T, T), rule.T, axis=-1)
    low, high = inputs.rest.mask.span(jnp.min(index), jnp.max(index), S)
    low, high = jnp.clip(jnp.asarray(low, jnp.int32), 0, S), jnp.clip(jnp.asarray(high, jnp.int32), 0, S)
    return low // rule.S, -(-high // rule.S)


def _first(i: Array, length: int, size: int) -> Array:
    """Return the row in which chunk i begins; the last one ends with the array."""
    return jnp.minimum(i * length, size - length)


def _cut(x: Array, first: Array, size: int) -> Array:
    return jax.lax.dynamic_slice_in_dim(x, first, size, axis=1)


def _add(total: Array, part: Array, starts: dict[int, Array]) -> Array:
    """Add a part to its rows of the sum; an axis of length 1 is added as a whole."""
    first = [starts[axis] if axis in starts and total.shape[axis] != 1 else 0 for axis in range(total.ndim)]
    old = jax.lax.dynamic_slice(total, first, part.shape)
    return jax.lax.dynamic_update_slice(total, old + part.astype(total.dtype), first)
