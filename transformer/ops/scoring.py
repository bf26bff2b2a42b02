"""The parts of attention's plain definition: scores, weights from scores, the sum of values; see `ops.attend`."""

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from transformer.axes import check_broadcast, check_shape, describe
from transformer.errors import problem
from transformer.ops import scores as score_functions
from transformer.ops.differential import subtract_maps, two_maps
from transformer.ops.masks import MaskLike, as_mask
from transformer.ops.modifiers import Modifiers, modify_scores
from transformer.ops.positions import QueryKeyPositions
from transformer.ops.scores import Score, ScoreFunction
from transformer.ops.weights import weights_by


def raw_scores(
    query_BTNH: Float[Array, "B T N H"],
    key_BSKH: Float[Array, "B S K H"],
    score: str | Score | ScoreFunction = "scaled_dot",
    parameters: dict[str, Array] | None = None,
    positions: QueryKeyPositions | None = None,
    differential: bool = False,
) -> Float[Array, "B maps T S"]:
    """Compute the scores before bias and mask, float32.

    Args:
        query_BTNH, key_BSKH: queries and keys; query head n reads key head n // (N / K).
        score: as for `attention_weights`.
        parameters: those of a learned score, each with a leading N.
        positions: of queries and keys, for a score that reads them; their indices if absent.
        differential: two maps for each head, first those of all heads, then the second ones, 2 N in all; else N.

    Raises:
        UserError: N is not a multiple of K, parameters that are not the score's, or the score function returned
            anything but floats B N T S.

    >>> raw_scores(jnp.ones((2, 3, 4, 8)), jnp.ones((2, 5, 1, 8))).shape
    (2, 4, 3, 5)
    """
    check_shapes(query_BTNH, key_BSKH)
    score = score_functions.find(score)
    N, H = query_BTNH.shape[2:]
    score_functions.check_parameters(score, parameters, {"N": N} if differential else {"N": N, "H": H})

    def map_scores(query: Array, key: Array) -> Array:
        return _one_map(query, key, score, parameters or {}, positions)

    return two_maps(map_scores, query_BTNH, key_BSKH) if differential else map_scores(query_BTNH, key_BSKH)


def _one_map(
    query_BTNH: Array, key_BSKH: Array, score: Score, parameters: dict[str, Array], positions: QueryKeyPositions | None
) -> Array:
    """Compute one map of scores for each head; the score function gets equal numbers of heads."""
    B, T, N, H = query_BTNH.shape
    S, K = key_BSKH.shape[1:3]
    G = N // K
    function = functools.partial(score.function, **score.own)
    if score.reads_positions:
        positions = positions or QueryKeyPositions(jnp.arange(T, dtype=jnp.int32), jnp.arange(S, dtype=jnp.int32))
        function = functools.partial(function, positions=positions)
    if G == 1:
        scores_BNTS = function(query_BTNH, key_BSKH, **parameters)
    else:  # query head n = k G + g reads key head k: mapped over g, the function gets equal numbers of heads
        query_BTKGH = query_BTNH.reshape(B, T, K, G, H)
        grouped = {name: value.reshape(K, G, *value.shape[1:]) for name, value in parameters.items()}
        mapped = jax.vmap(lambda q, p: function(q, key_BSKH, **p), in_axes=(3, 1), out_axes=2)
        scores_BNTS = mapped(query_BTKGH, grouped)
        if getattr(scores_BNTS, "shape", None) == (B, K, G, T, S):
            scores_BNTS = scores_BNTS.reshape(B, N, T, S)
    if getattr(scores_BNTS, "shape", None) != (B, N, T, S) or not jnp.issubdtype(scores_BNTS.dtype, jnp.floating):
        raise problem(
            f"score {score.name!r} gave something else",
            got=describe(scores_BNTS) + ("" if G == 1 else " (mapped over the group, so B K G T S)"),
            expected=f"floats of shape B N T S = {(B, N, T, S)}",
        )
    return scores_BNTS.astype(jnp.float32)


