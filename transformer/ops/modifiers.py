"""Modifiers of scores and weights, beside bias and mask.

    soft cap       s -> cap tanh(s / cap)                             Gemma 2, https://arxiv.org/abs/2408.00118
    bias           s -> s + bias
    function       s -> f(s, query positions, key positions)          the user's own
    weights        w_t = softmax over s of s_ts, or another row of WEIGHTS
    sink           w_ts = exp(s_ts) / (exp(sink) + sum exp(s_ts'))    Xiao et al. 2023, 2309.17453; gpt-oss, 2508.10925

in this order. Xiao et al. keep the first tokens as sinks; here, as in gpt-oss, the sink is a learned logit of each head
without a value, so that a head may attend to nothing and its weights sum to less than 1. Differential attention
(`ops/differential.py`) does all of it twice, once for each map.
"""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from transformer.axes import check_broadcast, describe, to_rank
from transformer.errors import path_of, problem
from transformer.ops.positions import QueryKeyPositions
from transformer.ops.weights import WEIGHTS
from transformer.tables import Choice

Function = Callable[[Array, Array, Array], Array]
"""Function (scores_BNTS, query positions (B or 1) 1 T 1, key positions (B or 1) 1 1 S) -> scores_BNTS."""


@dataclasses.dataclass(frozen=True)
class Modifiers:
    """Modifiers between scores and weights, and what makes the weights; the default is softmax alone.

    Attributes:
        soft_cap: bound of the scores, which stay between -soft_cap and soft_cap.
        function: the user's own function of the scores with their bias.
        sink_N: logit of each head that takes weight and has no value.
        subtract: lambda of differential attention; None is one map of weights.
        weights: what makes weights of the scores, as `transformer.ops.weights.WEIGHTS` finds it; with a sink, softmax.
        path: the path package.module:attribute that the function was found by, for errors; None: its own name.
    """

    soft_cap: float | None = None
    function: Function | None = None
    sink_N: Float[Array, "N"] | None = None
    subtract: Float[Array, ""] | None = None
    weights: Choice | Callable[..., Array] = "softmax"
    path: str | None = None

    @property
    def none(self) -> bool:
        """True where weights are the softmax of scores, bias and mask, as fused kernels compute them."""
        alone = all(x is None for x in (self.soft_cap, self.function, self.sink_N, self.subtract))
        return alone and WEIGHTS.find(self.weights).is_softmax


def modify_scores(
    scores_BNTS: Float[Array, "B N T S"],
    modifiers: Modifiers,
    bias: Float[Array, "..."] | None = None,
    positions: QueryKeyPositions | None = None,
) -> Float[Array, "B N T S"]:
    """Apply soft cap, bias and the user's own function to scores.

    Args:
        bias: broadcasts to B N T S.
        positions: of queries and keys, for the user's own function; their indices if absent.

    Raises:
        UserError: a bias that does not fit, or the function returned another shape or no floats.

    >>> modify_scores(jnp.ones((2, 4, 3, 5)), Modifiers(soft_cap=30.0)).shape
    (2, 4, 3, 5)
    """
    if modifiers.soft_cap is not None:
        scores_BNTS = modifiers.soft_cap * jnp.tanh(scores_BNTS / modifiers.soft_cap)
    if bias is not None:
        check_broadcast("the bias", bias, scores_BNTS.shape, "B N T S", jnp.floating)
        scores_BNTS = scores_BNTS + to_rank(bias, 4)
    if modifiers.function is None:
        return scores_BNTS
    if positions is None:
        positions = QueryKeyPositions(*(jnp.arange(size, dtype=jnp.int32) for size in scores_BNTS.shape[2:]))
    new = modifiers.function(scores_BNTS, *positions.broadcast)
    if getattr(new, "shape", None) != scores_BNTS.shape or not jnp.issubdtype(new.dtype, jnp.floating):
        raise problem(
            f"score modifier {(modifiers.path or path_of(modifiers.function))!r} gave something else",
            got=describe(new),
            expected=f"floats of shape B N T S = {scores_BNTS.shape}",
        )
    return new.astype(jnp.float32)
