"""Attention, C = Attn(X, X'): queries from the target X', keys and values from the source X.

    scores_ts  = score(q_t, k_s) + bias_ts
    weights_ts = exp(scores_ts) / sum over the s that t may see of exp(scores_ts); 0 where t may not see s
                 (or another row of `ops.weights.WEIGHTS`)
    c_t        = sum over s of weights_ts v_s

Self-attention is X' = X. Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, write it with Q, K, V.
Grouped heads: Ainslie et al. 2023, https://arxiv.org/abs/2305.13245 (K = 1: Shazeer 2019).

Two answers differ from jax.nn.dot_product_attention and Flax: a query that may see nothing gets exactly zero output and
exactly zero gradient (there: the mean of what it may not see), and scores and softmax are float32 whatever the inputs.
Masked keys may hold anything; values must be finite also where masked, since 0 x inf is NaN.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from transformer.ops import masks
from transformer.ops import scores as score_functions
from transformer.ops.dropout import dropout as apply_dropout
from transformer.ops.kernels import FORMS, Call, choose
from transformer.ops.masks import MaskLike, as_mask
from transformer.ops.modifiers import Modifiers
from transformer.ops.positions import QueryKeyPositions
from transformer.ops.scores import Score, ScoreFunction
from transformer.ops.scoring import allowed_keys, check_shapes, mix, raw_scores, weights_from_scores


def attention_weights(
    query_BTNH: Float[Array, "B T N H"],
    key_BSKH: Float[Array, "B S K H"],
    *,
    mask: MaskLike | None = None,
    bias: Float[Array, "..."] | None = None,
    score: str | Score | ScoreFunction = "scaled_dot",
    parameters: dict[str, Array] | None = None,
    query_index: Array | None = None,
    positions: QueryKeyPositions | None = None,
    modifiers: Modifiers = Modifiers(),
) -> Float[Array, "B N T S"]:
    """Compute the weights by their plain definition, float32.

    Args:
        mask: which keys each query may see: a Mask; booleans T S, B T S or B N T S, each axis also 1; or a function of
            (query index, key index) as `masks.where` takes it. True where they may, None is all.
        bias: added to the scores; broadcasts to B N T S.
        score: a row of SCORES, a path package.module:attribute, a Score, or a function (query_BTNH, key_BSNH) ->
            scores_BNTS.
        parameters: those of a learned score, each with a leading N.
        query_index: T or B T, the rows of the sequence that the queries stand in, for the mask; 0 .. T - 1 if absent.
            Keys stand in 0 .. S - 1.
        positions: of queries and keys, for scores and modifiers that read them, where they are not the indices (packed
            examples count from 0 again).
        modifiers: soft cap, sink, difference of two maps, the user's own function, weights other than softmax.

    Raises:
        UserError: shapes that do not fit each other, N not a multiple of K, an unknown score.

    >>> attention_weights(jnp.ones((2, 3, 4, 8)), jnp.ones((2, 5, 4, 8)), score="dot").shape
    (2, 4, 3, 5)
    """
    if positions is None and query_index is not None:
        positions = QueryKeyPositions(query_index, jnp.arange(key_BSKH.shape[1], dtype=jnp.int32))
    differential = modifiers.subtract is not None
    scores = raw_scores(query_BTNH, key_BSKH, score, parameters, positions, differential)
    allowed = allowed_keys(mask, query_BTNH, key_BSKH, query_index)
    return weights_from_scores(scores, allowed, bias=bias, modifiers=modifiers, positions=positions)


def attend(
    query_BTNH: Float[Array, "B T N H"],
    key_BSKH: Float[Array, "B S K H"],
    value_BSKH: Float[Array, "B S K H"],
    *,
    mask: MaskLike | None = None,
    bias: Float[Array, "..."] | None = None,
    score: str | Score | ScoreFunction = "scaled_dot",
    parameters: dict[str, Array] | None = None,
    query_index: Array | None = None,
    positions: QueryKeyPositions | None = None,
    modifiers: Modifiers = Modifiers(),
    dropout: float | Array | None = None,
    key: Array | None = None,
    kernels: str = "plain",
) -> Float[Array, "B T N H"]:
    """Attend: `attention_weights`, dropout on them, then `mix`. Vaswani et al. 2017, section 3.2.

    Args:
        mask, bias, score, parameters, query_index, positions, modifiers: as for `attention_weights`.
        dropout: rate on the weights; None compiles to nothing. Needs `key`.
        key: a typed random key.
        kernels: "plain" is the definition; "fast" takes a form of `ops.kernels.FORMS` that computes the same in less
            time or memory, where there is one, and "fused" one in any case; the name of a form takes this one. They
            have no forward-mode derivative.

    Raises:
        UserError: shapes that do not fit each other, N not a multiple of K, an unknown score or kernel; "fused" where
            no form computes the call; the name of a form that does not.

    >>> query, key = jnp.ones((2, 3, 4, 8)), jnp.ones((2, 5, 1, 8))
    >>> attend(query, key, key, mask=masks.padding(jnp.array([5, 2]))).shape
    (2, 3, 4, 8)
    """
    check_shapes(query_BTNH, key_BSKH, value_BSKH)
    score = score_functions.find(score)
    call = Call(
        jnp.asarray(query_BTNH),
        jnp.asarray(key_BSKH),
        jnp.asarray(value_BSKH),
        masks.everything() if mask is None else as_mask(mask),
        score,
        bias,
        parameters,
        query_index,
        positions,
        modifiers,
        dropout,
        key,
    )
    form = choose(call, kernels)
    with jax.named_scope(f"attend_{form}"):  # a profile, and the lines at the start of a run, name the choice
        if form != "plain":
            # Forms cut a mask into parts, which fit whatever the whole is: the plain form's errors, without computing.
            jax.eval_shape(lambda: allowed_keys(call.mask, query_BTNH, key_BSKH, query_index))
            return FORMS[form].compute(call)
        weights_BNTS = attention_weights(
            query_BTNH,
            key_BSKH,
            mask=mask,
            bias=bias,
            score=score,
            parameters=parameters,
            query_index=query_index,
            positions=positions,
            modifiers=modifiers,
        )
        return mix(apply_dropout(weights_BNTS, dropout, key), value_BSKH)