def weights_from_scores(
    scores: Float[Array, "B maps T S"],
    allowed: Bool[Array, "..."] | None,
    *,
    bias: Float[Array, "..."] | None = None,
    modifiers: Modifiers = Modifiers(),
    positions: QueryKeyPositions | None = None,
) -> Float[Array, "B N T S"]:
    """Compute the weights: soft cap, bias, the user's own function, mask, softmax or other weights, two maps.

    Args:
        scores: those of `raw_scores`; 2 N maps for a difference of two maps, else N.
        allowed: booleans that broadcast to B N T S; None allows every key.
        bias: added to the scores; broadcasts to B N T S.
        positions: of queries and keys, for the user's own function; their indices if absent.

    Raises:
        UserError: a function of the user's own returned another shape.

    >>> weights_from_scores(jnp.zeros((2, 4, 3, 5)), None).shape
    (2, 4, 3, 5)
    """
    if allowed is None and modifiers.function is not None:
        allowed = jnp.ones((), bool)  # the user's own function may leave nothing but -inf: zero, not NaN

    def weights_map(scores_BNTS: Array) -> Array:
        modified_BNTS = modify_scores(scores_BNTS, modifiers, bias, positions)
        return weights_by(modifiers.weights, modified_BNTS, allowed, modifiers.sink_N)

    if modifiers.subtract is None:
        return weights_map(scores)
    return subtract_maps(weights_map, scores, modifiers.subtract)


def mix(weights_BNTS: Float[Array, "B N T S"], value_BSKH: Float[Array, "B S K H"]) -> Float[Array, "B T N H"]:
    """Sum the values by the weights, in the values' type; accumulated in float32.

    >>> mix(jnp.ones((2, 4, 3, 5)), jnp.ones((2, 5, 1, 8))).shape
    (2, 3, 4, 8)
    """
    B, N, T, S = weights_BNTS.shape
    K, H = value_BSKH.shape[2:]
    # The product of matrices (G T) x S and S x H, in this order: on a CPU a third of the time of `einsum`'s, for few T.
    weights_BKRS = weights_BNTS.astype(value_BSKH.dtype).reshape(B, K, N // K * T, S)
    value_BKSH = jnp.swapaxes(value_BSKH, 1, 2)
    mixed_BKRH = jnp.matmul(weights_BKRS, value_BKSH, preferred_element_type=jnp.float32)
    return jnp.swapaxes(mixed_BKRH.reshape(B, N, T, H), 1, 2).astype(value_BSKH.dtype)


def check_shapes(query: Array, key: Array, value: Array | None = None) -> None:
    """Raise a UserError if query B T N H, key and value B S K H do not fit each other, or K does not divide N.

    >>> check_shapes(jnp.ones((2, 3, 4, 8)), jnp.ones((2, 5, 1, 8)))
    """
    sizes: dict[str, int] = {}
    check_shape("query", query, "B T N H", sizes, jnp.floating)
    check_shape("key", key, "B S K H", sizes, jnp.floating)
    if value is not None:
        check_shape("value", value, "B S K H", sizes, jnp.floating)
    if sizes["K"] == 0 or sizes["N"] % sizes["K"]:
        raise problem(
            "query heads must share key/value heads evenly",
            got=f"N={sizes['N']}, K={sizes['K']}, of query {query.shape} and key {key.shape}",
            expected="N = K x G",
            do="The axes are B T N H and B S K H: length, then heads.",
        )


def allowed_keys(
    mask: MaskLike | None,
    query_BTNH: Float[Array, "B T N H"],
    key_BSKH: Float[Array, "B S K H"],
    query_index: Array | None = None,
) -> Bool[Array, "..."] | None:
    """Turn the mask into booleans that broadcast to B N T S; None where every key is allowed.

    Args:
        mask: as for `attention_weights`.
        query_index: T or B T; 0 .. T - 1 if absent.

    Raises:
        UserError: a mask of another kind, or whose axes are others than those of queries and keys.

    >>> from transformer.ops import masks
    >>> allowed_keys(masks.causal(), jnp.ones((2, 3, 4, 8)), jnp.ones((2, 3, 4, 8))).shape
    (1, 1, 3, 3)
    """
    if mask is None:
        return None
    (B, T, N), S = query_BTNH.shape[:3], key_BSKH.shape[1]
    query_index = jnp.arange(T, dtype=jnp.int32) if query_index is None else query_index
    allowed = as_mask(mask).allowed(query_index, S)
    if allowed is not None:
        do = "Two axes are T S, three are B T S; a mask of keys alone, B S, is mask[:, None, :]."
        check_broadcast("the mask", allowed, (B, N, T, S), "B N T S", jnp.bool_, do)
    return allowed
